/** Requests and answers of evaluations. */
import * as v from "valibot";
import { JOB_STATES } from "../contract/job.ts";
import { EvaluateResultSchema } from "../contract/results-schema.ts";
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
      /** Dataset, version or file whose validation rows are answered. */
      dataset: v.pipe(v.string(), v.maxLength(100)),
      /** `all`: every row of the version is answered, for data that is only for tests. */
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
  /** The last row id of the previous page. */
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))),
  limit: pageLimit(),
  filter: v.optional(v.picklist(ROW_FILTERS), "all"),
});

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

const Interval = v.strictObject({ mean: v.number(), low: v.number(), high: v.number() });

/** The comparison of both sides: counts, differences (tuned minus base, 95% confidence intervals) and verdict. */
const ComparisonView: v.GenericSchema<Comparison> = v.strictObject({
  rows: v.number(),
  fixed: v.number(),
  broken: v.number(),
  both_right: v.number(),
  both_wrong: v.number(),
  exact_match: Interval,
  token_accuracy: v.nullable(Interval),
  loss: v.nullable(Interval),
  verdict: v.picklist(["better", "no_clear_difference", "worse", "too_few_rows"]),
  decided_by: v.nullable(v.picklist(["exact_match", "loss"])),
  sentence: v.string(),
});

/**
 * An evaluation as the API shows it. `comparison` is null until both sides have answered every row. Times in seconds.
 */
export const EvaluationView = v.strictObject({
  object: v.literal("evaluation"),
  id: v.string(),
  name: v.string(),
  job_id: v.string(),
  train_job_id: v.nullable(v.string()),
  base_model: v.string(),
  tuned_model: v.nullable(v.string()),
  dataset_version_id: v.string(),
  status: v.picklist(JOB_STATES),
  /** Progress of its job. */
  progress: v.looseObject({ fraction: v.optional(v.number()), phase: v.optional(v.string()) }),
  error: v.nullable(
    v.looseObject({
      code: v.string(),
      message: v.string(),
      advice: v.nullable(v.string()),
      param: v.nullable(v.string()),
      detail: v.nullable(v.string()),
    }),
  ),
  judged: v.picklist(["answers", "pairs", "texts"]),
  result: v.nullable(EvaluateResultSchema),
  comparison: v.nullable(ComparisonView),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type EvaluationView = v.InferOutput<typeof EvaluationView>;

/** The view of an evaluation. `work` is its job; null when the job no longer exists. */
export function evaluationView(
  row: EvaluationRow,
  work: JobRow | null,
  judged: Judged,
  comparison: Comparison | null,
): EvaluationView {
  return {
    object: "evaluation",
    id: row.id,
    name: row.name,
    job_id: row.jobId,
    train_job_id: row.trainJobId,
    base_model: row.baseModelId,
    tuned_model: row.tunedModel,
    dataset_version_id: row.versionId,
    status: work?.state ?? "failed",
    progress: { ...work?.progress },
    error: work?.error ? { ...work.error } : null,
    judged,
    result: row.result,
    comparison,
    created_by: row.createdBy,
    created_at: Math.floor(row.createdAt / 1000),
    finished_at: seconds(work?.finishedAt ?? null),
  };
}

/** One side's answer to a row. Loss in nats per token. */
const AnswerView = v.strictObject({
  output: v.string(),
  exact: v.boolean(),
  loss: v.nullable(v.number()),
  token_accuracy: v.nullable(v.number()),
  tokens: v.number(),
});
export type AnswerView = v.InferOutput<typeof AnswerView>;

/** The answers of both sides to a row; null for a side that has not answered. */
export const AnswerRowView = v.strictObject({
  object: v.literal("evaluation.row"),
  id: v.string(),
  row_id: v.number(),
  prompt: v.array(v.unknown()),
  expected: v.string(),
  base: v.nullable(AnswerView),
  tuned: v.nullable(AnswerView),
});
export type AnswerRowView = v.InferOutput<typeof AnswerRowView>;
