/** Suspensions and scheduled deletions in requests and answers. */
import * as v from "valibot";
import type { Hold } from "../../ctx.ts";
import { seconds } from "../../lib/request-fields.ts";

/** Written for the people concerned, on one or several lines. */
const Reason = v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(500));

export const SuspendBody = v.strictObject({
  /** Shown to the people concerned when they sign in, and in their notice. */
  reason: Reason,
  /** When it ends by itself, in seconds since 1970; absent or null = when it is lifted. */
  until: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(253_402_300_799))), null),
});
export type SuspendBody = v.InferOutput<typeof SuspendBody>;

/** What the answers about users and organizations say of their holds. Times in seconds since 1970. */
export const HoldFields = {
  /** Also of a user whom the identity provider deactivated, and of a team with an unpaid invoice; null = none. */
  suspension: v.nullable(v.strictObject({ reason: v.string(), until: v.nullable(v.number()) })),
  /** When everything is erased; null = no deletion is scheduled. */
  deletion_at: v.nullable(v.number()),
};

export function holdFields(holds: readonly Hold[]) {
  const suspended = holds.find(({ kind }) => kind === "suspended") ?? holds.find(({ kind }) => kind !== "deletion");
  const deletion = holds.find(({ kind }) => kind === "deletion");
  return {
    suspension: suspended ? { reason: suspended.reason, until: seconds(suspended.until) } : null,
    deletion_at: seconds(deletion?.until ?? null),
  };
}

/** The word for a state badge of an account or organization. */
export function stateOf(holds: readonly Hold[]): "active" | "suspended" | "deactivated" | "deletion_scheduled" {
  if (holds.some(({ kind }) => kind === "suspended" || kind === "unpaid")) return "suspended";
  if (holds.some(({ kind }) => kind === "deactivated")) return "deactivated";
  return holds.length > 0 ? "deletion_scheduled" : "active";
}
