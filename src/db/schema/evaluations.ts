/** Evaluations (a job of kind `evaluate` each) and the answers of both models, by row. */
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { EvaluateResult, FrozenGrader } from "../../contract/spec.ts";
import type { WireMessage } from "../../contract/trainer.ts";
import { jsonText } from "../json.ts";

export const evaluation = sqliteTable(
  "evaluation",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    jobId: text("job_id").notNull().unique(),
    /** The train job that created this evaluation, if any. */
    trainJobId: text("train_job_id"),
    baseModelId: text("base_model_id").notNull(),
    tunedModel: text("tuned_model"),
    /** The fine-tuned model on side `base`; null = the base model itself. */
    againstModel: text("against_model"),
    /** Grades the answers of both sides once all are there; null = exact match only. */
    grader: jsonText("grader").$type<FrozenGrader>(),
    versionId: text("version_id").notNull(),
    result: jsonText("result").$type<EvaluateResult>(),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("evaluation_org").on(t.org, t.createdAt, t.id), index("evaluation_train").on(t.trainJobId)],
);

export const answer = sqliteTable(
  "answer",
  {
    jobId: text("job_id").notNull(),
    rowId: integer("row_id").notNull(),
    side: text("side", { enum: ["base", "tuned"] }).notNull(),
    prompt: jsonText("prompt").$type<WireMessage[]>().notNull(),
    expected: text("expected").notNull(),
    output: text("output").notNull(),
    exact: integer("exact", { mode: "boolean" }).notNull(),
    loss: real("loss"),
    tokenAccuracy: real("token_accuracy"),
    tokens: integer("tokens").notNull(),
    /** The grader's reward, and why it failed (then the reward is 0); null = not graded. */
    reward: real("reward"),
    gradeError: text("grade_error"),
  },
  (t) => [primaryKey({ columns: [t.jobId, t.rowId, t.side] })],
);
