/** Shapes of organizations, their users and invitations as clients send and see them. */
import * as v from "valibot";
import { Email, Name } from "../auth/model.ts";

export const InviteUser = v.strictObject({
  email: Email,
  role: v.optional(v.picklist(["admin", "member"]), "member"),
  /** Organization to join; the administrator's own when left out. */
  organization: v.optional(v.pipe(v.string(), v.maxLength(100))),
});

export const CreateOrganization = v.strictObject({ name: Name });

export function organizationView(row: OrganizationRow) {
  return {
    object: "organization" as const,
    id: row.id,
    name: row.name,
    created_at: Math.floor(row.createdAt / 1000),
  };
}

export const ChangeUser = v.strictObject({
  role: v.optional(v.picklist(["admin", "member"])),
  disabled: v.optional(v.boolean()),
});

export function userView(row: UserRow) {
  return {
    object: "user" as const,
    id: row.id,
    email: row.email,
    name: row.name,
    role: row.role,
    disabled: row.disabled,
    organization: row.org,
    created_at: Math.floor(row.createdAt / 1000),
  };
}

export interface Invitation {
  id: string;
  email: string;
  role: "admin" | "member";
  org: string;
  expiresAt: number;
}

/** `path` is the link to pass on: it holds the token and is shown this once. */
export function invitationView(invitation: Invitation, path: string) {
  return {
    object: "invitation" as const,
    id: invitation.id,
    email: invitation.email,
    role: invitation.role,
    organization: invitation.org,
    expires_at: Math.floor(invitation.expiresAt / 1000),
    path,
  };
}

export interface OrganizationRow {
  id: string;
  name: string;
  createdAt: number;
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
