/** Organizations, their users and invitations as clients send and see them. Times of views are Unix seconds. */
import * as v from "valibot";
import type { Hold } from "../../ctx.ts";
import { seconds } from "../../lib/request-fields.ts";
import { INSTALLATION_ROLES, type InstallationRole, TEAM_ROLES, type TeamRole } from "../../roles.ts";
import { Email, Name } from "../auth/model.ts";
import { HoldFields, holdFields } from "../holds/model.ts";

const Role = v.picklist(INSTALLATION_ROLES);
const InTeam = v.picklist(TEAM_ROLES);

/** Mails the link to the address; otherwise the answer has it. Needs a mail server. */
const SendMail = v.optional(v.boolean(), false);

export const InviteUser = v.strictObject({
  email: Email,
  role: v.optional(Role, "member"),
  /** Role in the organization: owner for an administrator and member for others when absent. */
  organization_role: v.optional(InTeam),
  /** Organization to join; the administrator's own when absent. */
  organization: v.optional(v.pipe(v.string(), v.maxLength(100))),
  send_mail: SendMail,
});
export type InviteUser = v.InferOutput<typeof InviteUser>;

export const CreateOrganization = v.strictObject({ name: Name });
export type CreateOrganization = v.InferOutput<typeof CreateOrganization>;

export const ChangeOrganization = v.strictObject({
  name: v.optional(Name),
  /** Members need two-factor authentication, after the days of grace of the settings. */
  require_two_factor: v.optional(v.boolean()),
});
export type ChangeOrganization = v.InferOutput<typeof ChangeOrganization>;

export const ChangeUser = v.strictObject({
  role: v.optional(Role),
  /** Role in the organization. */
  organization_role: v.optional(InTeam),
  /** Suspends the account without a reason, or lifts that; `POST /v1/admin/users/{id}/suspend` gives one. */
  disabled: v.optional(v.boolean()),
  /** Moves the user to this organization; keys of the previous one stop working. */
  organization: v.optional(v.pipe(v.string(), v.maxLength(100))),
});
export type ChangeUser = v.InferOutput<typeof ChangeUser>;

export interface OrganizationRow {
  id: string;
  name: string;
  createdAt: number;
  members: number;
  /** Since when members need two-factor authentication; null = they need not. */
  twoFactorSince: number | null;
  /** Suspension and scheduled deletion, as far as they are in force. */
  holds: Hold[];
}

export const OrganizationView = v.strictObject({
  object: v.literal("organization"),
  id: v.string(),
  name: v.string(),
  created_at: v.number(),
  members: v.number(),
  require_two_factor: v.boolean(),
  ...HoldFields,
});
export type OrganizationView = v.InferOutput<typeof OrganizationView>;

export function organizationView(row: OrganizationRow): OrganizationView {
  const { id, name, members, twoFactorSince } = row;
  const since = { created_at: seconds(row.createdAt), require_two_factor: twoFactorSince !== null };
  return { object: "organization", id, name, members, ...since, ...holdFields(row.holds) };
}

export interface UserRow {
  id: string;
  email: string;
  name: string;
  role: InstallationRole;
  disabled: boolean;
  org: string | null;
  orgName: string | null;
  /** Role in the team; null without one. */
  teamRole: TeamRole | null;
  createdAt: number;
  /** Last request with a session or a key; null = never. */
  lastSeenAt: number | null;
  /** Open browser sessions. */
  sessions: number;
  /** A second factor is asked for at sign-in. */
  twoFactor: boolean;
  /** Suspension and scheduled deletion, as far as they are in force. */
  holds: Hold[];
}

export const UserView = v.strictObject({
  object: v.literal("user"),
  id: v.string(),
  email: v.string(),
  name: v.string(),
  role: Role,
  disabled: v.boolean(),
  organization: v.nullable(v.string()),
  organization_name: v.nullable(v.string()),
  /** Null without an organization. */
  organization_role: v.nullable(InTeam),
  created_at: v.number(),
  /** Last request with a session or a key; null = never. */
  last_seen_at: v.nullable(v.number()),
  /** Open browser sessions. */
  sessions: v.number(),
  /** A second factor is asked for at sign-in. */
  two_factor: v.boolean(),
  ...HoldFields,
});
export type UserView = v.InferOutput<typeof UserView>;

