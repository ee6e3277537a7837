/**
 * How people join: the one-time link for the first administrator, and invitations bound to an e-mail address. Links are
 * shown once and passed on by hand, or mailed (src/notices/security/invitation-mail.ts).
 */
import { and, eq } from "drizzle-orm";
import * as v from "valibot";
import { type Actor, type Ctx, memberActor, requireAdmin, type Source, systemActor } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { installation } from "../../db/schema/audit.ts";
import { invitation, member, organization, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newSecret, randomChars, sha256Hex } from "../../lib/ids.ts";
import { INSTALLATION_ROLES, type InstallationRole, type TeamRole, teamRoleOf } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { Email } from "../auth/model.ts";
import { checkPassword } from "../auth/password-rules.ts";
import { hashPassword } from "../auth/passwords.ts";
import { insertMember, insertUser, normalEmail, storePassword } from "../auth/service.ts";
import { endSessions } from "../auth/sessions.ts";
import { requireOtherDomain } from "../domains/service.ts";
import { type Consent, checkConsent, forgetAccepted, recordConsent } from "../terms/acceptance.ts";
import { requireGrant } from "./members.ts";
import type { Invitation } from "./model.ts";

const SETUP_MS = 24 * 3_600_000;
const INVITE_MS = 7 * 24 * 3_600_000;
const TOKEN_ROW = "setup_token";

const gone = (code: string, message: string) => new AppError("gone", code, message);
const setupGone = () =>
  gone(
    "setup_link_invalid",
    "This setup link was already used, has expired, or was replaced by a newer one. Restart the server to get a new one, or sign in if there is already an administrator.",
  );
const inviteGone = () =>
  gone("invitation_invalid", "This invitation was already used, has expired, or was withdrawn. Ask for a new one.");

/** @throws AppError `invalid_email` */
export function checkEmail(email: string): void {
  if (!v.is(Email, email))
    throw new AppError("invalid", "invalid_email", "This is not an e-mail address.", { param: "email" });
}

async function hasAdmin(db: Db): Promise<boolean> {
  const rows = await db.select({ id: user.id }).from(user).where(eq(user.role, "admin")).limit(1);
  return rows.length > 0;
}

/**
 * A new token for `/setup?token=…`, valid for a day; it replaces the previous one.
 * @returns null when there is already an administrator
 */
export async function createSetupToken(ctx: Ctx): Promise<string | null> {
  const token = newSecret("");
  const value = sqlJson({ hash: sha256Hex(token), expiresAt: ctx.clock.now() + SETUP_MS });
  return ctx.write(async (tx) => {
    if (await hasAdmin(tx)) return null;
    await tx
      .insert(installation)
      .values({ key: TOKEN_ROW, value })
      .onConflictDoUpdate({ target: installation.key, set: { value } });
    return token;
  });
}

async function setupIsOpen(ctx: Ctx, db: Db, token: string): Promise<boolean> {
  const [row] = await db.select().from(installation).where(eq(installation.key, TOKEN_ROW)).limit(1);
  if (!row) return false;
  const kept = JSON.parse(row.value) as { hash: string; expiresAt: number };
  return kept.hash === sha256Hex(token) && kept.expiresAt > ctx.clock.now() && !(await hasAdmin(db));
}

/** True once there is an administrator. */
export function isSetUp(ctx: Ctx): Promise<boolean> {
  return hasAdmin(ctx.db);
}

/** @throws AppError `setup_link_invalid` (410) */
export async function checkSetupToken(ctx: Ctx, token: string): Promise<void> {
  if (!(await setupIsOpen(ctx, ctx.db, token))) throw setupGone();
}

/** Creates the first administrator and the first organization; the same transaction deletes the token. */
export async function completeSetup(
  ctx: Ctx,
  input: { token: string; email: string; password: string; name?: string; orgName?: string },
): Promise<void> {
  await checkSetupToken(ctx, input.token);
  const email = normalEmail(input.email);
  checkEmail(email);
  await checkPassword(ctx, input.password, { email, name: input.name, organization: input.orgName });
  const passwordHash = await hashPassword(ctx, input.password);
  await ctx.write(async (tx) => {
    if (!(await setupIsOpen(ctx, tx, input.token))) throw setupGone();
    await tx.delete(installation).where(eq(installation.key, TOKEN_ROW));
    const made = await insertUser(tx, ctx, { ...input, email, role: "admin", passwordHash });
    await audit(tx, ctx, { ...systemActor(made.org), userId: made.id }, "setup.complete", made.id, { email });
  });
}

/** The account of an address, and whether it is in a team. */
async function accountOf(db: Db, email: string): Promise<{ id: string; banned: boolean; inTeam: boolean } | null> {
  const [row] = await db
    .select({ id: user.id, banned: user.banned, member: member.id })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(user.email, email))
    .limit(1);
  return row ? { id: row.id, banned: row.banned, inTeam: row.member !== null } : null;
}

/** An account that was removed from its team may be invited again; a disabled one may not. */
const isTaken = (account: { banned: boolean; inTeam: boolean } | null) =>
  account !== null && (account.inTeam || account.banned);

/** An invitation that is being stored. */
export interface StoredInvitation extends Invitation {
  orgName: string;
}

/** What else happens in the transaction that stores an invitation. @returns more for the audit log */
export type WithInvitation = (tx: Db, made: StoredInvitation, token: string) => Promise<Record<string, unknown>>;

export interface InvitationInput {
  email: string;
  role: InstallationRole;
  teamRole?: TeamRole;
  org?: string;
}

