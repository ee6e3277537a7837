/** Shapes of accounts and keys as clients send and see them. */
import * as v from "valibot";
import type { Actor } from "../../ctx.ts";
import { filledName } from "../../lib/text/names.ts";
import type { KeyRow } from "./service.ts";

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

export const Name = filledName(200);
export const Email = v.pipe(
  v.string(),
  v.trim(),
  v.toLowerCase(),
  v.maxLength(254),
  v.email("must be an e-mail address"),
);

/** Query of a list: `limit` 1 to 100 (20), `after` an id. */
export const PageQuery = v.strictObject({
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,3}$/, "must be a whole number"),
      v.transform(Number),
      v.minValue(1),
      v.maxValue(100),
    ),
    "20",
  ),
  after: v.optional(v.pipe(v.string(), v.maxLength(200))),
});

export const CreateKey = v.strictObject({
  name: Name,
  /** Days until the key stops working; null = never. */
  expires_in_days: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(3650))), null),
});

/** A key for clients; the secret itself is only in the answer that makes it. */
export function keyView(row: KeyRow) {
  return {
    object: "api_key" as const,
    id: row.id,
    name: row.name,
    prefix: row.prefix,
    user: { id: row.userId, email: row.email },
    created_at: Math.floor(row.createdAt / 1000),
    last_used_at: seconds(row.lastUsedAt),
    expires_at: seconds(row.expiresAt),
  };
}

export function meView(actor: Actor) {
  return {
    object: "user" as const,
    id: actor.userId,
    email: actor.email,
    role: actor.role,
    organization: actor.org,
    via: actor.via,
  };
}
