/** API keys: created, listed and revoked. Keys that a key creates expire and are revoked with it. */
import { and, desc, eq, inArray, isNull } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { olderThan } from "../../db/paging.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId, newSecret, sha256Hex } from "../../lib/ids.ts";
import { can, requirePermission, SCOPES, type Scope } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { forgetKeys } from "../keys/cache.ts";
import { type Restrictions, restrictBelow, restrictionsSet } from "../keys/restrictions.ts";

/** Life of a key that is created without an expiry. */
const DEFAULT_DAYS = 90;
/** Active keys of one user. */
const MAX_KEYS = 500;

/** Whose key it is: the address of a person, or the name of a service account. */
interface Owner {
  kind: "person" | "service";
  name: string;
}

/** A key as listed, without its secret. Times in milliseconds. */
export interface KeyRow extends Restrictions {
  id: string;
  org: string;
  userId: string;
  owner: Owner;
  name: string;
  prefix: string;
  createdAt: number;
  lastUsedAt: number | null;
  expiresAt: number | null;
  revokedAt: number | null;
  /** The key that created it; null when a person did. */
  parentId: string | null;
  /** What it may do of what its user may do; null = everything. */
  scopes: Scope[] | null;
  /** When its secret was last replaced; null = never. */
  rotatedAt: number | null;
  /** The first characters of the replaced secret, and when that stops working. */
  previousPrefix: string | null;
  previousUntil: number | null;
}

/** A row without the hashes of its secrets. */
export function shownKey(row: typeof apiKey.$inferSelect, { kind, name }: Owner): KeyRow {
  const { hash: _, previousHash: __, ...shown } = row;
  return { ...shown, owner: { kind, name } };
}

const invalidExpiry = (code: string, message: string) =>
  new AppError("invalid", code, message, { param: "expires_in_days" });

/**
 * When a new key expires. A key that another key creates never outlives it.
 * @param asked undefined = the default, null = never
 * @param parent expiry of the key that creates it; undefined when a person does
 * @throws AppError `key_too_long`, `key_outlives_parent`
 */
function expiryOf(ctx: Ctx, asked: number | null | undefined, parent: number | null | undefined): number | null {
  const now = ctx.clock.now();
  const maxDays = ctx.config.key_max_days;
  const max = maxDays === 0 ? Number.POSITIVE_INFINITY : now + maxDays * DAY_MS;
  const limit = Math.min(max, parent ?? Number.POSITIVE_INFINITY);
  if (asked === undefined) return Math.min(now + DEFAULT_DAYS * DAY_MS, limit);
  const wanted = asked ?? Number.POSITIVE_INFINITY;
  if (wanted > max)
    throw invalidExpiry("key_too_long", `Keys of this installation expire within ${maxDays} days. Choose fewer days.`);
  if (wanted > limit)
    throw invalidExpiry(
      "key_outlives_parent",
      "A key cannot create a key that outlives it. Choose fewer days, or create the key on the Settings page.",
    );
  return asked;
}

/** The characters of a secret that identify it to people. */
export const prefixOf = (secret: string) => secret.slice(0, 8);

/** The key that creates another one; null when a person does. */
async function creatorOf(tx: Db, actor: Actor): Promise<typeof apiKey.$inferSelect | null> {
  if (!actor.keyId) return null;
  const [row] = await tx
    .select()
    .from(apiKey)
    .where(and(eq(apiKey.id, actor.keyId), isNull(apiKey.revokedAt)))
    .limit(1);
  if (!row) throw notFound("key", actor.keyId);
  return row;
}

/**
 * Checks that the actor may create keys of another account: of a service account whoever manages members, of a person
 * the administrators of the installation.
 * @throws AppError `permission_denied`, `admin_only`, `key_creates_for_others`, `key_restricted`
 */
