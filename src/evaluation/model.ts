/** Requests and answers of evaluations. */
import * as v from "valibot";
import { JOB_STATES } from "../contract/job.ts";
import { EvaluateResultSchema } from "../contract/results-schema.ts";
import { Overlap } from "../data/validation/rows/report.ts";
import type { evaluation } from "../db/schema/evaluations.ts";
import type { job } from "../db/schema/jobs.ts";
import { Grader } from "../graders/model.ts";
import { CreatedPageQuery, pageLimit } from "../lib/page.ts";
import { eitherOf, seconds } from "../lib/request-fields.ts";
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
  /** Grades every answer; templates may use `item.prompt` (the last user message) and `item.expected`. */
  grader: v.optional(v.nullable(Grader)),
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
      split: v.optional(v.picklist(["holdout", "train", "all"]), "holdout"),
      /** Another fine-tuned model of the same base, to compare with instead of the base model. */
      against: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1), v.maxLength(400)))),
    }),
  ],
  "give either `job` (a training job), or `model` and `dataset`",
);

export const ListEvaluations = v.strictObject({
  ...CreatedPageQuery.entries,
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

const Interval = v.strictObject({ mean: v.number(), low: v.number(), high: v.number() });

/** Mean reward of a side. `failed`: answers that the grader could not grade, which are not in the mean. */
const RewardView = v.strictObject({
  ...Interval.entries,
  graded: v.number(),
  failed: v.number(),
  error: v.nullable(v.string()),
});
export type RewardView = v.InferOutput<typeof RewardView>;

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
  reward: v.nullable(Interval),
  verdict: v.picklist(["better", "no_clear_difference", "worse", "too_few_rows"]),
  decided_by: v.nullable(v.picklist(["exact_match", "loss", "reward"])),
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
  /** The fine-tuned model that is compared with in place of the base model; null = the base model. */
  against_model: v.nullable(v.string()),
  /** Which of these models no longer exist. */
  deleted_models: v.array(v.string()),
  dataset_version_id: v.string(),
  /** The dataset by the name it has or had. */
  dataset: v.nullable(v.strictObject({ id: v.string(), name: v.string(), version: v.number(), deleted: v.boolean() })),
  split: v.picklist(["holdout", "train", "all"]),
  grader: v.nullable(v.looseObject({ type: v.string(), name: v.optional(v.string()) })),
  /** The mean reward of each side with its interval; null without a grader and while answers are graded. */
  rewards: v.nullable(v.strictObject({ base: v.nullable(RewardView), tuned: v.nullable(RewardView) })),
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
  /**
   * Its rows with the prompt of a row that the model was trained on; null while they are not compared, and for models
   * without training data here. Absent in lists.
   */
  overlap: v.optional(v.nullable(Overlap)),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type EvaluationView = v.InferOutput<typeof EvaluationView>;

/** What the view takes from elsewhere. `work` is its job; null when the job no longer exists. */
interface EvaluationParts {
  work: JobRow | null;
  split: EvaluationView["split"];
  judged: Judged;
  comparison: Comparison | null;
  rewards: EvaluationView["rewards"];
  dataset: EvaluationView["dataset"];
  deletedModels: string[];
}

/** The view of an evaluation. It is running until its answers are graded. */
export function evaluationView(row: EvaluationRow, parts: EvaluationParts): EvaluationView {
  const { work, judged, comparison } = parts;
  const grading = row.grader !== null && row.result === null && work?.state === "succeeded";
  return {
    object: "evaluation",
    id: row.id,
    name: row.name,
    job_id: row.jobId,
    train_job_id: row.trainJobId,
    base_model: row.baseModelId,
    tuned_model: row.tunedModel,
    against_model: row.againstModel,
    deleted_models: parts.deletedModels,
    dataset_version_id: row.versionId,
    dataset: parts.dataset,
    split: parts.split,
    grader: row.grader && { ...row.grader },
    rewards: parts.rewards,
    status: grading ? "running" : (work?.state ?? "failed"),
    progress: grading ? { phase: "grading" } : { ...work?.progress },
    error: work?.error ? { ...work.error } : null,
    judged,
    result: row.result,
    comparison,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
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
  /** The grader's reward; null without a grader, or when it failed (`grade_error`). */
  reward: v.nullable(v.number()),
  grade_error: v.nullable(v.string()),
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

export const DeletedEvaluation = v.strictObject({
  object: v.literal("evaluation"),
  id: v.string(),
  deleted: v.literal(true),
});
