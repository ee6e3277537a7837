/** Database rows of datasets and versions, and the reference to a version in a job specification. */
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

/** The reference to a version in a job specification. */
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
