/** What the evaluations room takes and gives. */
import * as v from "valibot";
import type { evaluation } from "../db/schema/evaluations.ts";
import type { job } from "../db/schema/jobs.ts";
import { PageQuery, pageLimit } from "../lib/page.ts";
import { eitherOf } from "../lib/request-fields.ts";
import { filledName } from "../lib/text/names.ts";
import type { Comparison, Judged } from "./statistics.ts";

export type EvaluationRow = typeof evaluation.$inferSelect;
type JobRow = Pick<typeof job.$inferSelect, "state" | "progress" | "error" | "finishedAt">;

/** Most rows one evaluation answers. */
export const MAX_ROWS = 10_000;
export const DEFAULT_ROWS = 100;

const common = {
  name: v.optional(filledName(100)),
  max_rows: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_ROWS))),
};
export const CreateEvaluation = eitherOf(
  [
    v.strictObject({ ...common, job: v.pipe(v.string(), v.maxLength(100)) }),
    v.strictObject({
      ...common,
      model: v.pipe(v.string(), v.minLength(1), v.maxLength(400)),
      /** Dataset, version or file whose hold-out rows are answered. */
      dataset: v.pipe(v.string(), v.maxLength(100)),
      /** `all`: every row of the version is answered, for data that was only made to test with. */
      split: v.optional(v.picklist(["holdout", "all"]), "holdout"),
    }),
  ],
  "give either `job` (a training job), or `model` and `dataset`",
);

export const ListEvaluations = v.strictObject({
  ...PageQuery.entries,
  /** Only those of one training job. */
  job: v.optional(v.pipe(v.string(), v.maxLength(100))),
});
export const ROW_FILTERS = ["all", "changed", "fixed", "broken", "both_wrong", "both_right"] as const;
export type RowFilter = (typeof ROW_FILTERS)[number];
export const ListRows = v.strictObject({
  /** Row id of the last one seen. */
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))),
  limit: pageLimit(),
  filter: v.optional(v.picklist(ROW_FILTERS), "all"),
});

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

/** An evaluation as the API shows it. `comparison` is there once both sides have answered everything. */
export function evaluationView(row: EvaluationRow, work: JobRow | null, judged: Judged, comparison: Comparison | null) {
  return {
    object: "evaluation" as const,
    id: row.id,
    name: row.name,
    job_id: row.jobId,
    train_job_id: row.trainJobId,
    base_model: row.baseModelId,
    tuned_model: row.tunedModel,
    dataset_version_id: row.versionId,
    status: work?.state ?? "failed",
    progress: work?.progress ?? {},
    error: work?.error ?? null,
    judged,
    result: row.result,
    comparison,
    created_by: row.createdBy,
    created_at: Math.floor(row.createdAt / 1000),
    finished_at: seconds(work?.finishedAt ?? null),
  };
}
export type EvaluationView = ReturnType<typeof evaluationView>;

/** One side's answer to a row. Loss in nats a token. */
export interface AnswerView {
  output: string;
  exact: boolean;
  loss: number | null;
  token_accuracy: number | null;
  tokens: number;
}
export interface AnswerRowView {
  object: "evaluation.row";
  id: string;
  row_id: number;
  prompt: unknown[];
  expected: string;
  base: AnswerView | null;
  tuned: AnswerView | null;
}