function requireForOther(actor: Actor, owner: { kind: "person" | "service" }): void {
  if (owner.kind === "person") {
    requireAdmin(actor);
    if (actor.keyId)
      throw new AppError("forbidden", "key_creates_for_others", "A key creates keys only for its own user.");
    return;
  }
  requirePermission(actor, "members.manage");
  // A key of a service account does not end with the key that created it, so it cannot be bound by that one's limits.
  if (actor.limits)
    throw new AppError(
      "forbidden",
      "key_restricted",
      "A key with allowed addresses, models or rates creates no keys of service accounts. Create it on the Team page.",
    );
}

/**
 * The scopes of a new key. A key that another key creates has at most the scopes of that one.
 * @throws AppError `scope_exceeds_key`
 */
function scopesOf(actor: Actor, asked: readonly Scope[] | undefined): Scope[] | null {
  const own = actor.scopes;
  if (own === null) return asked ? SCOPES.filter((scope) => asked.includes(scope)) : null;
  const wanted = asked ?? own;
  const above = wanted.filter((scope) => !own.includes(scope));
  if (above.length > 0)
    throw new AppError(
      "forbidden",
      "scope_exceeds_key",
      `This key has the scopes ${own.join(", ")} and cannot create one with ${above.join(", ")}. Leave that out, or create the key in Settings > API keys.`,
      { param: "scopes" },
    );
  return SCOPES.filter((scope) => wanted.includes(scope));
}

/** A key as asked for. */
export interface NewKey {
  name: string;
  userId?: string;
  expiresAt?: number | null;
  scopes?: readonly Scope[];
  restrictions?: Partial<Restrictions>;
}

/**
 * Creates a key. Only the answer contains the secret.
 * @param input.userId owner of the key: the actor, a service account, or for the operator anybody
 * @param input.expiresAt undefined = in 90 days, or earlier where a limit asks for it; null = never
 * @param input.scopes undefined = everything, or what the creating key may do
 * @param input.restrictions what is absent is not restricted, or as the creating key is
 * @throws AppError `key_too_long`, `key_outlives_parent`, `scope_exceeds_key`, `exceeds_key`, `too_many_keys`
 */
export async function createKey(
  ctx: Ctx,
  actor: Actor,
  input: NewKey,
): Promise<{ id: string; key: string; row: KeyRow }> {
  const userId = input.userId ?? actor.userId;
  const key = newSecret("ftl-");
  const id = newId("key");
  const row = await ctx.write(async (tx) => {
    const [owner] = await tx
      .select({ kind: user.kind, name: accountName })
      .from(user)
      .where(eq(user.id, userId))
      .limit(1);
    if (!owner) throw notFound("user", userId);
    const own = userId === actor.userId;
    if (!own) requireForOther(actor, owner);
    const [belongs] = await tx
      .select()
      .from(member)
      .where(
        own || owner.kind === "service"
          ? and(eq(member.userId, userId), eq(member.organizationId, actor.org))
          : eq(member.userId, userId),
      )
      .orderBy(member.createdAt)
      .limit(1);
    const [full] = await tx
      .select({ id: apiKey.id })
      .from(apiKey)
      .where(and(eq(apiKey.userId, userId), isNull(apiKey.revokedAt)))
      .limit(1)
      .offset(MAX_KEYS - 1);
    if (full) throw new AppError("conflict", "too_many_keys", `A user may have ${MAX_KEYS} keys. Revoke unused ones.`);
    if (!belongs) throw new AppError("invalid", "user_without_organisation", "This user belongs to no organization.");
    const creator = await creatorOf(tx, actor);
    const values = {
      id,
      org: belongs.organizationId,
      userId,
      name: input.name,
      hash: sha256Hex(key),
      prefix: prefixOf(key),
      createdAt: ctx.clock.now(),
      expiresAt: expiryOf(ctx, input.expiresAt, creator?.expiresAt),
      parentId: own ? actor.keyId : null,
      scopes: scopesOf(actor, input.scopes),
      ...restrictBelow(input.restrictions ?? {}, creator),
    };
    const [stored] = await tx.insert(apiKey).values(values).returning();
    if (!stored) throw new Error("key not stored");
    await audit(tx, ctx, { ...actor, org: belongs.organizationId }, "key.create", id, {
      name: input.name,
      user: userId,
      ...(values.scopes ? { scopes: values.scopes } : {}),
      ...restrictionsSet(values),
    });
    return shownKey(stored, owner);
  });
  if (row.owner.kind === "person") announceSecurity(ctx, row, "key.created", actor.source, input.name);
  return { id, key, row };
}

