/** Accounts: the actor behind a request, and users. */
import { and, eq } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { account, member, organization, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId, randomChars } from "../../lib/ids.ts";
import type { InstallationRole, TeamRole } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { requirePasswordAllowed } from "../domains/service.ts";
import { actorOfKey, forgetKeys } from "../keys/cache.ts";
import { announceSecurity } from "./events.ts";
import { checkPassword } from "./password-rules.ts";
import { hashPassword } from "./passwords.ts";
import { actorOfCookie, endSessions, forgetSessions } from "./sessions.ts";

/** True when a request has an API key, in either header. */
export const sendsKey = ({ headers }: Request) => headers.has("authorization") || headers.has("api-key");

/** The API key as sent, also when it is wrong; null for another kind of header. Azure's clients send `api-key`. */
export function sentKey({ headers }: Request): string | null {
  const authorization = headers.get("authorization");
  if (authorization === null) return headers.get("api-key");
  return /^bearer +(\S+)$/i.exec(authorization)?.[1] ?? null;
}

/**
 * The actor behind a request, or null without valid credentials. A key takes precedence over a cookie: a request with a
 * wrong key has no actor, even with a valid cookie.
 */
export async function resolveActor(ctx: Ctx, request: Request): Promise<Actor | null> {
  if (!sendsKey(request)) return actorOfCookie(ctx, request);
  const key = sentKey(request);
  return key === null ? null : actorOfKey(ctx, key);
}

/** A new account. `password` is plain text here and hashed before the transaction. */
interface NewUser {
  email: string;
  name?: string;
  role?: InstallationRole;
  /** Role in the team; absent = owner for administrators and in a new team, member otherwise. */
  teamRole?: TeamRole;
  password: string;
  /** Organization to join; absent = the oldest one, null = a new one. */
  org?: string | null;
  orgName?: string;
}

export const normalEmail = (email: string) => email.trim().toLowerCase();

/**
 * A short name for an organization, used in the ids of its models: letters and digits of `name`, with a suffix when
 * that is taken.
 */
async function freeSlug(tx: Db, name: string): Promise<string> {
  const plain = name
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 24);
  const wanted = plain || "lab";
  const [taken] = await tx
    .select({ id: organization.id })
    .from(organization)
    .where(eq(organization.slug, wanted))
    .limit(1);
  return taken ? `${wanted}-${randomChars(4)}` : wanted;
}

/** Makes an account a member of a team. The caller has checked the permission. */
export async function insertMember(
  tx: Db,
  ctx: Ctx,
  { org, userId, role }: { org: string; userId: string; role: TeamRole },
): Promise<void> {
  await tx
    .insert(member)
    .values({ id: randomChars(32), organizationId: org, userId, role, createdAt: new Date(ctx.clock.now()) });
}

/** The row that holds a password. */
const credentialOf = (userId: string, password: string, now: Date) => ({
  id: randomChars(32),
  accountId: userId,
  providerId: "credential",
  userId,
  password,
  createdAt: now,
  updatedAt: now,
});

/**
 * Inserts user, credential and membership. The caller has checked the permission.
 * @param input.passwordHash null for an account that signs in elsewhere
 * @param input.emailVerified false when nobody vouches for the address
 * @returns ids of the user and the organization
 */
export async function insertUser(
  tx: Db,
  ctx: Ctx,
  input: Omit<NewUser, "password"> & { passwordHash: string | null; emailVerified?: boolean },
): Promise<{ id: string; org: string }> {
  const email = normalEmail(input.email);
  const [taken] = await tx.select({ id: user.id }).from(user).where(eq(user.email, email)).limit(1);
  if (taken)
    throw new AppError("conflict", "email_taken", `There is already an account for ${email}.`, { param: "email" });
  const now = new Date(ctx.clock.now());
  const stamps = { createdAt: now, updatedAt: now };
  const id = newId("user");
  let org = input.org ?? null;
  if (input.org === undefined) {
    const [first] = await tx.select().from(organization).orderBy(organization.createdAt).limit(1);
    org = first?.id ?? null;
  } else if (org) {
    const [found] = await tx
      .select({ id: organization.id })
      .from(organization)
      .where(eq(organization.id, org))
      .limit(1);
    if (!found) throw notFound("organization", org);
  }
  const isNew = !org;
  if (!org) {
    org = newId("organization");
    const name = input.orgName?.trim() || (email.split("@")[1]?.split(".")[0] ?? "My organization");
    await tx.insert(organization).values({ id: org, name, slug: await freeSlug(tx, name), createdAt: now });
  }
  const role = input.role ?? "member";
  const name = input.name?.trim() || (email.split("@")[0] ?? email);
  await tx.insert(user).values({ id, name, email, emailVerified: input.emailVerified ?? true, role, ...stamps });
  if (input.passwordHash) await tx.insert(account).values(credentialOf(id, input.passwordHash, now));
  await insertMember(tx, ctx, {
    org,
    userId: id,
    role: input.teamRole ?? (isNew || role === "admin" ? "owner" : "member"),
  });
  return { id, org };
}

