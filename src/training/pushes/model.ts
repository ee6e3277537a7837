/** Pushes of fine-tuned models to a hub in the API: the request, and the view of one. */
import * as v from "valibot";
import type { hubPush } from "../../db/schema/pushes.ts";
import { seconds, text } from "../../lib/request-fields.ts";
import { filledName } from "../../lib/text/names.ts";
import { FORMATS, type Format } from "../exports/model.ts";

export type PushRow = typeof hubPush.$inferSelect;

const orNull = <S extends v.GenericSchema>(schema: S) => v.optional(v.nullable(schema));

/** A name as hubs allow it: no point or dash at either end, none twice. */
const REPOSITORY = /^(?!.*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]{0,94}\w)?\/\w(?:[\w.-]{0,94}\w)?$/;
/** A branch: segments of plain characters, as git allows them. */
const BRANCH = /^(?!.*(?:\.\.|\/\/))\w(?:[\w./-]{0,98}\w)?$/;

export const CreatePush = v.strictObject({
  repository: v.pipe(v.string(), v.trim(), v.regex(REPOSITORY, "must be owner/name, as the hub has it")),
  /** The format of a finished export; without it, the model's own files: its adapter, or the full model. */
  format: orNull(v.picklist(FORMATS, `must be one of ${FORMATS.join(", ")}`)),
  /** Who may see a repository that is created. */
  private: v.nullish(v.boolean(), true),
  branch: orNull(v.pipe(v.string(), v.trim(), v.regex(BRANCH, "must be the name of a branch, such as main"))),
  /** Access token with write access. Administrators can leave it out: the installation's `hub_token` is used. */
  token: orNull(v.pipe(text(500), v.trim(), v.regex(/^[\x21-\x7e]*$/, "must be one word of ASCII characters"))),
  message: orNull(filledName(200)),
});
export type CreatePush = v.InferOutput<typeof CreatePush>;

/** A push as the API shows it. Times in seconds. */
export const PushView = v.strictObject({
  object: v.literal("model.push"),
  id: v.string(),
  model: v.string(),
  format: v.nullable(v.picklist(FORMATS)),
  repository: v.string(),
  branch: v.string(),
  /** As it was asked for; a repository that existed keeps its own visibility. */
  private: v.boolean(),
  message: v.string(),
  status: v.picklist(["waiting", "running", "done", "failed", "canceled"]),
  /** What a running push does. */
  phase: v.nullable(v.picklist(["checking", "uploading", "committing"])),
  /** Null until the files are known. */
  bytes: v.nullable(v.number()),
  bytes_done: v.number(),
  error: v.nullable(v.string()),
  /** The commit on the hub that has the files. */
  commit: v.nullable(v.string()),
  /** The files on the hub; null until they are there. */
  url: v.nullable(v.string()),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type PushView = v.InferOutput<typeof PushView>;

/** The address of a path of a hub, whose own address may have a path. */
export const hubAddress = (hub: string, path: string) => new URL((hub.endsWith("/") ? hub.slice(0, -1) : hub) + path);

export function pushView(row: PushRow): PushView {
  const tree = `/${row.repo}/tree/${encodeURIComponent(row.branch)}`;
  return {
    object: "model.push",
    id: row.id,
    model: row.model,
    format: row.format as Format | null,
    repository: row.repo,
    branch: row.branch,
    private: row.private,
    message: row.message,
    status: row.status,
    phase: row.status === "running" ? row.phase : null,
    bytes: row.bytesTotal,
    bytes_done: row.bytesDone,
    error: row.error,
    commit: row.commit,
    url: row.status === "done" ? hubAddress(row.hub, row.branch === "main" ? `/${row.repo}` : tree).href : null,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  };
}
