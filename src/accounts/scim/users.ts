/** Users whom a provider manages: created or adopted, changed, deactivated. Nobody else's users are seen. */
import { and, asc, count, eq, inArray, type SQL } from "drizzle-orm";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { member, user } from "../../db/schema/auth.ts";
import { scimGroup, scimMember, scimUser } from "../../db/schema/sso.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { Email } from "../auth/model.ts";
import { insertUser } from "../auth/service.ts";
import { domainOf } from "../domains/service.ts";
import { forgetAccount } from "../organizations/members.ts";
import { defaultPlace } from "../sso/place.ts";
import { deactivateUser, reactivateUser } from "../suspension/deactivation.ts";
import { actorFor, type Caller } from "./connection.ts";
import type { Filter, Range } from "./filter.ts";
import type { UserChange, UserRow } from "./model.ts";
import { placeUser } from "./placement.ts";

const columns = { row: scimUser, name: user.name, email: user.email, banned: user.banned };

async function read(ctx: Ctx, { provider }: Caller, condition: SQL | undefined, range: Range): Promise<UserRow[]> {
  const rows = await ctx.db
    .select(columns)
    .from(scimUser)
    .innerJoin(user, eq(user.id, scimUser.userId))
    .where(and(eq(scimUser.provider, provider.id), condition))
    .orderBy(asc(scimUser.createdAt), asc(scimUser.userId))
    .limit(range.count)
    .offset(range.start - 1);
  const found: UserRow[] = [];
  for (const { row, name, email, banned } of rows) {
    const groups = await ctx.db
      .select({ id: scimGroup.id, name: scimGroup.displayName })
      .from(scimMember)
      .innerJoin(scimGroup, eq(scimGroup.id, scimMember.groupId))
      .where(and(eq(scimMember.userId, row.userId), eq(scimGroup.provider, provider.id)))
      .limit(1000);
    const { userId: id, userName, externalId, givenName, familyName, createdAt, updatedAt } = row;
    found.push({
      id,
      userName,
      externalId,
      givenName,
      familyName,
      name,
      email,
      active: !banned,
      groups,
      createdAt,
      updatedAt,
    });
  }
  return found;
}

/** Attributes of a user that a filter may name. */
export const USER_FILTERS = ["userName", "externalId", "id", "email"] as const;

function conditionOf(filter: Filter | null): SQL | undefined {
  switch (filter?.attribute) {
    case "userName":
      return eq(scimUser.userNameKey, filter.value.toLowerCase());
    case "externalId":
      return eq(scimUser.externalId, filter.value);
    case "id":
      return eq(scimUser.userId, filter.value);
    case "email":
      return eq(user.email, filter.value.toLowerCase());
    default:
      return undefined;
  }
}

/** A page of the users of the provider, and the number of all. */
export async function listScimUsers(
  ctx: Ctx,
  caller: Caller,
  asked: { filter: Filter | null; range: Range },
): Promise<{ rows: UserRow[]; total: number }> {
  const condition = conditionOf(asked.filter);
  const [all] = await ctx.db
    .select({ total: count() })
    .from(scimUser)
    .innerJoin(user, eq(user.id, scimUser.userId))
    .where(and(eq(scimUser.provider, caller.provider.id), condition));
  return { rows: await read(ctx, caller, condition, asked.range), total: all?.total ?? 0 };
}

/** @throws AppError `scim_user_not_found` */
export async function getScimUser(ctx: Ctx, caller: Caller, id: string): Promise<UserRow> {
  const [found] = await read(ctx, caller, eq(scimUser.userId, id), { start: 1, count: 1 });
  if (!found) throw notFound("scim_user", id);
  return found;
}

/**
 * The address of a user: the one that is sent, or the user name when it is one.
 * @throws AppError `invalid_value` without one, or with one of another domain
 */