/**
 * Invites a person into the actor's team; administrators of the installation into any.
 * @returns the token of `/invite?token=…`, which is shown only once
 * @throws AppError `admin_only`, `permission_denied`, `email_taken`
 */
export async function createInvitation(
  ctx: Ctx,
  actor: Actor,
  input: InvitationInput,
  also?: WithInvitation,
): Promise<{ invitation: Invitation; token: string }> {
  const teamRole = input.teamRole ?? (input.role === "admin" ? "owner" : "member");
  if (input.role !== "member" || (input.org ?? actor.org) !== actor.org) requireAdmin(actor);
  else requireGrant(actor, teamRole);
  const email = normalEmail(input.email);
  const token = newSecret("");
  const now = ctx.clock.now();
  const made: Invitation = {
    id: `inv-${randomChars(20)}`,
    email,
    role: input.role,
    teamRole,
    org: input.org ?? actor.org,
    expiresAt: now + INVITE_MS,
  };
  await ctx.write(async (tx) => {
    if (isTaken(await accountOf(tx, email)))
      throw new AppError("conflict", "email_taken", `There is already an account for ${email}.`, { param: "email" });
    const [org] = await tx
      .select({ name: organization.name })
      .from(organization)
      .where(eq(organization.id, made.org))
      .limit(1);
    if (!org) throw notFound("organization", made.org);
    // A new invitation replaces an older one for the same person.
    await tx
      .update(invitation)
      .set({ status: "canceled" })
      .where(
        and(eq(invitation.email, email), eq(invitation.organizationId, made.org), eq(invitation.status, "pending")),
      );
    await tx.insert(invitation).values({
      id: made.id,
      organizationId: made.org,
      email,
      role: input.role,
      teamRole,
      status: "pending",
      tokenHash: sha256Hex(token),
      expiresAt: new Date(made.expiresAt),
      createdAt: new Date(now),
      inviterId: actor.userId,
    });
    const more = await also?.(tx, { ...made, orgName: org.name }, token);
    const { role } = input;
    await audit(tx, ctx, actor, "invitation.create", made.id, { email, role, team_role: teamRole, ...more });
  });
  return { invitation: made, token };
}

/** The roles an invitation gives. */
export function invitedRoles(row: {
  role: string | null;
  teamRole: string | null;
}): Pick<Invitation, "role" | "teamRole"> {
  const role = INSTALLATION_ROLES.find((each) => each === row.role) ?? "member";
  return { role, teamRole: teamRoleOf(row.teamRole ?? (role === "admin" ? "owner" : "member")) };
}

async function openInvitation(ctx: Ctx, db: Db, token: string): Promise<Invitation & { orgName: string }> {
  const [row] = await db
    .select({ invitation, orgName: organization.name })
    .from(invitation)
    .innerJoin(organization, eq(organization.id, invitation.organizationId))
    .where(and(eq(invitation.tokenHash, sha256Hex(token)), eq(invitation.status, "pending")))
    .limit(1);
  const found = row?.invitation;
  if (!found || found.expiresAt.getTime() <= ctx.clock.now()) throw inviteGone();
  return {
    id: found.id,
    email: found.email,
    ...invitedRoles(found),
    org: found.organizationId,
    expiresAt: found.expiresAt.getTime(),
    orgName: row.orgName,
  };
}

/** The invitation behind a token. @throws AppError `invitation_invalid` (410) */
export function findInvitation(ctx: Ctx, token: string): Promise<Invitation & { orgName: string }> {
  return openInvitation(ctx, ctx.db, token);
}

/** Lets an account that is in no team join one, with a new password and without its earlier sessions. */
async function rejoin(
  tx: Db,
  ctx: Ctx,
  id: string,
  { role, teamRole, org }: Invitation,
  passwordHash: string,
): Promise<{ id: string; org: string }> {
  const updatedAt = new Date(ctx.clock.now());
  await tx.update(user).set({ role, updatedAt }).where(eq(user.id, id));
  await storePassword(tx, ctx, id, passwordHash);
  await endSessions(tx, id);
  await insertMember(tx, ctx, { org, userId: id, role: teamRole });
  return { id, org };
}

/**
 * Creates the account of an invitation, with the e-mail address of the invitation, or lets one that is in no team join.
 * @returns that address
 * @throws AppError `invitation_invalid`, `weak_password`, `terms_not_accepted`, `adult_needed`
 */
export async function acceptInvitation(
  ctx: Ctx,
  input: { token: string; password: string; name?: string; consent: Consent },
  source: Source,
): Promise<string> {
  const { email, orgName } = await findInvitation(ctx, input.token);
  await requireOtherDomain(ctx, email);
  await checkConsent(ctx, input.consent);
  await checkPassword(ctx, input.password, { email, name: input.name, organization: orgName });
  const passwordHash = await hashPassword(ctx, input.password);
  await ctx.write(async (tx) => {
    const open = await openInvitation(ctx, tx, input.token);
    await tx.update(invitation).set({ status: "accepted", tokenHash: null }).where(eq(invitation.id, open.id));
    const { role, teamRole, org } = open;
    const known = await accountOf(tx, email);
    const made =
      known && !isTaken(known)
        ? await rejoin(tx, ctx, known.id, open, passwordHash)
        : await insertUser(tx, ctx, { email, name: input.name, role, teamRole, org, passwordHash });
    const actor = memberActor({ userId: made.id, org, email });
    await audit(tx, ctx, actor, "invitation.accept", open.id, { email });
    await recordConsent(tx, ctx, actor, { userId: made.id, email, source }, "invitation");
  });
  forgetAccepted(ctx);
  return email;
}