/** Creates an organization. @returns its id */
export async function createOrganization(ctx: Ctx, actor: Actor, name: string): Promise<string> {
  requireAdmin(actor);
  const id = newId("organization");
  await ctx.write(async (tx) => {
    await tx
      .insert(organization)
      .values({ id, name, slug: await freeSlug(tx, name), createdAt: new Date(ctx.clock.now()) });
    await audit(tx, ctx, { ...actor, org: id }, "organization.create", id, { name });
  });
  return id;
}

/**
 * Creates an account that can sign in.
 * @throws AppError `weak_password`, `email_taken`, `admin_only`
 */
export async function createUser(
  ctx: Ctx,
  actor: Actor,
  input: NewUser,
): Promise<{ id: string; org: string; email: string }> {
  requireAdmin(actor);
  const email = normalEmail(input.email);
  await checkPassword(ctx, input.password, { email, name: input.name, organization: input.orgName });
  const passwordHash = await hashPassword(ctx, input.password);
  return ctx.write(async (tx) => {
    const made = await insertUser(tx, ctx, { ...input, org: input.org ?? (actor.org || undefined), passwordHash });
    await audit(tx, ctx, { ...actor, org: made.org }, "user.create", made.id, { email, role: input.role ?? "member" });
    return { ...made, email };
  });
}

/** The id of the account of `email`. @throws AppError `user_not_found` */
export async function userIdOf(ctx: Ctx, email: string): Promise<string> {
  const [row] = await ctx.db
    .select({ id: user.id })
    .from(user)
    .where(and(eq(user.email, normalEmail(email)), isPerson))
    .limit(1);
  if (!row) throw notFound("user", email);
  return row.id;
}

/**
 * Checks a password that a user shall get.
 * @returns the user's organization
 * @throws AppError `user_not_found`, `sso_required`, `weak_password`
 */
export async function checkNewPassword(ctx: Ctx, userId: string, password: string): Promise<{ org: string }> {
  const [found] = await ctx.db
    .select({ email: user.email, name: user.name, org: member.organizationId, organization: organization.name })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .leftJoin(organization, eq(organization.id, member.organizationId))
    .where(and(eq(user.id, userId), isPerson))
    .limit(1);
  if (!found) throw notFound("user", userId);
  await requirePasswordAllowed(ctx, found.email);
  await checkPassword(ctx, password, found);
  return { org: found.org ?? "" };
}

/** Stores the hash of a password: a new one, or the first one of an account of single sign-on. */
export async function storePassword(tx: Db, ctx: Ctx, id: string, hash: string): Promise<void> {
  const now = new Date(ctx.clock.now());
  const mine = and(eq(account.userId, id), eq(account.providerId, "credential"));
  const changed = await tx.update(account).set({ password: hash, updatedAt: now }).where(mine).returning();
  if (changed.length === 0) await tx.insert(account).values(credentialOf(id, hash, now));
}

/**
 * Sets a password and ends the user's sessions. Administrators may set the password of any user.
 * @param keep token of a session that stays
 * @throws AppError `weak_password`
 */
export async function setPassword(
  ctx: Ctx,
  actor: Actor,
  id: string,
  password: string,
  keep: string | null = null,
): Promise<void> {
  if (actor.userId !== id) requireAdmin(actor);
  const { org } = await checkNewPassword(ctx, id, password);
  const hash = await hashPassword(ctx, password);
  await ctx.write(async (tx) => {
    await storePassword(tx, ctx, id, hash);
    await endSessions(tx, id, keep);
    await audit(tx, ctx, actor, "user.password", id);
  });
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId: id });
  announceSecurity(ctx, { userId: id, org }, "password.changed", actor.source);
}
