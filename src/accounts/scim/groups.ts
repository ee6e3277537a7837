/** Groups that a provider pushes: their members, who are moved to the team and role that the group is mapped to. */
import { and, asc, count, eq, inArray, type SQL } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";
import { scimGroup, scimMember, scimUser } from "../../db/schema/sso.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { actorFor, type Caller } from "./connection.ts";
import type { Filter, Range } from "./filter.ts";
import type { GroupRow } from "./model.ts";
import type { GroupChange } from "./patch.ts";
import { placeUser } from "./placement.ts";

const MAX_MEMBERS = 10_000;
const CHUNK = 500;

/** Attributes of a group that a filter may name. */
export const GROUP_FILTERS = ["displayName", "externalId", "id"] as const;

async function membersOf(db: Db, groupId: string): Promise<{ id: string; name: string }[]> {
  return db
    .select({ id: user.id, name: user.email })
    .from(scimMember)
    .innerJoin(user, eq(user.id, scimMember.userId))
    .where(eq(scimMember.groupId, groupId))
    .orderBy(asc(user.id))
    .limit(MAX_MEMBERS);
}

const mine = ({ provider }: Caller, condition?: SQL) => and(eq(scimGroup.provider, provider.id), condition);

function conditionOf(filter: Filter | null): SQL | undefined {
  switch (filter?.attribute) {
    case "displayName":
      return eq(scimGroup.displayName, filter.value);
    case "externalId":
      return eq(scimGroup.externalId, filter.value);
    case "id":
      return eq(scimGroup.id, filter.value);
    default:
      return undefined;
  }
}

/** A page of the groups of the provider, and the number of all. */
export async function listScimGroups(
  ctx: Ctx,
  caller: Caller,
  asked: { filter: Filter | null; range: Range; withMembers: boolean },
): Promise<{ rows: GroupRow[]; total: number }> {
  const condition = mine(caller, conditionOf(asked.filter));
  const [all] = await ctx.db.select({ total: count() }).from(scimGroup).where(condition);
  const found = await ctx.db
    .select()
    .from(scimGroup)
    .where(condition)
    .orderBy(asc(scimGroup.createdAt), asc(scimGroup.id))
    .limit(asked.range.count)
    .offset(asked.range.start - 1);
  const rows: GroupRow[] = [];
  for (const row of found) rows.push({ ...row, members: asked.withMembers ? await membersOf(ctx.db, row.id) : null });
  return { rows, total: all?.total ?? 0 };
}

/** @throws AppError `scim_group_not_found` */
export async function getScimGroup(ctx: Ctx, caller: Caller, id: string, withMembers = true): Promise<GroupRow> {
  const [row] = await ctx.db
    .select()
    .from(scimGroup)
    .where(mine(caller, eq(scimGroup.id, id)))
    .limit(1);
  if (!row) throw notFound("scim_group", id);
  return { ...row, members: withMembers ? await membersOf(ctx.db, id) : null };
}

/** @throws AppError `uniqueness` when another group of the provider has the name */
async function requireFreeName(tx: Db, caller: Caller, name: string, except: string | null): Promise<void> {
  const [found] = await tx
    .select({ id: scimGroup.id })
    .from(scimGroup)
    .where(mine(caller, eq(scimGroup.displayName, name)))
    .limit(1);
  if (found && found.id !== except)
    throw new AppError("conflict", "uniqueness", "There is already a group with this displayName.");
}

/** @throws AppError `invalid_value` for somebody whom the provider does not manage */
async function requireManaged(tx: Db, { provider }: Caller, ids: string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += CHUNK) {
    const part = ids.slice(at, at + CHUNK);
    const found = await tx
      .select({ id: scimUser.userId })
      .from(scimUser)
      .where(and(eq(scimUser.provider, provider.id), inArray(scimUser.userId, part)));
    const known = new Set(found.map(({ id }) => id));
    const unknown = part.find((id) => !known.has(id));
    if (unknown !== undefined)
      throw new AppError("invalid", "invalid_value", `members: there is no user with the id ${unknown}.`, {
        param: "members",
      });
  }
}

