/** Changes to API keys that exist: their name and restrictions, and a new secret beside the old one for a while. */
import { and, eq, isNull } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { apiKey, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newSecret, sha256Hex } from "../../lib/ids.ts";
import { can } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { forgetKeys } from "../keys/cache.ts";
import { type Restrictions, restrictBelow, restrictionsOf, restrictionsSet } from "../keys/restrictions.ts";
import { type KeyRow, prefixOf, shownKey } from "./service.ts";

type Row = typeof apiKey.$inferSelect;

/** A key that is not revoked, of the actor, or of the organization for whoever manages its keys. */
async function find(db: Db, actor: Actor, id: string): Promise<{ row: Row; owner: KeyRow["owner"] }> {
  const [found] = await db
    .select({ row: apiKey, owner: { kind: user.kind, name: accountName } })
    .from(apiKey)
    .innerJoin(user, eq(user.id, apiKey.userId))
    .where(and(eq(apiKey.id, id), eq(apiKey.org, actor.org), isNull(apiKey.revokedAt)))
    .limit(1);
  if (!found || (found.row.userId !== actor.userId && !can(actor, "keys.manage"))) throw notFound("key", id);
  return found;
}

/** Whose key it is, for the operator of this machine. @throws AppError `key_not_found` */
export async function ownerOfKey(ctx: Ctx, id: string): Promise<{ userId: string; org: string }> {
  const [row] = await ctx.db
    .select({ userId: apiKey.userId, org: apiKey.org })
    .from(apiKey)
    .where(eq(apiKey.id, id))
    .limit(1);
  if (!row) throw notFound("key", id);
  return row;
}

/** @throws AppError `key_not_found` */
export async function getKey(ctx: Ctx, actor: Actor, id: string): Promise<KeyRow> {
  const { row, owner } = await find(ctx.db, actor, id);
  return shownKey(row, owner);
}

/** A key lifts no restriction, its own included: it changes only what it created. */
function requireOwnCreation(actor: Actor, row: Row, itself: boolean): void {
  if (!actor.keyId || row.parentId === actor.keyId || (itself && row.id === actor.keyId)) return;
  throw new AppError(
    "forbidden",
    "key_changes_others",
    `A key changes only keys that it created${itself ? ", and rotates itself" : ""}. Use Settings > API keys.`,
  );
}

const parentOf = async (tx: Db, row: Row): Promise<Row | null> => {
  if (row.parentId === null) return null;
  const [parent] = await tx.select().from(apiKey).where(eq(apiKey.id, row.parentId)).limit(1);
  return parent ?? null;
};

/**
 * Changes the name and the restrictions of a key; what is absent stays. They hold from the next request on.
 * @throws AppError `key_not_found`, `key_changes_others`, `exceeds_key`
 */
export async function changeKey(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { name?: string; restrictions: Partial<Restrictions> },
): Promise<KeyRow> {
  const changed = await ctx.write(async (tx) => {
    const { row, owner } = await find(tx, actor, id);
    requireOwnCreation(actor, row, false);
    const { name = row.name } = change;
    const wanted = { ...restrictionsOf(row), ...change.restrictions };
    const restrictions = restrictBelow(wanted, await parentOf(tx, row));
    const [stored] = await tx
      .update(apiKey)
      .set({ name, ...restrictions })
      .where(eq(apiKey.id, id))
      .returning();
    if (!stored) throw notFound("key", id);
    await audit(tx, ctx, actor, "key.change", id, { name, ...restrictionsSet(restrictions) });
    return shownKey(stored, owner);
  });
  forgetKeys(ctx);
  return changed;
}

/** A secret is for the owner of its key alone; those of service accounts are for whoever manages members. */
export const maySeeSecret = (actor: Actor, { userId, owner }: Pick<KeyRow, "userId" | "owner">): boolean =>
  userId === actor.userId || (owner.kind === "service" && can(actor, "members.manage"));

const overlapRuns = (until: number) =>
  new AppError(
    "conflict",
    "overlap_running",
    `The previous secret of this key works until ${new Date(until).toISOString()}. End it first, or rotate with an overlap of 0, which ends both old secrets.`,
    { param: "overlap_seconds" },
  );

/**
 * Gives a key a new secret. The one in use works until the overlap is over, and never longer than the key.
 * @param overlapMs 0 = the old secret ends at once
 * @returns the key with its new secret, which is not stored
 * @throws AppError `key_not_found`, `key_changes_others`, `key_expired`, `overlap_running`
 */
export async function rotateKey(
  ctx: Ctx,
  actor: Actor,
  id: string,
  overlapMs: number,
): Promise<{ key: string; row: KeyRow }> {
  const key = newSecret("ftl-");
  const row = await ctx.write(async (tx) => {
    const { row: before, owner } = await find(tx, actor, id);
    if (!maySeeSecret(actor, { userId: before.userId, owner })) throw notFound("key", id);
    requireOwnCreation(actor, before, true);
    const now = ctx.clock.now();
    if (before.expiresAt !== null && before.expiresAt <= now)
      throw new AppError("conflict", "key_expired", "This key has expired. Create another one.");
    if (overlapMs > 0 && before.previousUntil !== null && before.previousUntil > now)
      throw overlapRuns(before.previousUntil);
    const previousUntil = Math.min(now + overlapMs, before.expiresAt ?? Number.POSITIVE_INFINITY);
    const [stored] = await tx
      .update(apiKey)
      .set({
        hash: sha256Hex(key),
        prefix: prefixOf(key),
        rotatedAt: now,
        previousHash: before.hash,
        previousPrefix: before.prefix,
        previousUntil,
      })
      .where(eq(apiKey.id, id))
      .returning();
    if (!stored) throw notFound("key", id);
    await audit(tx, ctx, actor, "key.rotate", id, { name: stored.name, overlap_seconds: overlapMs / 1000 });
    return shownKey(stored, owner);
  });
  ended(ctx, row.userId);
  if (row.owner.kind === "person") announceSecurity(ctx, row, "key.rotated", actor.source, row.name);
  return { key, row };
}

/** Ends the replaced secret of a key before its time. @throws AppError `key_not_found`, `no_previous_secret` */
export async function endOverlap(ctx: Ctx, actor: Actor, id: string): Promise<KeyRow> {
  const row = await ctx.write(async (tx) => {
    const { row: before, owner } = await find(tx, actor, id);
    requireOwnCreation(actor, before, true);
    const now = ctx.clock.now();
    if (before.previousUntil === null || before.previousUntil <= now)
      throw new AppError("conflict", "no_previous_secret", "Only one secret of this key works.");
    const [stored] = await tx.update(apiKey).set({ previousUntil: now }).where(eq(apiKey.id, id)).returning();
    if (!stored) throw notFound("key", id);
    await audit(tx, ctx, actor, "key.end_overlap", id, { name: stored.name });
    return shownKey(stored, owner);
  });
  ended(ctx, row.userId);
  return row;
}

/** Drops what is cached, and checks the requests in progress: one with a secret that no longer works ends. */
function ended(ctx: Ctx, userId: string): void {
  forgetKeys(ctx);
  ctx.bus.emit("session.ended", { userId });
}
