/** The Weights & Biases server of an organization: its address, and a key that is sealed in the database. */
import { and, eq, isNull } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { wandbRun, wandbServer } from "../../db/schema/integrations.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError, notFound } from "../../errors.ts";
import { seconds } from "../../lib/request-fields.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { type WandbAccess, wandbViewer } from "./wandb-client.ts";

const Address = v.pipe(
  v.string(),
  v.maxLength(500),
  v.check((text) => {
    const url = URL.parse(text);
    return url !== null && /^https?:$/.test(url.protocol) && !url.username && !url.search && !url.hash;
  }, "must be an address such as https://wandb.example.com, without a key in it"),
  v.transform((text) => text.replace(/\/$/, "")),
);

export const ChangeWandb = v.strictObject({
  wandb_url: Address,
  wandb_key: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,200}$/, "must be a key of that server")),
});
export type ChangeWandb = v.InferOutput<typeof ChangeWandb>;

export const WandbView = v.strictObject({
  object: v.literal("wandb"),
  wandb_url: v.nullable(v.string()),
  has_key: v.boolean(),
  created_at: v.nullable(v.number()),
});
export type WandbView = v.InferOutput<typeof WandbView>;

/** The server of an organization with its key; null when there is none. */
export async function wandbOf(ctx: Ctx, org: string): Promise<WandbAccess | null> {
  const [row] = await ctx.db.select().from(wandbServer).where(eq(wandbServer.org, org));
  return row ? { url: row.url, key: unseal(ctx.secret, sealedIn("wandb", org), row.key) } : null;
}

async function requireOrganization(ctx: Ctx, org: string): Promise<void> {
  const [found] = await ctx.db.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
  if (!found) throw notFound("organization", org);
}

/** The settings without the key. Administrators only. @throws AppError `organization_not_found` */
export async function readWandb(ctx: Ctx, actor: Actor, org: string): Promise<WandbView> {
  requireAdmin(actor);
  await requireOrganization(ctx, org);
  const [row] = await ctx.db.select().from(wandbServer).where(eq(wandbServer.org, org));
  return {
    object: "wandb",
    wandb_url: row?.url ?? null,
    has_key: row !== undefined,
    created_at: row ? seconds(row.createdAt) : null,
  };
}

/**
 * Sets the server; it is asked whether it knows the key. Address and key are set together, so that a stored key is
 * never sent elsewhere. Administrators only; audited.
 * @throws AppError `wandb_refused`, `organization_not_found`
 */
export async function setWandb(ctx: Ctx, actor: Actor, org: string, change: ChangeWandb): Promise<WandbView> {
  requireAdmin(actor);
  await requireOrganization(ctx, org);
  const { wandb_url: url, wandb_key: key } = change;
  await wandbViewer({ url, key }, ctx.signal).catch((cause: Error) => {
    throw new AppError("invalid", "wandb_refused", `${cause.message}. Nothing was saved.`, {
      param: "wandb_url",
      cause,
    });
  });
  const row = { url, key: seal(ctx.secret, sealedIn("wandb", org), key), createdAt: ctx.clock.now() };
  await ctx.write(async (tx) => {
    const [before] = await tx.select({ url: wandbServer.url }).from(wandbServer).where(eq(wandbServer.org, org));
    await tx
      .insert(wandbServer)
      .values({ org, ...row })
      .onConflictDoUpdate({ target: wandbServer.org, set: row });
    // Another server has nothing of the runs yet.
    if (before?.url !== url)
      await tx
        .update(wandbRun)
        .set({ lines: 0, lastStep: -1, summary: {}, error: null })
        .where(and(eq(wandbRun.org, org), isNull(wandbRun.endedAt)));
    await audit(tx, ctx, { ...actor, org }, "organization.wandb", org, { wandb_url: url });
  });
  return readWandb(ctx, actor, org);
}

/** Removes the server and its key: nothing is sent any more. Administrators only; audited. */
export async function removeWandb(ctx: Ctx, actor: Actor, org: string): Promise<void> {
  requireAdmin(actor);
  await requireOrganization(ctx, org);
  await ctx.write(async (tx) => {
    await tx.delete(wandbServer).where(eq(wandbServer.org, org));
    await tx.delete(wandbRun).where(and(eq(wandbRun.org, org), isNull(wandbRun.endedAt)));
    await audit(tx, ctx, { ...actor, org }, "organization.wandb", org, { wandb_url: null });
  });
}
