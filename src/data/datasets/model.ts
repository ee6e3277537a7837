/** Requests and answers of datasets and versions: valibot schemas and the views of database rows. */
import * as v from "valibot";
import { pageLimit } from "../../lib/page.ts";
import { id, seconds, text, whole } from "../../lib/request-fields.ts";
import { filledName, linesText, nameText } from "../../lib/text/names.ts";
import { ENCODINGS } from "../validation/containers/charset.ts";
import type { Reading } from "../validation/containers/source.ts";
import { Mapping, MappingInput } from "../validation/mapping/model.ts";
import { type DatasetRow, MAX_SEED, SPLITS, type VersionRow } from "../validation/model.ts";
import { Overlap, Report, TokenStats } from "../validation/rows/report.ts";
import type { RowSource } from "./edit.ts";
import type { RowPage } from "./read-rows.ts";

const share = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^[0-9.]{1,20}$/, "must be a number"), v.transform(Number))]),
  v.minValue(0),
  v.maxValue(0.5, "at most 0.5: half of the rows must stay for training"),
);
export const truth = v.union([
  v.boolean(),
  v.pipe(
    v.picklist(["true", "false"]),
    v.transform((text) => text === "true"),
  ),
]);

/** Settings of a version. All have defaults. */
export const VersionSettings = v.strictObject({
  mapping: v.optional(v.nullable(MappingInput)),
  /** A dataset or a version whose mapping is used. */
  mapping_from: v.optional(v.nullable(id)),
  holdout_fraction: v.optional(v.nullable(share)),
  seed: v.optional(v.nullable(whole(0, MAX_SEED))),
  skip_bad: v.optional(v.nullable(v.union([truth, v.literal("any")]))),
  remove_duplicates: v.optional(v.nullable(v.picklist(["exact", "near"]))),
  /** The encoding that the text is converted from. */
  encoding: v.optional(v.nullable(v.picklist(ENCODINGS))),
  /** The file of an archive, the sheet of a workbook or the list of a JSON object to read. */
  part: v.optional(v.nullable(text(500))),
  /** Repair text that was decoded with the wrong code page before the upload. */
  repair_text: v.optional(v.nullable(truth)),
});
/** How a version reads its file, as far as the request says. */
export const readingGiven = (given: v.InferOutput<typeof VersionSettings>): Partial<Reading> => ({
  ...(given.encoding ? { encoding: given.encoding } : {}),
  ...(given.part ? { part: given.part } : {}),
  ...(given.repair_text === undefined || given.repair_text === null ? {} : { repairText: given.repair_text }),
});
export const CreateDataset = v.strictObject({
  file_id: id,
  name: v.optional(v.nullable(nameText(200))),
  description: v.optional(v.nullable(linesText(2000))),
  /** Its rows never leave this machine. */
  stays_local: v.optional(v.nullable(truth)),
  ...VersionSettings.entries,
});
export const CreateVersion = v.strictObject({ file_id: v.optional(v.nullable(id)), ...VersionSettings.entries });
export const UpdateDataset = v.strictObject({
  name: v.optional(filledName(200)),
  description: v.optional(linesText(2000)),
  stays_local: v.optional(truth),
});
/** A row of OpenAI chat JSONL. Its content is checked like a row of a file. */
export const AddRow = v.strictObject({ messages: v.array(v.unknown()), tools: v.optional(v.array(v.unknown())) });
/** The new source text of a row; an empty text leaves the row out. */
export const EditRow = v.strictObject({ text: text(1_000_000) });
/** A dataset or version whose rows are added. */
export const AddRowsOf = v.strictObject({ dataset: id });
export const ROW_ROLES = ["system", "user", "assistant", "tool", "tool_calls"] as const;
export const RowsQuery = v.strictObject({
  version: v.optional(id),
  split: v.optional(v.picklist(SPLITS), "train"),
  after: v.optional(whole(0, Number.MAX_SAFE_INTEGER), 0),
  limit: pageLimit(),
  search: v.optional(text(200)),
  /** Rows with a message of this role, or with tool calls. */
  role: v.optional(v.picklist(ROW_ROLES)),
  /** `good` or `bad` of labeled rows, or the whole last answer. */
  label: v.optional(text(200)),
  min_characters: v.optional(whole(0, Number.MAX_SAFE_INTEGER)),
  max_characters: v.optional(whole(0, Number.MAX_SAFE_INTEGER)),
  /** Rows that the report lists for a problem with this code. */
  problem: v.optional(text(60)),
});
export const VersionQuery = v.strictObject({ version: v.optional(id) });
export const OverlapQuery = v.strictObject({ version: v.optional(id), validation: v.optional(id) });
export const TokensQuery = v.strictObject({ base_model: text(200), version: v.optional(id) });

