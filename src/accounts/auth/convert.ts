/** Converts the authenticators of earlier versions: the app's secret is sealed otherwise, recovery codes are hashed. */
import { eq } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { twoFactor } from "../../db/schema/auth.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { seal, sealedWith, unsealEarlier } from "../../lib/sealed.ts";
import { isStored, storedCodes } from "./recovery-codes.ts";

/** What was converted; `failed` names what the secret does not open. */
interface Converted {
  opened: number;
  failed: string[];
}

/** Earlier versions sealed what the sign-in library had encrypted itself. */
async function plainSecret(secret: string, sealed: string): Promise<string> {
  const { symmetricDecrypt } = await import("better-auth/crypto");
  return symmetricDecrypt({ key: secret, data: unsealEarlier(secret, "authenticator secret", sealed) });
}

/** Converts what is not converted yet; may be interrupted and run again. */
export async function convertAuthenticators(
  { db, write }: Pick<Ctx, "db" | "write">,
  secret: string,
): Promise<Converted> {
  const done: Converted = { opened: 0, failed: [] };
  for (const row of await db.select().from(twoFactor)) {
    if (sealedWith(row.secret) !== null && isStored(row.backupCodes)) continue;
    try {
      const codes = JSON.parse(unsealEarlier(secret, "recovery codes", row.backupCodes)) as string[];
      const values = {
        secret: seal(secret, sealedIn("authenticator", row.userId), await plainSecret(secret, row.secret)),
        backupCodes: await storedCodes(row.userId, codes),
      };
      await write((tx) => tx.update(twoFactor).set(values).where(eq(twoFactor.id, row.id)));
      done.opened++;
    } catch {
      done.failed.push(`two_factor of ${row.userId}`);
    }
  }
  return done;
}