function addressOf({ provider }: Caller, email: string | null | undefined, userName: string): string {
  const parsed = v.safeParse(Email, email ?? userName);
  if (!parsed.success)
    throw new AppError("invalid", "invalid_value", "A user needs an e-mail address, in emails or as userName.", {
      param: "emails",
    });
  const address = parsed.output.toLowerCase();
  if (!provider.domains.includes(domainOf(address)))
    throw new AppError(
      "invalid",
      "invalid_value",
      `${provider.name} may not manage addresses of ${domainOf(address)}. An administrator adds the domain to the provider.`,
      { param: "emails" },
    );
  return address;
}

const taken = (what: string) => new AppError("conflict", "uniqueness", `There is already a user with this ${what}.`);

/** The name to show: as sent, or of its parts; null = none was sent. */
function nameOf({ displayName, formatted, givenName, familyName }: UserChange): string | null {
  const whole = [givenName, familyName].filter(Boolean).join(" ");
  return (displayName || formatted || whole || null)?.slice(0, 200) ?? null;
}

/** @throws AppError `uniqueness` when another user of the provider has the name */
async function requireFreeName(tx: Db, { provider }: Caller, userName: string, except: string | null): Promise<void> {
  const [found] = await tx
    .select({ userId: scimUser.userId })
    .from(scimUser)
    .where(and(eq(scimUser.provider, provider.id), eq(scimUser.userNameKey, userName.toLowerCase())))
    .limit(1);
  if (found && found.userId !== except) throw taken("userName");
}

/** The account of an address that no provider manages yet; a new one without a team when there is none. */
async function accountFor(tx: Db, ctx: Ctx, caller: Caller, email: string, name: string | null) {
  const [existing] = await tx.select({ id: user.id }).from(user).where(eq(user.email, email)).limit(1);
  if (existing) {
    const [managed] = await tx
      .select({ userId: scimUser.userId })
      .from(scimUser)
      .where(eq(scimUser.userId, existing.id))
      .limit(1);
    if (managed) throw taken("address");
    return { id: existing.id, adopted: true };
  }
  const place = defaultPlace(caller.provider);
  if (place)
    return {
      ...(await insertUser(tx, ctx, { email, name: name ?? "", ...place, passwordHash: null })),
      adopted: false,
    };
  // A group says later where it belongs; until then it can use nothing.
  const id = newId("user");
  const now = new Date(ctx.clock.now());
  await tx.insert(user).values({
    id,
    name: name ?? email.split("@")[0] ?? email,
    email,
    emailVerified: true,
    createdAt: now,
    updatedAt: now,
  });
  return { id, adopted: false };
}

async function orgOf(ctx: Ctx, id: string): Promise<string> {
  const [row] = await ctx.db
    .select({ org: member.organizationId })
    .from(member)
    .where(eq(member.userId, id))
    .orderBy(asc(member.createdAt))
    .limit(1);
  return row?.org ?? "";
}

/** Deactivates or reactivates; a suspension by an administrator stays. */
async function setActive(ctx: Ctx, caller: Caller, id: string, active: boolean): Promise<void> {
  const actor = actorFor(caller, await orgOf(ctx, id));
  if (active) await reactivateUser(ctx, actor, id);
  else await deactivateUser(ctx, actor, id, `Deactivated by ${caller.provider.name}`);
}

/**
 * Creates a user, or takes over the account that has the address.
 * @throws AppError `uniqueness`, `invalid_value`, `last_admin`
 */
export async function createScimUser(
  ctx: Ctx,
  caller: Caller,
  given: UserChange & { userName: string },
): Promise<UserRow> {
  const email = addressOf(caller, given.email, given.userName);
  const { userName, externalId = null, givenName = null, familyName = null } = given;
  const id = await ctx.write(async (tx) => {
    await requireFreeName(tx, caller, userName, null);
    const { id, adopted } = await accountFor(tx, ctx, caller, email, nameOf(given));
    const now = ctx.clock.now();
    await tx.insert(scimUser).values({
      provider: caller.provider.id,
      userId: id,
      userName,
      userNameKey: userName.toLowerCase(),
      externalId,
      givenName,
      familyName,
      createdAt: now,
      updatedAt: now,
    });
    const detail = { provider: caller.provider.id, email, user_name: userName };
    await audit(tx, ctx, actorFor(caller, ""), adopted ? "user.adopt" : "user.create", id, detail);
    return id;
  });
  if (given.active !== undefined) await setActive(ctx, caller, id, given.active);
  await placeUser(ctx, caller, id, { onlyNew: true });
  return getScimUser(ctx, caller, id);
}

