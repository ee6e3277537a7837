/** What callers send and see of files, uploads, datasets and versions: valibot schemas and the views of rows. */
import * as v from "valibot";
import type { DatasetRef } from "../../contract/spec.ts";
import type { dataset, datasetVersion, file, upload, uploadPart } from "../../db/schema/datasets.ts";
import { filledName, linesText, nameText } from "../../lib/text.ts";
import type { Report, TokenStats } from "./rows/report.ts";

export type { Report, TokenStats } from "./rows/report.ts";
export type FileRow = typeof file.$inferSelect;
export type UploadRow = typeof upload.$inferSelect;
export type PartRow = typeof uploadPart.$inferSelect;
export type DatasetRow = typeof dataset.$inferSelect;
/** A version without its report, which can be large. */
export type VersionRow = Omit<typeof datasetVersion.$inferSelect, "report">;
export type VersionWithReport = VersionRow & { report: Report | null };

export const PURPOSES = ["fine-tune", "batch", "evals", "user_data", "vision", "assistants"] as const;
export type Purpose = (typeof PURPOSES)[number];

export const SPLITS = ["train", "holdout"] as const;
export type Split = (typeof SPLITS)[number];

export const DEFAULT_HOLDOUT = 0.1;
export const DEFAULT_SEED = 42;
export const MAX_SEED = 2_147_483_647;

const seconds = (ms: number) => Math.floor(ms / 1000);

/** How a number arrives in a query or a form. */
const whole = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/, "must be a whole number"), v.transform(Number))]),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
  );
const id = v.pipe(v.string(), v.maxLength(100));

export const ExpiresAfter = v.strictObject({
  anchor: v.literal("created_at"),
  seconds: whole(3600, 2_592_000),
});
export const Purposes = v.picklist(PURPOSES, `must be one of ${PURPOSES.join(", ")}`);

export const ListFiles = v.object({
  purpose: v.optional(v.pipe(v.string(), v.maxLength(100))),
  limit: v.optional(whole(1, 10_000), 10_000),
  order: v.optional(v.picklist(["asc", "desc"]), "desc"),
  after: v.optional(id),
});

export const CreateUpload = v.object({
  filename: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  purpose: Purposes,
  bytes: whole(1, Number.MAX_SAFE_INTEGER),
  mime_type: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  expires_after: v.optional(v.nullable(ExpiresAfter)),
});
export const CompleteUpload = v.object({
  part_ids: v.pipe(v.array(id), v.minLength(1), v.maxLength(10_000)),
  md5: v.optional(v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/i, "must be 32 hexadecimal digits")))),
});

const share = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^[0-9.]{1,20}$/, "must be a number"), v.transform(Number))]),
  v.minValue(0),
  v.maxValue(0.5, "at most half of the rows can be held out"),
);
const truth = v.union([
  v.boolean(),
  v.pipe(
    v.picklist(["true", "false"]),
    v.transform((text) => text === "true"),
  ),
]);
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/** How a version is made of a file. All have defaults. */
export const VersionSettings = v.object({
  mapping: v.optional(v.nullable(v.record(text(40), text(200)))),
  holdout_fraction: v.optional(v.nullable(share)),
  seed: v.optional(v.nullable(whole(0, MAX_SEED))),
  skip_bad: v.optional(v.nullable(truth)),
});
export const CreateDataset = v.object({
  file_id: id,
  name: v.optional(v.nullable(nameText(200))),
  description: v.optional(v.nullable(linesText(2000))),
  ...VersionSettings.entries,
});
export const CreateVersion = v.object({ file_id: v.optional(v.nullable(id)), ...VersionSettings.entries });
export const UpdateDataset = v.object({
  name: v.optional(filledName(200)),
  description: v.optional(linesText(2000)),
});
/** A row of OpenAI chat JSONL; what is in it is checked as that of a file. */
export const AddRow = v.strictObject({ messages: v.array(v.unknown()), tools: v.optional(v.array(v.unknown())) });
export const ListDatasets = v.object({ limit: v.optional(whole(1, 100), 20), after: v.optional(id) });
export const RowsQuery = v.object({
  version: v.optional(id),
  split: v.optional(v.picklist(SPLITS), "train"),
  after: v.optional(whole(0, Number.MAX_SAFE_INTEGER), 0),
  limit: v.optional(whole(1, 100), 20),
  search: v.optional(text(200)),
});
export const VersionQuery = v.object({ version: v.optional(id) });
export const TokensQuery = v.object({ base_model: text(200), version: v.optional(id) });

/** OpenAI's file object. */
export function fileView(row: FileRow) {
  return {
    id: row.id,
    object: "file" as const,
    bytes: row.bytes,
    created_at: seconds(row.createdAt),
    ...(row.expiresAt === null ? {} : { expires_at: seconds(row.expiresAt) }),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    ...(row.statusDetails === null ? {} : { status_details: row.statusDetails }),
  };
}

/** OpenAI's upload object; `file` once it is completed. */
export function uploadView(row: UploadRow, file: FileRow | null = null) {
  return {
    id: row.id,
    object: "upload" as const,
    bytes: row.bytes,
    created_at: seconds(row.createdAt),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    expires_at: seconds(row.expiresAt),
    ...(file ? { file: fileView(file) } : {}),
  };
}

export function partView(row: PartRow) {
  return { id: row.id, object: "upload.part" as const, created_at: seconds(row.createdAt), upload_id: row.uploadId };
}

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

/** A version without its report. `progress` is 0 to 1 while validating. */
export function versionView(row: VersionRow, fileBytes: number | null = null) {
  return {
    id: row.id,
    object: "dataset.version" as const,
    dataset_id: row.datasetId,
    number: row.number,
    status: row.status,
    hash: row.hash,
    file_id: row.fileId,
    format: row.format,
    row_type: row.rowType,
    rows: row.rows,
    train_rows: row.trainRows,
    holdout_rows: row.holdoutRows,
    bad_rows: row.badRows,
    seed: row.splitSeed,
    holdout_fraction: row.holdoutFraction / 1e6,
    skip_bad: row.skipBad,
    mapping: row.mapping,
    error: row.error,
    progress: row.status === "validating" ? (fileBytes ? Math.min(1, row.bytesRead / fileBytes) : 0) : 1,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  };
}
export type VersionView = ReturnType<typeof versionView>;

export function datasetView(row: DatasetRow, newest: VersionRow | null) {
  return {
    id: row.id,
    object: "dataset" as const,
    name: row.name,
    description: row.description,
    created_at: seconds(row.createdAt),
    created_by: row.createdBy,
    version: newest ? versionView(newest) : null,
  };
}
export type DatasetView = ReturnType<typeof datasetView>;

/** Token counts of a version's training rows; `exact` is false while only the first rows were counted. */
export function tokensView(versionId: string, baseModel: string, stats: TokenStats) {
  return { object: "dataset.tokens" as const, version_id: versionId, base_model: baseModel, ...stats };
}
