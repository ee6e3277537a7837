/** The audit log as clients see it. */
import * as v from "valibot";
import { DAY_MS } from "../../lib/clock.ts";
import { PageQuery } from "../../lib/page.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { Named } from "./names.ts";
import type { AuditFilter, AuditRow } from "./service.ts";

const text = v.optional(v.pipe(v.string(), v.maxLength(254)));
const day = v.optional(
  v.pipe(
    v.string(),
    v.regex(/^\d{4}-\d{2}-\d{2}$/, "must be a date such as 2026-11-30"),
    v.isoDate("must be a date such as 2026-11-30"),
    v.check((date) => !Number.isNaN(Date.parse(date)), "must be a date such as 2026-11-30"),
  ),
);

const FILTER = {
  /** Only entries about the object with this id. */
  target: text,
  /** E-mail address or id of who acted; also `system`, `cli` and `anonymous`. */
  actor: text,
  /** An action such as `job.create`, or all of a noun: `job.` */
  action: text,
  /** First and last day (UTC). */
  from: day,
  until: day,
};
export const AuditQuery = v.strictObject({ ...PageQuery.entries, ...FILTER });
export type AuditQuery = v.InferOutput<typeof AuditQuery>;
export const AuditExportQuery = v.strictObject({ ...FILTER, format: v.optional(v.picklist(["csv", "jsonl"]), "csv") });
export type AuditExportQuery = v.InferOutput<typeof AuditExportQuery>;

/** The filter of a query; an empty field means all. */
export function auditFilter(query: Pick<AuditQuery, keyof typeof FILTER>): AuditFilter {
  return {
    target: query.target || undefined,
    actor: query.actor || undefined,
    action: query.action || undefined,
    from: query.from ? Date.parse(query.from) : undefined,
    until: query.until ? Date.parse(query.until) + DAY_MS : undefined,
  };
}

/** One entry; `hash` covers its fields and the hash of the previous entry. */
export const AuditRowView = v.strictObject({
  object: v.literal("audit_row"),
  id: v.string(),
  created_at: v.number(),
  actor: v.string(),
  /** The actor's e-mail address, the name of a service account, `Server` or `Command line`; null for a deleted user. */
  actor_email: v.nullable(v.string()),
  action: v.string(),
  target: v.string(),
  target_name: v.nullable(v.string()),
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
  /** Entries that `audit_retention_days` removed, as far as the kept entries say. */
  removed: v.number(),
});
export type AuditVerification = v.InferOutput<typeof AuditVerification>;

export function auditRowView(row: AuditRow, names: ReadonlyMap<string, Named>): AuditRowView {
  return {
    object: "audit_row",
    id: row.id,
    created_at: seconds(row.at),
    actor: row.actor,
    actor_email: names.get(row.actor)?.name ?? null,
    action: row.action,
    target: row.target,
    target_name: names.get(row.target)?.name ?? null,
    detail: row.detail,
    hash: row.hash,
  };
}
