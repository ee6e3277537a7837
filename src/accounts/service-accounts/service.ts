/**
 * Service accounts: users without a person, which belong to one organization and act only with API keys. They are rows
 * of users and members, so that roles, ownership, limits and usage are those of everybody; nobody signs in as one, and
 * no mail is sent to one.
 */
import { and, asc, eq, gt, isNull, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { isService } from "../../db/accounts.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { requirePermission } from "../../roles.ts";
import { createKey, type KeyRow, listKeys, type NewKey, revokeIn } from "../api-keys/service.ts";
import { audit } from "../audit/service.ts";
import { insertMember } from "../auth/service.ts";
import { forgetAccount, requireGrant, setMemberRole } from "../organizations/members.ts";
import { handOver } from "../organizations/ownership.ts";
import { SERVICE_ROLES, type ServiceAccountRow, type ServiceRole } from "./model.ts";

/** Service accounts of one organization. */
const MAX_ACCOUNTS = 200;
/** Nobody receives mail there: the name is reserved (RFC 2606). */
const NOWHERE = "service-accounts.invalid";

const roleOf = (stored: string): ServiceRole => SERVICE_ROLES.find((each) => each === stored) ?? "viewer";

async function read(
  ctx: Ctx,
  db: Db,
  actor: Actor,
  page: { id?: string; after?: string; limit: number },
): Promise<ServiceAccountRow[]> {
  const mine = sql`${apiKey} where ${apiKey.userId} = ${user.id}`;
  const rows = await db
    .select({
      user,
      role: member.role,
      creator: sql<string | null>`(select case when creator.kind = 'service' then creator.name else creator.email end
        from user creator where creator.id = ${user.createdBy})`,
      lastUsedAt: sql<number | null>`(select max(${apiKey.lastUsedAt}) from ${mine})`,
      keys: sql<number>`(select count(*) from ${mine} and ${apiKey.revokedAt} is null
        and (${apiKey.expiresAt} is null or ${apiKey.expiresAt} > ${ctx.clock.now()}))`,
    })
    .from(user)
    .innerJoin(member, eq(member.userId, user.id))
    .where(
      and(
        isService,
        eq(member.organizationId, actor.org),
        page.id === undefined ? undefined : eq(user.id, page.id),
        page.after ? gt(user.id, page.after) : undefined,
      ),
    )
    .orderBy(asc(user.id))
    .limit(page.limit);
  return rows.map((row) => ({
    id: row.user.id,
    name: row.user.name,
    role: roleOf(row.role),
    createdBy: row.user.createdBy,
    creator: row.creator,
    createdAt: row.user.createdAt.getTime(),
    lastUsedAt: row.lastUsedAt,
    keys: row.keys,
  }));
}

/** Service accounts of the actor's organization by id; `after` is the last id of the previous page. */
export async function listServiceAccounts(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<ServiceAccountRow[]> {
  requirePermission(actor, "members.manage");
  return read(ctx, ctx.db, actor, page);
}

async function find(ctx: Ctx, db: Db, actor: Actor, id: string): Promise<ServiceAccountRow> {
  requirePermission(actor, "members.manage");
  const [row] = await read(ctx, db, actor, { id, limit: 1 });
  if (!row) throw notFound("service_account", id);
  return row;
}

/** @throws AppError `service_account_not_found` */
export const getServiceAccount = (ctx: Ctx, actor: Actor, id: string) => find(ctx, ctx.db, actor, id);

/**
 * Creates a service account of the actor's organization. Whoever manages members is at least an administrator of the
 * team, so no role that it may have is above the creator's.
 * @throws AppError `permission_denied`, `too_many_service_accounts`
 */
export async function createServiceAccount(
  ctx: Ctx,
  actor: Actor,
  { name, role }: { name: string; role: ServiceRole },
): Promise<ServiceAccountRow> {
  requireGrant(actor, role);
  const id = newId("user");
  return ctx.write(async (tx) => {
    const before = await read(ctx, tx, actor, { limit: MAX_ACCOUNTS });
    if (before.length === MAX_ACCOUNTS)
      throw new AppError(
        "conflict",
        "too_many_service_accounts",
        `A team may have ${MAX_ACCOUNTS} service accounts. Remove unused ones.`,
      );
    const now = new Date(ctx.clock.now());
    const account = { id, name, email: `${id}@${NOWHERE}`, emailVerified: false, kind: "service" } as const;
    await tx.insert(user).values({ ...account, createdBy: actor.userId, createdAt: now, updatedAt: now });
    await insertMember(tx, ctx, { org: actor.org, userId: id, role });
    await audit(tx, ctx, actor, "service_account.create", id, { name, role });
    return find(ctx, tx, actor, id);
  });
}

/** Changes the name or the role; requests in progress with another role end. @throws AppError `permission_denied` */
export async function changeServiceAccount(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { name?: string; role?: ServiceRole },
): Promise<ServiceAccountRow> {
  const changed = await ctx.write(async (tx) => {
    const before = await find(ctx, tx, actor, id);
    const { name = before.name, role = before.role } = change;
    requireGrant(actor, role);
    if (name !== before.name)
      await tx
        .update(user)
        .set({ name, updatedAt: new Date(ctx.clock.now()) })
        .where(eq(user.id, id));
    if (role !== before.role) await setMemberRole(tx, id, role);
    await audit(tx, ctx, actor, "service_account.change", id, { name, role, before: before.role });
    return find(ctx, tx, actor, id);
  });
  forgetAccount(ctx, id);
  return changed;
}

/**
 * Removes a service account. Its keys end at once, and what it owns goes to whoever removes it. Its name stays for the
 * audit log and the usage of the past.
 * @throws AppError `service_account_not_found`
 */
export async function removeServiceAccount(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const revoked = await ctx.write(async (tx) => {
    const { name, role } = await find(ctx, tx, actor, id);
    const keys = await tx
      .select({ id: apiKey.id })
      .from(apiKey)
      .where(and(eq(apiKey.userId, id), isNull(apiKey.revokedAt)));
    const ended = await revokeIn(
      tx,
      ctx,
      actor,
      keys.map((key) => key.id),
    );
    const moved = await handOver(tx, actor.org, id, actor.userId);
    await tx.delete(member).where(eq(member.userId, id));
    await tx.update(user).set({ banned: true }).where(eq(user.id, id));
    await audit(tx, ctx, actor, "service_account.remove", id, { name, role, heir: actor.userId, objects: moved });
    return ended;
  });
  forgetAccount(ctx, id);
  for (const { id: keyId, org } of revoked) ctx.bus.emit("key.revoked", { org, keyId });
}

/**
 * Creates a key of a service account. It belongs to the organization: it stays when its creator leaves.
 * @throws AppError `service_account_not_found`, `key_restricted`, and those of `createKey`
 */
export async function createServiceKey(
  ctx: Ctx,
  actor: Actor,
  id: string,
  input: Omit<NewKey, "userId">,
): ReturnType<typeof createKey> {
  await find(ctx, ctx.db, actor, id);
  return createKey(ctx, actor, { ...input, userId: id });
}

/** Keys of a service account, newest first. @throws AppError `service_account_not_found` */
export async function listServiceKeys(
  ctx: Ctx,
  actor: Actor,
  id: string,
  page: { after?: string; limit: number },
): Promise<KeyRow[]> {
  await find(ctx, ctx.db, actor, id);
  return listKeys(ctx, actor, { ...page, userId: id });
}
