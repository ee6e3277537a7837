/** Scheduled deletions and their reports in requests and answers. */
import * as v from "valibot";
import type { hold } from "../db/schema/holds.ts";
import { seconds } from "../lib/request-fields.ts";

export type DeletionRow = typeof hold.$inferSelect;

/** The user's e-mail address, or the name of the organization, typed again. */
export const ConfirmDeletion = v.strictObject({ confirm: v.pipe(v.string(), v.maxLength(400)) });
export type ConfirmDeletion = v.InferOutput<typeof ConfirmDeletion>;

export const Terminate = v.strictObject({
  /** For the people concerned. */
  reason: v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(500)),
});
export type Terminate = v.InferOutput<typeof Terminate>;

const Kept = v.strictObject({ what: v.string(), why: v.string() });

/** What the caller's own account or organization has. Times in seconds since 1970. */
export const DeletionView = v.strictObject({
  object: v.literal("deletion"),
  subject: v.picklist(["user", "organization"]),
  /** Null = nothing is scheduled. */
  scheduled_at: v.nullable(v.number()),
  erase_at: v.nullable(v.number()),
  reason: v.nullable(v.string()),
  /** Days between the decision and the erasure. */
  grace_days: v.number(),
  /** Whether the caller may cancel it; an administrator cancels what an administrator scheduled. */
  cancelable: v.boolean(),
  /** What prevents it; null = nothing. */
  blocked: v.nullable(v.string()),
  erased: v.array(v.string()),
  kept: v.array(Kept),
});
export type DeletionView = v.InferOutput<typeof DeletionView>;

/** A deletion of the installation, scheduled, canceled or done. */
export const DeletionRecord = v.strictObject({
  object: v.literal("deletion.record"),
  id: v.string(),
  subject: v.picklist(["user", "organization"]),
  subject_id: v.string(),
  state: v.picklist(["scheduled", "canceled", "erased"]),
  reason: v.string(),
  scheduled_by: v.string(),
  scheduled_at: v.number(),
  erase_at: v.number(),
  ended_at: v.nullable(v.number()),
  /** How many objects were erased, by kind. */
  erased: v.record(v.string(), v.number()),
  kept: v.array(Kept),
});
export type DeletionRecord = v.InferOutput<typeof DeletionRecord>;

/** Who ended the hold of a deletion that was carried out. */
export const ERASER = "erasure";

export function deletionRecord(row: DeletionRow, kept: readonly v.InferOutput<typeof Kept>[]): DeletionRecord {
  return {
    object: "deletion.record",
    id: row.id,
    subject: row.subject,
    subject_id: row.subjectId,
    state: row.endedAt === null ? "scheduled" : row.endedBy === ERASER ? "erased" : "canceled",
    reason: row.reason,
    scheduled_by: row.createdBy,
    scheduled_at: seconds(row.createdAt),
    erase_at: seconds(row.until) ?? 0,
    ended_at: seconds(row.endedAt),
    erased: row.erased ?? {},
    kept: [...kept],
  };
}
