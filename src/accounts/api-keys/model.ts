/** API keys as clients send and see them. */
import * as v from "valibot";
import { seconds } from "../../lib/request-fields.ts";
import { SCOPES } from "../../roles.ts";
import { Name } from "../auth/model.ts";
import { RestrictionFields, restrictionsView } from "../keys/restrictions.ts";
import type { KeyRow } from "./service.ts";

export const CreateKey = v.strictObject({
  name: Name,
  /** Days until the key stops working; absent = 90 or what `key_max_days` and the creating key allow, null = never. */
  expires_in_days: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(3650)))),
  /** What the key may do of what you may do; absent = everything, or what the creating key may do. */
  scopes: v.optional(v.pipe(v.array(v.picklist(SCOPES)), v.minLength(1, "needs at least one"), v.maxLength(4))),
  ...RestrictionFields,
});
export type CreateKey = v.InferOutput<typeof CreateKey>;

/** What is absent stays as it is; null lifts a restriction. */
export const ChangeKey = v.strictObject({ name: v.optional(Name), ...RestrictionFields });
export type ChangeKey = v.InferOutput<typeof ChangeKey>;

/** Longest time in seconds for which two secrets of a key work. */
const MAX_OVERLAP_S = 7 * 86_400;

export const RotateKey = v.strictObject({
  /** Seconds for which the old secret still works, up to 7 days; 0 = it ends at once. */
  overlap_seconds: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_OVERLAP_S)),
});
export type RotateKey = v.InferOutput<typeof RotateKey>;

/** A key without its secret. Times are Unix seconds. */
export const KeyView = v.strictObject({
  object: v.literal("api_key"),
  id: v.string(),
  name: v.string(),
  /** The first characters of the secret. */
  prefix: v.string(),
  /** Its owner; a service account has a name and no address. */
  user: v.strictObject({
    id: v.string(),
    email: v.nullable(v.string()),
    name: v.nullable(v.string()),
    service_account: v.boolean(),
  }),
  created_at: v.number(),
  last_used_at: v.nullable(v.number()),
  expires_at: v.nullable(v.number()),
  /** The key that created this one, null when a person did; both are revoked together. */
  created_by_key: v.nullable(v.string()),
  /** What it may do of what its user may do. */
  scopes: v.array(v.picklist(SCOPES)),
  /** Client addresses and networks that may use it; null = any. */
  allowed_addresses: v.nullable(v.array(v.string())),
  /** Ids of models and names of deployments that it may use; null = any. */
  allowed_models: v.nullable(v.array(v.string())),
  /** Null = the limit of the installation. */
  requests_per_minute: v.nullable(v.number()),
  /** Null = no limit. */
  tokens_per_minute: v.nullable(v.number()),
  /** When its secret was last replaced; null = never. */
  rotated_at: v.nullable(v.number()),
  /** The replaced secret, while it still works. */
  previous_secret: v.nullable(v.strictObject({ prefix: v.string(), expires_at: v.number() })),
});
export type KeyView = v.InferOutput<typeof KeyView>;

/** A key that was just created; only this answer contains the secret. */
export const NewKeyView = v.strictObject({ ...KeyView.entries, key: v.string() });
export type NewKeyView = v.InferOutput<typeof NewKeyView>;

/** @param now milliseconds; a replaced secret that no longer works is not shown */
export function keyView(row: KeyRow, now: number): KeyView {
  const { previousPrefix: prefix, previousUntil: until } = row;
  return {
    object: "api_key",
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    user: {
      id: row.userId,
      email: row.owner.kind === "person" ? row.owner.name : null,
      name: row.owner.kind === "service" ? row.owner.name : null,
      service_account: row.owner.kind === "service",
    },
    created_at: seconds(row.createdAt),
    last_used_at: seconds(row.lastUsedAt),
    expires_at: seconds(row.expiresAt),
    created_by_key: row.parentId,
    scopes: [...(row.scopes ?? SCOPES)],
    ...restrictionsView(row),
    rotated_at: seconds(row.rotatedAt),
    previous_secret: prefix !== null && until !== null && until > now ? { prefix, expires_at: seconds(until) } : null,
  };
}