/** Writes names and address. @returns the address afterwards */
async function writeUser(tx: Db, ctx: Ctx, caller: Caller, before: UserRow, change: UserChange): Promise<string> {
  const { userName = before.userName } = change;
  await requireFreeName(tx, caller, userName, before.id);
  const followed = change.email === undefined && change.userName !== undefined && before.email === before.userName;
  const address = followed ? change.userName : (change.email ?? before.email);
  const email = address === before.email ? before.email : addressOf(caller, address, userName);
  if (email !== before.email) {
    const [other] = await tx.select({ id: user.id }).from(user).where(eq(user.email, email)).limit(1);
    if (other) throw taken("address");
  }
  const now = ctx.clock.now();
  const merged = {
    givenName: change.givenName === undefined ? before.givenName : change.givenName,
    familyName: change.familyName === undefined ? before.familyName : change.familyName,
  };
  const { displayName, formatted } = change;
  const renamed = change.givenName !== undefined || change.familyName !== undefined ? merged : {};
  const name = nameOf({ displayName, formatted, ...renamed }) ?? before.name;
  await tx
    .update(scimUser)
    .set({
      userName,
      userNameKey: userName.toLowerCase(),
      externalId: change.externalId === undefined ? before.externalId : change.externalId,
      ...merged,
      updatedAt: now,
    })
    .where(and(eq(scimUser.provider, caller.provider.id), eq(scimUser.userId, before.id)));
  if (email === before.email && name === before.name) return email;
  await tx
    .update(user)
    .set({ email, name, updatedAt: new Date(now) })
    .where(eq(user.id, before.id));
  const detail = { provider: caller.provider.id, email, name };
  await audit(tx, ctx, actorFor(caller, ""), "user.change", before.id, detail);
  return email;
}

/** Notifies the user at both addresses, after the commit. */
async function announceAddress(ctx: Ctx, { source }: Caller, id: string, previousEmail: string): Promise<void> {
  forgetAccount(ctx, id);
  ctx.bus.emit("security.event", {
    org: await orgOf(ctx, id),
    userId: id,
    kind: "email.changed",
    ip: source.address,
    userAgent: source.userAgent,
    at: ctx.clock.now(),
    previousEmail,
  });
}

/**
 * Changes a user: PUT and PATCH.
 * @throws AppError `scim_user_not_found`, `uniqueness`, `invalid_value`, `last_admin`
 */
export async function changeScimUser(ctx: Ctx, caller: Caller, id: string, change: UserChange): Promise<UserRow> {
  const before = await getScimUser(ctx, caller, id);
  // First: an account that leaves must not wait for a name that is taken.
  if (change.active !== undefined) await setActive(ctx, caller, id, change.active);
  const email = await ctx.write((tx) => writeUser(tx, ctx, caller, before, change));
  if (email !== before.email) await announceAddress(ctx, caller, id, before.email);
  return getScimUser(ctx, caller, id);
}

/**
 * Deactivates a user and forgets what the provider called them. The account and what it owns stay.
 * @throws AppError `scim_user_not_found`, `last_admin`
 */
export async function removeScimUser(ctx: Ctx, caller: Caller, id: string): Promise<void> {
  await getScimUser(ctx, caller, id);
  await setActive(ctx, caller, id, false);
  await ctx.write(async (tx) => {
    const groups = tx.select({ id: scimGroup.id }).from(scimGroup).where(eq(scimGroup.provider, caller.provider.id));
    await tx.delete(scimMember).where(and(eq(scimMember.userId, id), inArray(scimMember.groupId, groups)));
    await tx.delete(scimUser).where(and(eq(scimUser.provider, caller.provider.id), eq(scimUser.userId, id)));
    await audit(tx, ctx, actorFor(caller, ""), "scim.user_remove", id, { provider: caller.provider.id });
  });
}