export function userView(row: UserRow): UserView {
  return {
    object: "user",
    id: row.id,
    email: row.email,
    name: row.name,
    role: row.role,
    disabled: row.disabled,
    organization: row.org,
    organization_name: row.orgName,
    organization_role: row.teamRole,
    created_at: seconds(row.createdAt),
    last_seen_at: row.lastSeenAt === null ? null : seconds(row.lastSeenAt),
    sessions: row.sessions,
    two_factor: row.twoFactor,
    ...holdFields(row.holds),
  };
}

export const InviteMember = v.strictObject({ email: Email, role: v.optional(InTeam, "member"), send_mail: SendMail });
export type InviteMember = v.InferOutput<typeof InviteMember>;

export const ChangeMember = v.strictObject({ role: InTeam });
export type ChangeMember = v.InferOutput<typeof ChangeMember>;

/** A member of the caller's organization. */
export const MemberView = v.strictObject({
  object: v.literal("organization.member"),
  id: v.string(),
  email: v.string(),
  name: v.string(),
  role: InTeam,
  /** Whether they administer the installation. */
  administrator: v.boolean(),
  disabled: v.boolean(),
  /** Last request with a session or a key; null = never. */
  last_seen_at: v.nullable(v.number()),
  /** A second factor is asked for at sign-in. */
  two_factor: v.boolean(),
});
export type MemberView = v.InferOutput<typeof MemberView>;

export function memberView(row: UserRow): MemberView {
  return {
    object: "organization.member",
    id: row.id,
    email: row.email,
    name: row.name,
    role: row.teamRole ?? "viewer",
    administrator: row.role === "admin",
    disabled: row.disabled,
    last_seen_at: row.lastSeenAt === null ? null : seconds(row.lastSeenAt),
    two_factor: row.twoFactor,
  };
}

export interface Invitation {
  id: string;
  email: string;
  /** Role in the installation. */
  role: InstallationRole;
  teamRole: TeamRole;
  org: string;
  expiresAt: number;
}

/** A pending invitation, without its link. */
export const PendingInvitationView = v.strictObject({
  object: v.literal("invitation"),
  id: v.string(),
  email: v.string(),
  role: Role,
  organization_role: InTeam,
  organization: v.string(),
  expires_at: v.number(),
  /** Its mail: `waiting`, `sent`, or `dead` when the mail server will not take it; null without one. */
  mail: v.nullable(v.picklist(["waiting", "sent", "dead"])),
});
type PendingInvitationView = v.InferOutput<typeof PendingInvitationView>;

/** `path` is the link to pass on: it contains the token and is shown only once. Null when it was mailed. */
export const InvitationView = v.strictObject({ ...PendingInvitationView.entries, path: v.nullable(v.string()) });
export type InvitationView = v.InferOutput<typeof InvitationView>;

export function pendingInvitationView(
  invitation: Invitation,
  mail: PendingInvitationView["mail"],
): PendingInvitationView {
  return {
    object: "invitation",
    id: invitation.id,
    email: invitation.email,
    role: invitation.role,
    organization_role: invitation.teamRole,
    organization: invitation.org,
    expires_at: seconds(invitation.expiresAt),
    mail,
  };
}

/** @param token null when it was mailed */
export function invitationView(invitation: Invitation, token: string | null): InvitationView {
  const pending = pendingInvitationView(invitation, token === null ? "waiting" : null);
  return { ...pending, path: token && `/invite?token=${token}` };
}

/** A link to set a new password; `path` is shown only once. */
export const PasswordResetView = v.strictObject({
  object: v.literal("password_reset"),
  user: v.string(),
  email: v.string(),
  expires_at: v.number(),
  path: v.string(),
});
export type PasswordResetView = v.InferOutput<typeof PasswordResetView>;

/** How many sessions were ended. */
export const EndedSessions = v.strictObject({ object: v.literal("ended_sessions"), ended: v.number() });
