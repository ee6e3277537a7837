/** Organizations, their users and invitations as clients send and see them. Times of views are Unix seconds. */
import * as v from "valibot";
import { seconds } from "../../lib/request-fields.ts";
import { Email, Name } from "../auth/model.ts";

const Role = v.picklist(["admin", "member"]);

export const InviteUser = v.strictObject({
  email: Email,
  role: v.optional(Role, "member"),
  /** Organization to join; the administrator's own when absent. */
  organization: v.optional(v.pipe(v.string(), v.maxLength(100))),
});
export type InviteUser = v.InferOutput<typeof InviteUser>;

export const CreateOrganization = v.strictObject({ name: Name });
export type CreateOrganization = v.InferOutput<typeof CreateOrganization>;

export const ChangeUser = v.strictObject({ role: v.optional(Role), disabled: v.optional(v.boolean()) });
export type ChangeUser = v.InferOutput<typeof ChangeUser>;

export interface OrganizationRow {
  id: string;
  name: string;
  createdAt: number;
}

export const OrganizationView = v.strictObject({
  object: v.literal("organization"),
  id: v.string(),
  name: v.string(),
  created_at: v.number(),
});
export type OrganizationView = v.InferOutput<typeof OrganizationView>;

export function organizationView(row: OrganizationRow): OrganizationView {
  return { object: "organization", id: row.id, name: row.name, created_at: seconds(row.createdAt) };
}

export interface UserRow {
  id: string;
  email: string;
  name: string;
  role: "admin" | "member";
  disabled: boolean;
  org: string | null;
  createdAt: number;
}

export const UserView = v.strictObject({
  object: v.literal("user"),
  id: v.string(),
  email: v.string(),
  name: v.string(),
  role: Role,
  disabled: v.boolean(),
  organization: v.nullable(v.string()),
  created_at: v.number(),
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
    created_at: seconds(row.createdAt),
  };
}

export interface Invitation {
  id: string;
  email: string;
  role: "admin" | "member";
  org: string;
  expiresAt: number;
}

/** `path` is the link to pass on: it contains the token and is shown only once. */
export const InvitationView = v.strictObject({
  object: v.literal("invitation"),
  id: v.string(),
  email: v.string(),
  role: Role,
  organization: v.string(),
  expires_at: v.number(),
  path: v.string(),
});
export type InvitationView = v.InferOutput<typeof InvitationView>;

export function invitationView(invitation: Invitation, path: string): InvitationView {
  return {
    object: "invitation",
    id: invitation.id,
    email: invitation.email,
    role: invitation.role,
    organization: invitation.org,
    expires_at: seconds(invitation.expiresAt),
    path,
  };
}