/** A version without its report. Times in seconds since 1970. */
export const VersionView = v.strictObject({
  id: v.string(),
  object: v.literal("dataset.version"),
  dataset_id: v.string(),
  number: v.number(),
  status: v.picklist(["validating", "needs_mapping", "ready", "failed"]),
  hash: v.nullable(v.string()),
  file_id: v.nullable(v.string()),
  format: v.nullable(v.string()),
  row_type: v.picklist(["chat", "preference", "unpaired", "text", "prompt"]),
  rows: v.number(),
  train_rows: v.number(),
  holdout_rows: v.number(),
  bad_rows: v.number(),
  seed: v.number(),
  holdout_fraction: v.number(),
  /** `any`: bad rows were left out although they were more than half of all rows. */
  skip_bad: v.union([v.boolean(), v.literal("any")]),
  remove_duplicates: v.nullable(v.picklist(["exact", "near"])),
  mapping: v.nullable(Mapping),
  encoding: v.nullable(v.string()),
  part: v.nullable(v.string()),
  repair_text: v.boolean(),
  error: v.nullable(v.string()),
  /** 0 to 1 while validating, then 1. */
  progress: v.number(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type VersionView = v.InferOutput<typeof VersionView>;

/** @param fileBytes size of the uploaded file, for the progress */
export function versionView(row: VersionRow, fileBytes: number | null = null): VersionView {
  return {
    id: row.id,
    object: "dataset.version",
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
    remove_duplicates: row.removeDuplicates,
    mapping: row.mapping as Mapping | null,
    encoding: row.reading?.encoding ?? null,
    part: row.reading?.part ?? null,
    repair_text: row.reading?.repairText ?? false,
    error: row.error,
    progress: row.status === "validating" ? (fileBytes ? Math.min(1, row.bytesRead / fileBytes) : 0) : 1,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  };
}

/** A dataset with its newest version. */
export const DatasetView = v.strictObject({
  id: v.string(),
  object: v.literal("dataset"),
  name: v.string(),
  description: v.string(),
  /** Its rows never leave this machine: jobs on it run only here. */
  stays_local: v.boolean(),
  created_at: v.number(),
  created_by: v.string(),
  version: v.nullable(VersionView),
});
export type DatasetView = v.InferOutput<typeof DatasetView>;

/** @param fileBytes size of the newest version's file, for the progress */
export function datasetView(row: DatasetRow, newest: VersionRow | null, fileBytes: number | null = null): DatasetView {
  return {
    id: row.id,
    object: "dataset",
    name: row.name,
    description: row.description,
    stays_local: row.staysLocal,
    created_at: seconds(row.createdAt),
    created_by: row.createdBy,
    version: newest && versionView(newest, fileBytes),
  };
}

export const DeletedDataset = v.strictObject({
  id: v.string(),
  object: v.literal("dataset"),
  deleted: v.literal(true),
  /** Names of backups in the data directory that still have its rows. */
  backups: v.array(v.string()),
});

/** A version with its validation report; null while it is validated, and when the worker failed. */
export const ReportView = v.strictObject({
  object: v.literal("dataset.report"),
  version: VersionView,
  report: v.nullable(Report),
});

const message = v.strictObject({
  role: v.picklist(["system", "user", "assistant", "tool"]),
  content: v.string(),
  weight: v.optional(v.picklist([0, 1])),
  reasoning_content: v.optional(v.string()),
  tool_calls: v.optional(
    v.array(
      v.strictObject({
        id: v.string(),
        type: v.literal("function"),
        function: v.strictObject({ name: v.string(), arguments: v.string() }),
      }),
    ),
  ),
  tool_call_id: v.optional(v.string()),
  name: v.optional(v.string()),
});
const chat = {
  id: v.number(),
  messages: v.array(message),
  tools: v.optional(
    v.array(v.strictObject({ type: v.literal("function"), function: v.looseObject({ name: v.string() }) })),
  ),
};

/** A page of canonical rows. Pass `last_id` as `after` for the next page. */
export const RowList = v.strictObject({
  object: v.literal("list"),
  data: v.array(
    v.union([
      v.strictObject(chat),
      v.strictObject({ ...chat, chosen: v.array(message), rejected: v.array(message) }),
      v.strictObject({ ...chat, label: v.boolean() }),
      v.strictObject({ ...chat, item: v.record(v.string(), v.unknown()) }),
      v.strictObject({ id: v.number(), text: v.string() }),
    ]),
  ),
  first_id: v.nullable(v.number()),
  last_id: v.nullable(v.number()),
  has_more: v.boolean(),
});
type RowList = v.InferOutput<typeof RowList>;

export function rowListView(page: RowPage): RowList {
  return {
    object: "list",
    data: page.rows,
    first_id: page.rows[0]?.id ?? null,
    last_id: page.next ?? page.rows.at(-1)?.id ?? null,
    has_more: page.next !== null,
  };
}

/** Validation rows with the prompt of a training row; null while they are compared. */
export const OverlapView = v.strictObject({
  object: v.literal("dataset.overlap"),
  version_id: v.string(),
  /** The version with the validation rows; null for the validation split of the version itself. */
  validation_version_id: v.nullable(v.string()),
  overlap: v.nullable(Overlap),
});

/** Token counts of a version's training rows; `exact` is false for an estimate from the first rows. */
export const TokensView = v.strictObject({
  object: v.literal("dataset.tokens"),
  version_id: v.string(),
  base_model: v.string(),
  ...TokenStats.entries,
});
type TokensView = v.InferOutput<typeof TokensView>;

export function tokensView(versionId: string, baseModel: string, stats: TokenStats): TokensView {
  return { object: "dataset.tokens", version_id: versionId, base_model: baseModel, ...stats };
}

/** The source text of a row, with the problems that the report lists for it. */
export const RowSourceView = v.strictObject({
  object: v.literal("dataset.row_source"),
  version_id: v.string(),
  line: v.number(),
  text: v.string(),
  problems: v.array(
    v.strictObject({
      code: v.string(),
      severity: v.string(),
      message: v.string(),
      advice: v.string(),
      path: v.string(),
      detail: v.string(),
    }),
  ),
});

export const rowSourceView = (
  line: number,
  { version, text: source, problems }: RowSource,
): v.InferOutput<typeof RowSourceView> => ({
  object: "dataset.row_source",
  version_id: version.id,
  line,
  text: source,
  problems,
});
