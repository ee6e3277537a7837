/** Searches for a person as clients see them, and what they send. */
import * as v from "valibot";
import type { Hit } from "../../data/pii/find-person.ts";
import { folded } from "../../data/pii/person-match.ts";
import type { SubjectErasure, SubjectResult, subjectRequest } from "../../db/schema/archives.ts";
import { pageLimit } from "../../lib/page.ts";
import { seconds, text, whole } from "../../lib/request-fields.ts";

export type SubjectRow = typeof subjectRequest.$inferSelect;

const MAX_TERMS = 20;
/** Fewer characters are in too many texts. */
const MIN_TERM = 3;
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;

const Term = v.pipe(
  text(200),
  v.trim(),
  v.check(
    (term) => folded(term).length >= (CJK.test(term) ? 2 : MIN_TERM) && /[\p{L}\p{N}]/u.test(term),
    `must have at least ${MIN_TERM} characters, one of them a letter or digit`,
  ),
);

/** Names, addresses and ids of a person. `all`: a row must have every one of them. */
export const CreateSubjectRequest = v.strictObject({
  terms: v.pipe(v.array(Term), v.minLength(1, "must have at least one entry"), v.maxLength(MAX_TERMS)),
  match: v.optional(v.picklist(["any", "all"]), "any"),
  reference: v.optional(v.pipe(text(200), v.trim()), ""),
});
export type CreateSubjectRequest = v.InferOutput<typeof CreateSubjectRequest>;

export const EraseSubject = v.strictObject({
  /** Also delete the earlier versions that have the rows, with their files. */
  old_versions: v.optional(v.boolean(), false),
  /** Also delete stored responses and completions, texts of evaluation answers, samples and log lines. */
  stored: v.optional(v.boolean(), true),
});
export type EraseSubject = v.InferOutput<typeof EraseSubject>;

export const HitsQuery = v.strictObject({
  limit: pageLimit(),
  after: v.optional(whole(0, Number.MAX_SAFE_INTEGER), 0),
});
export const ExportQuery = v.strictObject({ format: v.optional(v.picklist(["json", "csv"]), "json") });

const count = v.number();
const stored = v.strictObject({
  answers: count,
  samples: count,
  log_lines: count,
  responses: count,
  completions: count,
});
const str = v.string();
const Result = v.strictObject({
  versions: v.array(
    v.strictObject({ id: str, dataset_id: str, dataset: str, number: count, rows: count, newest: v.boolean() }),
  ),
  files: v.array(v.strictObject({ id: str, filename: str, lines: count })),
  jobs: v.array(v.strictObject({ id: str, name: str, state: str })),
  models: v.array(v.strictObject({ id: str, job_id: str })),
  deployments: v.array(v.strictObject({ id: str, name: str, model: str, state: str })),
  stored,
  not_searched: v.array(v.strictObject({ id: str, filename: str })),
});
const Erasure = v.strictObject({
  by: str,
  at: count,
  old_versions: v.boolean(),
  stored: v.boolean(),
  datasets: v.array(
    v.strictObject({
      id: str,
      name: str,
      rows: count,
      next_version_id: v.nullable(str),
      error: v.nullable(str),
    }),
  ),
  deleted_versions: v.array(str),
  kept_versions: v.array(v.strictObject({ id: str, reason: str })),
  deleted: stored,
});

/** A search with its report. The report is personal data itself: it is deleted at `expires_at`. */
export const SubjectView = v.strictObject({
  id: str,
  object: v.literal("subject_request"),
  status: v.picklist(["waiting", "running", "done", "failed", "erasing"]),
  terms: v.array(str),
  match: v.picklist(["any", "all"]),
  reference: str,
  rows_searched: count,
  rows: count,
  hits: count,
  result: v.nullable(Result),
  erasure: v.nullable(Erasure),
  error: v.nullable(str),
  created_by: str,
  created_at: count,
  finished_at: v.nullable(count),
  expires_at: count,
});
export type SubjectView = v.InferOutput<typeof SubjectView>;

export const subjectView = (row: SubjectRow, terms: string[]): SubjectView => ({
  id: row.id,
  object: "subject_request",
  status: row.status,
  terms,
  match: row.match,
  reference: row.reference,
  rows_searched: row.rowsDone,
  rows: row.rowsTotal,
  hits: row.hits,
  result: row.result satisfies SubjectResult | null,
  erasure: row.erasure && ({ ...row.erasure, at: seconds(row.erasure.at) } satisfies SubjectErasure),
  error: row.error,
  created_by: row.createdBy,
  created_at: seconds(row.createdAt),
  finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  expires_at: seconds(row.expiresAt),
});

/** A place with the person; the context is masked. Pass `last_id` as `after` for the next page. */
export const HitList = v.strictObject({
  object: v.literal("list"),
  data: v.array(v.strictObject({ id: count, kind: str, of: str, ref: str, context: str })),
  first_id: v.nullable(count),
  last_id: v.nullable(count),
  has_more: v.boolean(),
});
export type HitList = v.InferOutput<typeof HitList>;

export const hitList = ({ rows, next }: { rows: Hit[]; next: number | null }): HitList => ({
  object: "list",
  data: rows,
  first_id: rows[0]?.id ?? null,
  last_id: next ?? rows.at(-1)?.id ?? null,
  has_more: next !== null,
});

export const DeletedSubject = v.strictObject({
  id: str,
  object: v.literal("subject_request"),
  deleted: v.literal(true),
});
