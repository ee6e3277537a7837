/** Shapes of accounts and keys as clients send and see them. */
import * as v from "valibot";
import type { Actor } from "../../ctx.ts";
import { filledName } from "../../lib/text/names.ts";
import { can, PERMISSIONS, SCOPES, TEAM_ROLES } from "../../roles.ts";
import type { KeyRow } from "./api-keys.ts";
import type { SessionRow } from "./session-list.ts";

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

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

export const CreateKey = v.strictObject({
  name: Name,
  /** Days until the key stops working; absent = 90 or what `key_max_days` and the creating key allow, null = never. */
  expires_in_days: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(3650)))),
  /** What the key may do of what you may do; absent = everything, or what the creating key may do. */
  scopes: v.optional(v.pipe(v.array(v.picklist(SCOPES)), v.minLength(1, "needs at least one"), v.maxLength(4))),
});

/** A key without its secret. Times are Unix seconds. */
export const KeyView = v.strictObject({
  object: v.literal("api_key"),
  id: v.string(),
  name: v.string(),
  /** The first characters of the secret. */
  prefix: v.string(),
  user: v.strictObject({ id: v.string(), email: v.string() }),
  created_at: v.number(),
  last_used_at: v.nullable(v.number()),
  expires_at: v.nullable(v.number()),
  /** The key that created this one, null when a person did; both are revoked together. */
  created_by_key: v.nullable(v.string()),
  /** What it may do of what its user may do. */
  scopes: v.array(v.picklist(SCOPES)),
});
export type KeyView = v.InferOutput<typeof KeyView>;

/** A key that was just created; only this answer contains the secret. */
export const NewKeyView = v.strictObject({ ...KeyView.entries, key: v.string() });
export type NewKeyView = v.InferOutput<typeof NewKeyView>;

/** Who sent the request. */
export const MeView = v.strictObject({
  object: v.literal("user"),
  id: v.string(),
  email: v.nullable(v.string()),
  role: v.picklist(["admin", "member"]),
  organization: v.string(),
  /** Role in the organization. */
  organization_role: v.picklist(TEAM_ROLES),
  /** What the caller may do: of the role, and of the key's scopes. */
  permissions: v.array(v.string()),
  via: v.picklist(["session", "key", "cli", "system"]),
});
export type MeView = v.InferOutput<typeof MeView>;

export function keyView(row: KeyRow): KeyView {
  return {
    object: "api_key",
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    user: { id: row.userId, email: row.email },
    created_at: Math.floor(row.createdAt / 1000),
    last_used_at: seconds(row.lastUsedAt),
    expires_at: seconds(row.expiresAt),
    created_by_key: row.parentId,
    scopes: [...(row.scopes ?? SCOPES)],
  };
}

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
