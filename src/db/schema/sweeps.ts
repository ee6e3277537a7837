/** Sweeps: a training request with several sets of values, one training job per trial. */
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { Decision, SweepRequest, TrialValues } from "../../contract/sweep.ts";
import { jsonText } from "../json.ts";

export const sweep = sqliteTable(
  "sweep",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    state: text("state", { enum: ["running", "stopping", "succeeded", "failed", "cancelled"] }).notNull(),
    /** The request, with open fields filled in: metric, direction, seed. */
    request: jsonText("request").$type<SweepRequest>().notNull(),
    error: text("error"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [index("sweep_org").on(t.org, t.createdAt, t.id), index("sweep_state").on(t.state)],
);

export const trial = sqliteTable(
  "trial",
  {
    sweepId: text("sweep_id")
      .notNull()
      .references(() => sweep.id),
    number: integer("number").notNull(),
    values: jsonText("values").$type<TrialValues>().notNull(),
    /** `refused`: the values cannot be combined. `stopped`: other trials were better at a rung. */
    state: text("state", {
      enum: ["waiting", "running", "succeeded", "stopped", "failed", "cancelled", "refused"],
    }).notNull(),
    reason: text("reason"),
    jobId: text("job_id"),
    /** Steps after which it is compared with other trials; only with the strategy halving. */
    rungs: jsonText("rungs").$type<number[]>().notNull(),
    decisions: jsonText("decisions").$type<Decision[]>().notNull(),
    score: real("score"),
  },
  (t) => [primaryKey({ columns: [t.sweepId, t.number] }), index("trial_job").on(t.jobId)],
);