/** Members after steps in order. */
function membersAfter(before: ReadonlySet<string>, steps: GroupChange["members"]): Set<string> {
  let now = new Set(before);
  for (const { op, ids } of steps) {
    if (op === "replace" || ids === null) now = new Set(op === "remove" ? [] : (ids ?? []));
    else for (const id of ids) op === "add" ? now.add(id) : now.delete(id);
  }
  return now;
}

/** Writes the members of a group. @returns whose place may change */
async function writeMembers(tx: Db, caller: Caller, id: string, steps: GroupChange["members"]): Promise<string[]> {
  const rows = await tx.select().from(scimMember).where(eq(scimMember.groupId, id));
  const before = new Set(rows.map(({ userId }) => userId));
  const after = membersAfter(before, steps);
  const added = [...after.difference(before)];
  const removed = [...before.difference(after)];
  await requireManaged(tx, caller, added);
  for (let at = 0; at < removed.length; at += CHUNK)
    await tx
      .delete(scimMember)
      .where(and(eq(scimMember.groupId, id), inArray(scimMember.userId, removed.slice(at, at + CHUNK))));
  for (let at = 0; at < added.length; at += CHUNK)
    await tx.insert(scimMember).values(added.slice(at, at + CHUNK).map((userId) => ({ groupId: id, userId })));
  return [...added, ...removed];
}

async function placeAll(ctx: Ctx, caller: Caller, ids: string[]): Promise<void> {
  for (const id of ids) await placeUser(ctx, caller, id);
}

/** @throws AppError `uniqueness`, `invalid_value` */
export async function createScimGroup(
  ctx: Ctx,
  caller: Caller,
  given: { displayName: string; externalId: string | null; members: string[] },
): Promise<GroupRow> {
  const { displayName, externalId, members } = given;
  const id = newId("scimGroup");
  const moved = await ctx.write(async (tx) => {
    await requireFreeName(tx, caller, displayName, null);
    const now = ctx.clock.now();
    await tx
      .insert(scimGroup)
      .values({ id, provider: caller.provider.id, displayName, externalId, createdAt: now, updatedAt: now });
    const moved = await writeMembers(tx, caller, id, [{ op: "add", ids: members }]);
    const detail = { provider: caller.provider.id, name: displayName, members: moved.length };
    await audit(tx, ctx, actorFor(caller, ""), "scim.group_create", id, detail);
    return moved;
  });
  await placeAll(ctx, caller, moved);
  return getScimGroup(ctx, caller, id);
}

/**
 * Changes a group: PUT and PATCH.
 * @throws AppError `scim_group_not_found`, `uniqueness`, `invalid_value`
 */
export async function changeScimGroup(ctx: Ctx, caller: Caller, id: string, change: GroupChange): Promise<void> {
  const before = await getScimGroup(ctx, caller, id);
  const { displayName = before.displayName } = change;
  const externalId = change.externalId === undefined ? before.externalId : change.externalId;
  const renamed = displayName !== before.displayName || externalId !== before.externalId;
  const moved = await ctx.write(async (tx) => {
    await requireFreeName(tx, caller, displayName, id);
    await tx.update(scimGroup).set({ displayName, externalId, updatedAt: ctx.clock.now() }).where(eq(scimGroup.id, id));
    const moved = await writeMembers(tx, caller, id, change.members);
    const detail = { provider: caller.provider.id, name: displayName, members_changed: moved.length };
    if (renamed || moved.length > 0) await audit(tx, ctx, actorFor(caller, ""), "scim.group_change", id, detail);
    return moved;
  });
  // With another name the group may mean another team.
  const stayed = renamed ? (before.members ?? []).map((each) => each.id) : [];
  await placeAll(ctx, caller, [...new Set([...moved, ...stayed])]);
}

/** @throws AppError `scim_group_not_found` */
export async function removeScimGroup(ctx: Ctx, caller: Caller, id: string): Promise<void> {
  const { members, displayName } = await getScimGroup(ctx, caller, id);
  await ctx.write(async (tx) => {
    await tx.delete(scimGroup).where(mine(caller, eq(scimGroup.id, id)));
    const detail = { provider: caller.provider.id, name: displayName };
    await audit(tx, ctx, actorFor(caller, ""), "scim.group_remove", id, detail);
  });
  await placeAll(
    ctx,
    caller,
    (members ?? []).map((each) => each.id),
  );
}
