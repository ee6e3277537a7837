/** Shapes of accounts as clients send and see them. */
import * as v from "valibot";
import type { Actor } from "../../ctx.ts";
import { filledName } from "../../lib/text/names.ts";
import { can, INSTALLATION_ROLES, PERMISSIONS, TEAM_ROLES } from "../../roles.ts";
import type { SessionRow } from "./session-list.ts";

export const Name = filledName(200);
export const Email = v.pipe(
  v.string(),
  v.trim(),
  v.toLowerCase(),
  v.maxLength(254),
  v.email("must be an e-mail address"),
);

/** The text when it is an e-mail address; null for anything else, such as a password in the wrong field. */
export const addressOf = (text: string): string | null => (v.is(Email, text) ? text : null);

/** Who sent the request. */
export const MeView = v.strictObject({
  object: v.literal("user"),
  id: v.string(),
  email: v.nullable(v.string()),
  role: v.picklist(INSTALLATION_ROLES),
  organization: v.string(),
  /** Role in the organization. */
  organization_role: v.picklist(TEAM_ROLES),
  /** What the caller may do: of the role, and of the key's scopes. */
  permissions: v.array(v.string()),
  via: v.picklist(["session", "key", "cli", "system"]),
});
export type MeView = v.InferOutput<typeof MeView>;

export function meView(actor: Actor): MeView {
  return {
    object: "user",
    id: actor.userId,
    email: actor.email,
    role: actor.role,
    organization: actor.org,
    organization_role: actor.teamRole,
    permissions: PERMISSIONS.filter((permission) => can(actor, permission)),
    via: actor.via,
  };
}

/** A browser session. Times are Unix seconds. */
export const SessionView = v.strictObject({
  object: v.literal("session"),
  id: v.string(),
  address: v.nullable(v.string()),
  user_agent: v.nullable(v.string()),
  created_at: v.number(),
  last_used_at: v.number(),
  expires_at: v.number(),
  /** The session of this request. */
  current: v.boolean(),
});

export function sessionView(row: SessionRow): v.InferOutput<typeof SessionView> {
  return {
    object: "session",
    id: row.id,
    address: row.address,
    user_agent: row.userAgent,
    created_at: Math.floor(row.createdAt / 1000),
    last_used_at: Math.floor(row.lastUsedAt / 1000),
    expires_at: Math.floor(row.expiresAt / 1000),
    current: row.current,
  };
}
