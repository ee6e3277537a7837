/** Requests and answers of imports: where the data is, and how far its copy is. */
import * as v from "valibot";
import type { datasetImport } from "../../db/schema/imports.ts";
import { eitherOf, seconds, text } from "../../lib/request-fields.ts";
import { linesText, nameText } from "../../lib/text/names.ts";
import { truth, VersionSettings } from "../datasets/model.ts";
import type { DatasetOptions } from "../validation/records.ts";

const optional = (max: number) => v.optional(v.nullable(text(max)));
const repo = v.pipe(
  v.string(),
  v.regex(/^[\w.-]{1,96}(\/[\w.-]{1,96})?$/, "must be a repository such as name/dataset"),
);

const HubSource = v.strictObject({
  type: v.literal("huggingface"),
  repo,
  /** Branch, tag or commit; `main` by default. */
  revision: optional(200),
  config: optional(200),
  split: optional(200),
  /** A file of the repository, instead of a split. */
  file: optional(500),
  /** Access token for gated and private datasets. */
  token: optional(500),
});
const UrlSource = v.strictObject({
  type: v.literal("url"),
  url: text(4000),
  /** Sent as `Authorization`, to the address itself only. */
  authorization: optional(4000),
});
const S3Source = v.strictObject({
  type: v.literal("s3"),
  /** For example `https://s3.eu-central-1.amazonaws.com`. */
  endpoint: text(500),
  bucket: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{1,62}$/, "must be the name of a bucket")),
  key: v.pipe(text(1024), v.minLength(1)),
  region: optional(100),
  access_key_id: optional(200),
  secret_access_key: optional(500),
  session_token: optional(4000),
});
const PathSource = v.strictObject({
  type: v.literal("path"),
  path: v.pipe(text(4000), v.startsWith("/", "must be an absolute path")),
});

const Source = eitherOf(
  [HubSource, UrlSource, S3Source, PathSource],
  "must have a type (huggingface, url, s3 or path) and its fields",
);
export type Source =
  | v.InferOutput<typeof HubSource>
  | v.InferOutput<typeof UrlSource>
  | v.InferOutput<typeof S3Source>
  | v.InferOutput<typeof PathSource>;
export type SourceOf<T extends Source["type"]> = Extract<Source, { type: T }>;

export const CreateImport = v.strictObject({
  source: Source,
  name: v.optional(v.nullable(nameText(200))),
  description: v.optional(v.nullable(linesText(2000))),
  /** Its rows never leave this machine. */
  stays_local: v.optional(v.nullable(truth)),
  ...VersionSettings.entries,
});

/** Fields of a source that are credentials. */
export const SECRETS = ["token", "authorization", "access_key_id", "secret_access_key", "session_token"] as const;

/** The credentials of each source; the address of a `url` can hold some. */
export const SECRETS_OF: Record<Source["type"], readonly string[]> = {
  huggingface: ["token"],
  url: ["url", "authorization"],
  s3: ["access_key_id", "secret_access_key", "session_token"],
  path: [],
};

/** Body of a retry: credentials that replace those of the import. */
export const RetryImport = v.strictObject({
  ...v.pick(HubSource, ["token"]).entries,
  url: optional(4000),
  ...v.pick(UrlSource, ["authorization"]).entries,
  ...v.pick(S3Source, ["access_key_id", "secret_access_key", "session_token"]).entries,
});
export type RetryImport = v.InferOutput<typeof RetryImport>;

export type ImportRow = typeof datasetImport.$inferSelect;

/** Options as they are stored. */
export interface StoredOptions extends DatasetOptions {
  /** Names of the credentials that the import was given. */
  credentials?: string[];
}

/** Credentials that a retry has to be given again, because those of the import were deleted. */
export const missingCredentials = ({ secret, options }: Pick<ImportRow, "secret" | "options">): string[] =>
  secret === null ? ((options as StoredOptions).credentials ?? []) : [];

/** An import. Times in seconds since 1970. */
export const ImportView = v.strictObject({
  id: v.string(),
  object: v.literal("dataset.import"),
  /** Where the data is, without credentials. */
  source: v.record(v.string(), v.nullable(v.string())),
  status: v.picklist(["waiting", "running", "done", "failed", "canceled"]),
  filename: v.nullable(v.string()),
  bytes: v.nullable(v.number()),
  bytes_done: v.number(),
  error: v.nullable(v.string()),
  dataset_id: v.nullable(v.string()),
  /** Of a failed import: credentials that a retry has to be given again. */
  missing_credentials: v.array(v.string()),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type ImportView = v.InferOutput<typeof ImportView>;

export function importView(row: ImportRow): ImportView {
  return {
    id: row.id,
    object: "dataset.import",
    source: row.source as Record<string, string | null>,
    status: row.status,
    filename: row.filename,
    bytes: row.bytesTotal,
    bytes_done: row.bytesDone,
    error: row.error,
    dataset_id: row.datasetId,
    missing_credentials: row.status === "failed" ? missingCredentials(row) : [],
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  };
}
