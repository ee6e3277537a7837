/** What callers send and see of files, uploads, datasets and versions: valibot schemas and the views of rows. */

import * as v from "valibot";
import { pageLimit } from "../../lib/page.ts";
import { id, seconds, text, whole } from "../../lib/request-fields.ts";
import { filledName, linesText, nameText } from "../../lib/text/names.ts";
import { type DatasetRow, MAX_SEED, SPLITS, type VersionRow } from "../validation/model.ts";
import type { TokenStats } from "../validation/rows/report.ts";

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

/** How a version is made of a file. All have defaults. */
export const VersionSettings = v.strictObject({
  mapping: v.optional(v.nullable(v.record(text(40), text(200)))),
  holdout_fraction: v.optional(v.nullable(share)),
  seed: v.optional(v.nullable(whole(0, MAX_SEED))),
  skip_bad: v.optional(v.nullable(truth)),
});
export const CreateDataset = v.strictObject({
  file_id: id,
  name: v.optional(v.nullable(nameText(200))),
  description: v.optional(v.nullable(linesText(2000))),
  ...VersionSettings.entries,
});
export const CreateVersion = v.strictObject({ file_id: v.optional(v.nullable(id)), ...VersionSettings.entries });
export const UpdateDataset = v.strictObject({
  name: v.optional(filledName(200)),
  description: v.optional(linesText(2000)),
});
/** A row of OpenAI chat JSONL; what is in it is checked as that of a file. */
export const AddRow = v.strictObject({ messages: v.array(v.unknown()), tools: v.optional(v.array(v.unknown())) });
export const RowsQuery = v.strictObject({
  version: v.optional(id),
  split: v.optional(v.picklist(SPLITS), "train"),
  after: v.optional(whole(0, Number.MAX_SAFE_INTEGER), 0),
  limit: pageLimit(),
  search: v.optional(text(200)),
});
export const VersionQuery = v.strictObject({ version: v.optional(id) });
export const TokensQuery = v.strictObject({ base_model: text(200), version: v.optional(id) });

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
