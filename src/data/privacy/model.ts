/** Findings of personal data as clients see them, and what they send. */
import * as v from "valibot";
import type { piiScan } from "../../db/schema/datasets.ts";
import { pageLimit } from "../../lib/page.ts";
import { id, seconds, text, whole } from "../../lib/request-fields.ts";
import { PII_KIND_NAMES, PII_KINDS, type PiiKind } from "../pii/kinds.ts";
import type { FoundRow } from "../pii/scan-rows.ts";

export type ScanRow = typeof piiScan.$inferSelect;

export interface Policy {
  requireDecision: boolean;
  byInstallation: boolean;
  /** Whether versions are scanned at all. */
  scans: boolean;
}

const Kind = v.picklist(PII_KIND_NAMES, "is not a kind of personal data");

/** `accept` needs a reason. `kinds`: only these; all of them when absent. */
export const Decide = v.strictObject({
  version: v.optional(id),
  decision: v.picklist(["accept", "leave_out", "mask"]),
  reason: v.optional(v.pipe(text(1000), v.trim()), ""),
  kinds: v.optional(v.pipe(v.array(Kind), v.maxLength(PII_KIND_NAMES.length))),
  style: v.optional(v.picklist(["mark", "partial"]), "mark"),
});
export type Decide = v.InferOutput<typeof Decide>;

export const ScanAgain = v.strictObject({ version: v.optional(id) });

export const FoundRowsQuery = v.strictObject({
  version: v.optional(id),
  kind: v.optional(Kind),
  limit: pageLimit(),
  after: v.optional(whole(0, Number.MAX_SAFE_INTEGER), 0),
});

export const PolicyView = v.strictObject({
  object: v.literal("organization.privacy"),
  pii_policy: v.picklist(["report", "require_decision"]),
  /** The installation requires it of every organization. */
  set_by_installation: v.boolean(),
  pii_scan: v.picklist(["on", "off"]),
});
export const SetPolicy = v.strictObject({ pii_policy: v.picklist(["report", "require_decision"]) });

export const policyView = ({ requireDecision, byInstallation, scans }: Policy): v.InferOutput<typeof PolicyView> => ({
  object: "organization.privacy",
  pii_policy: requireDecision ? "require_decision" : "report",
  set_by_installation: byInstallation,
  pii_scan: scans ? "on" : "off",
});

const Decision = v.strictObject({
  decision: v.picklist(["accept", "leave_out", "mask"]),
  by: v.string(),
  by_name: v.string(),
  at: v.number(),
  reason: v.string(),
  /** The version that was created; null for `accept`. */
  next_version_id: v.nullable(v.string()),
});

export const PiiView = v.strictObject({
  object: v.literal("dataset.pii"),
  dataset_id: v.string(),
  version_id: v.string(),
  /** `off`: this installation does not scan. */
  status: v.picklist(["waiting", "running", "done", "failed", "off"]),
  engine: v.string(),
  rows: v.number(),
  rows_scanned: v.number(),
  rows_with_findings: v.number(),
  counts: v.array(v.strictObject({ kind: v.string(), name: v.string(), count: v.number() })),
  error: v.nullable(v.string()),
  pii_policy: v.picklist(["report", "require_decision"]),
  decision: v.nullable(Decision),
});
export type PiiView = v.InferOutput<typeof PiiView>;

/** The name of a kind, also of one that an earlier version stored. */
const kindName = (kind: string): string => PII_KINDS[kind as PiiKind] ?? kind;

export function piiView(
  version: { id: string; datasetId: string; rows: number },
  scan: ScanRow | null,
  policy: Policy,
): PiiView {
  const counts = Object.entries(scan?.counts ?? {}).map(([kind, count]) => ({ kind, name: kindName(kind), count }));
  return {
    object: "dataset.pii",
    dataset_id: version.datasetId,
    version_id: version.id,
    status: scan?.status ?? (policy.scans ? "waiting" : "off"),
    engine: scan?.engine ?? "builtin",
    rows: version.rows,
    rows_scanned: scan?.rowsDone ?? 0,
    rows_with_findings: scan?.rowsFound ?? 0,
    counts: counts.sort((a, b) => b.count - a.count),
    error: scan?.error ?? null,
    pii_policy: policy.requireDecision ? "require_decision" : "report",
    decision: scan?.decision
      ? {
          decision: scan.decision,
          by: scan.decidedBy ?? "",
          by_name: scan.decidedByName ?? "",
          at: seconds(scan.decidedAt ?? 0),
          reason: scan.reason ?? "",
          next_version_id: scan.nextVersionId,
        }
      : null,
  };
}

/** A page of rows with findings; values are masked. Pass `last_id` as `after` for the next page. */
export const FoundRowList = v.strictObject({
  object: v.literal("list"),
  data: v.array(
    v.strictObject({
      id: v.number(),
      findings: v.array(
        v.strictObject({
          kind: v.string(),
          path: v.string(),
          value: v.string(),
          confidence: v.number(),
        }),
      ),
    }),
  ),
  first_id: v.nullable(v.number()),
  last_id: v.nullable(v.number()),
  has_more: v.boolean(),
});

export type FoundRowList = v.InferOutput<typeof FoundRowList>;

export function foundRowList({ rows, next }: { rows: FoundRow[]; next: number | null }): FoundRowList {
  return {
    object: "list",
    data: rows.map((row) => ({
      id: row.id,
      findings: row.findings.map(({ kind, path, value, confidence }) => ({ kind, path, value, confidence })),
    })),
    first_id: rows[0]?.id ?? null,
    last_id: next ?? rows.at(-1)?.id ?? null,
    has_more: next !== null,
  };
}