/** Revokes keys and all keys that they created. @returns the revoked ones */
export async function revokeIn(tx: Db, ctx: Ctx, actor: Actor, ids: string[]): Promise<{ id: string; org: string }[]> {
  const revoked: { id: string; org: string }[] = [];
  for (let next = ids; next.length > 0; ) {
    const rows = await tx
      .update(apiKey)
      .set({ revokedAt: ctx.clock.now() })
      .where(and(inArray(apiKey.id, next), isNull(apiKey.revokedAt)))
      .returning({ id: apiKey.id, org: apiKey.org, name: apiKey.name });
    for (const { id, org, name } of rows) {
      await audit(tx, ctx, { ...actor, org }, "key.revoke", id, { name });
      revoked.push({ id, org });
    }
    const children = await tx.select({ id: apiKey.id }).from(apiKey).where(inArray(apiKey.parentId, next));
    next = children.map((row) => row.id);
  }
  return revoked;
}

function announceRevoked(ctx: Ctx, revoked: { id: string; org: string }[]): void {
  forgetKeys(ctx);
  for (const { id, org } of revoked) ctx.bus.emit("key.revoked", { org, keyId: id });
}

/** Revokes all keys of the actor's own account. @returns how many */
export async function revokeOwnKeys(ctx: Ctx, actor: Actor): Promise<number> {
  const revoked = await ctx.write(async (tx) => {
    const rows = await tx
      .select({ id: apiKey.id })
      .from(apiKey)
      .where(and(eq(apiKey.userId, actor.userId), isNull(apiKey.revokedAt)));
    return revokeIn(
      tx,
      ctx,
      actor,
      rows.map((row) => row.id),
    );
  });
  announceRevoked(ctx, revoked);
  return revoked.length;
}

/**
 * Revokes a key at once, and the keys it created. Members revoke their own keys, administrators any key of their
 * organization.
 */
export async function revokeKey(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const revoked = await ctx.write(async (tx) => {
    const [row] = await tx
      .select()
      .from(apiKey)
      .where(and(eq(apiKey.id, id), eq(apiKey.org, actor.org)))
      .limit(1);
    if (!row || (!can(actor, "keys.manage") && row.userId !== actor.userId)) throw notFound("key", id);
    return revokeIn(tx, ctx, actor, [id]);
  });
  announceRevoked(ctx, revoked);
}

/** Unrevoked keys of the organization, newest first; members see only their own. */
export async function listKeys(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; userId?: string },
): Promise<KeyRow[]> {
  const [cursor] = page.after
    ? await ctx.db
        .select({ id: apiKey.id, createdAt: apiKey.createdAt })
        .from(apiKey)
        .where(and(eq(apiKey.id, page.after), eq(apiKey.org, actor.org)))
    : [];
  if (page.after && !cursor) throw notFound("key", page.after);
  const rows = await ctx.db
    .select({ key: apiKey, owner: { kind: user.kind, name: accountName } })
    .from(apiKey)
    .innerJoin(user, eq(user.id, apiKey.userId))
    .where(
      and(
        eq(apiKey.org, actor.org),
        isNull(apiKey.revokedAt),
        can(actor, "keys.manage") ? undefined : eq(apiKey.userId, actor.userId),
        page.userId ? eq(apiKey.userId, page.userId) : undefined,
        olderThan(apiKey, cursor),
      ),
    )
    .orderBy(desc(apiKey.createdAt), desc(apiKey.id))
    .limit(page.limit);
  return rows.map(({ key, owner }) => shownKey(key, owner));
}
