/** The audit log as clients see it. */
import * as v from "valibot";
import { PageQuery } from "../../lib/page.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { AuditRow } from "./service.ts";

export const AuditQuery = v.strictObject({
  ...PageQuery.entries,
  /** Only entries about the object with this id. */
  target: v.optional(v.pipe(v.string(), v.maxLength(200))),
});
export type AuditQuery = v.InferOutput<typeof AuditQuery>;

/** One entry; `hash` covers its fields and the hash of the previous entry. */
export const AuditRowView = v.strictObject({
  object: v.literal("audit_row"),
  id: v.string(),
  created_at: v.number(),
  actor: v.string(),
  action: v.string(),
  target: v.string(),
  detail: v.record(v.string(), v.unknown()),
  hash: v.string(),
});
export type AuditRowView = v.InferOutput<typeof AuditRowView>;

/** `broken_at` is the first entry that does not follow from the previous one, or `end` when entries are missing. */
export const AuditVerification = v.strictObject({
  object: v.literal("audit_verification"),
  rows: v.number(),
  intact: v.boolean(),
  broken_at: v.nullable(v.string()),
});
export type AuditVerification = v.InferOutput<typeof AuditVerification>;

export function auditRowView(row: AuditRow): AuditRowView {
  return {
    object: "audit_row",
    id: row.id,
    created_at: seconds(row.at),
    actor: row.actor,
    action: row.action,
    target: row.target,
    detail: row.detail,
    hash: row.hash,
  };
}
