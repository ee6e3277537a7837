/** A new secret for the installation: everything that is sealed is sealed again, and every session ends. */
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { type Resealed, resealAll } from "../../db/reseal.ts";
import { session, verification } from "../../db/schema/auth.ts";
import { failedAttempt, usedCode } from "../../db/schema/sign-in.ts";
import { acceptSecret, prepareSecret, storeSecretId } from "../../db/secret.ts";
import { secretId } from "../../lib/sealed.ts";
import { audit } from "../audit/service.ts";

/**
 * Rotates the secret. Until it returns, both secrets are on disk, and the next start finds out which one is in use. The
 * context keeps the old one: close it afterwards. No server may run.
 */
export async function rotateSecret(ctx: Ctx, actor: Actor): Promise<Resealed & { id: string }> {
  requireAdmin(actor);
  const next = prepareSecret(ctx.files.root);
  ctx.failPoint("rotate.prepared");
  const id = secretId(next);
  const done = await ctx.write(async (tx) => {
    const resealed = await resealAll(tx, ctx.secret, next);
    await storeSecretId(tx, next);
    // Cookies are signed and counters named with the old secret.
    for (const table of [session, verification, failedAttempt, usedCode]) await tx.delete(table);
    await audit(tx, ctx, actor, "secret.rotate", id, {
      from: secretId(ctx.secret),
      values: resealed.opened,
      unreadable: resealed.failed,
    });
    return resealed;
  });
  ctx.failPoint("rotate.stored");
  acceptSecret(ctx.files.root);
  return { ...done, id };
}
