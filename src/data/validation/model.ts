/** Rows of datasets and versions, and how the specification of a job refers to a version. */
import type { DatasetRef } from "../../contract/spec.ts";
import type { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import type { Report } from "./rows/report.ts";

export type DatasetRow = typeof dataset.$inferSelect;

/** A version without its report, which can be large. */
export type VersionRow = Omit<typeof datasetVersion.$inferSelect, "report">;

export type VersionWithReport = VersionRow & { report: Report | null };

export const SPLITS = ["train", "holdout"] as const;

export type Split = (typeof SPLITS)[number];

export const DEFAULT_HOLDOUT = 0.1;

export const DEFAULT_SEED = 42;

export const MAX_SEED = 2_147_483_647;

/** A version as specs name it. */
export function datasetRef(row: VersionRow): DatasetRef {
  return {
    dataset_id: row.datasetId,
    version_id: row.id,
    file_id: row.fileId,
    hash: row.hash ?? "",
    train_rows: row.trainRows,
    holdout_rows: row.holdoutRows,
    ...(row.rowType === "chat" ? {} : { row_type: row.rowType }),
  };
}
