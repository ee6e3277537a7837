/** Reads the answers of several training runs to the same rows, from their evaluations or their training samples. */
import { and, eq, gt, inArray, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/sqlite-core";
import type { TrainSpec } from "../contract/spec.ts";
import { validationData } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answer, evaluation } from "../db/schema/evaluations.ts";
import type { JobRow } from "../training/jobs/model.ts";
import { listSamples } from "../training/metrics/service.ts";
import { MAX_ROWS } from "./model.ts";

/** A run whose answers are compared; `evaluationJob` is its finished evaluation. */
interface RunRef {
  job: JobRow & { spec: TrainSpec };
  evaluationJob: string | null;
}

interface RunAnswer {
  output: string;
  /** Null: samples of a training are not scored. */
  exact: boolean | null;
}

export interface SharedRow {
  rowId: number;
  prompt: { role: string; content?: unknown }[];
  expected: string;
  /** By run; null for a run that has not answered the row. */
  answers: (RunAnswer | null)[];
}

export interface SharedAnswers {
  source: "evaluations" | "samples";
  rows: SharedRow[];
  /** `after` of the next page; null on the last. */
  next: number | null;
}

interface Page {
  /** Only rows that one model answered correctly and another did not. */
  mixed: boolean;
  after?: number | null;
  limit: number;
}

/** The largest group of runs with the same key, as places in the list; runs without a key are in no group. */
function largestGroup(keys: readonly (string | null)[]): number[] {
  const places = keys.flatMap((key, place) => (key === null ? [] : [{ key, place }]));
  const groups = [...Map.groupBy(places, ({ key }) => key).values()].sort((a, b) => b.length - a.length);
  return (groups[0] ?? []).map(({ place }) => place);
}

/**
 * Rows that at least two of the runs answered, in order of row id. Evaluations of the same dataset version are
 * preferred; else the newest samples of trainings with the same validation data. Null when no runs share rows.
 */
export async function sharedAnswers(
  ctx: Ctx,
  actor: Actor,
  runs: readonly RunRef[],
  page: Page,
): Promise<SharedAnswers | null> {
  const ids = runs.flatMap(({ evaluationJob }) => evaluationJob ?? []);
  const found = await ctx.db
    .select({ jobId: evaluation.jobId, versionId: evaluation.versionId })
    .from(evaluation)
    .where(and(eq(evaluation.org, actor.org), inArray(evaluation.jobId, ids)));
  const versions = new Map(found.map(({ jobId, versionId }) => [jobId, versionId]));
  const evaluated = largestGroup(runs.map((run) => versions.get(run.evaluationJob ?? "") ?? null));
  if (evaluated.length > 1) return evaluatedRows(ctx, runs, evaluated, page);
  const same = largestGroup(runs.map(({ job }) => validationData(job.spec)?.version_id ?? null));
  return same.length > 1 ? sampledRows(ctx, runs, same, page) : null;
}

async function evaluatedRows(ctx: Ctx, runs: readonly RunRef[], places: number[], page: Page): Promise<SharedAnswers> {
  const jobs = places.flatMap((place) => runs[place]?.evaluationJob ?? []);
  const ofRuns = and(inArray(answer.jobId, jobs), eq(answer.side, "tuned"));
  const mixed = page.mixed ? sql` and min(${answer.exact}) <> max(${answer.exact})` : sql``;
  const picked = await ctx.db
    .select({ id: answer.rowId })
    .from(answer)
    .where(and(ofRuns, typeof page.after === "number" ? gt(answer.rowId, page.after) : undefined))
    .groupBy(answer.rowId)
    .having(sql`count(*) > 1${mixed}`)
    .orderBy(answer.rowId)
    .limit(page.limit + 1);
  const shown = picked.slice(0, page.limit).map(({ id }) => id);
  const answers = await ctx.db
    .select()
    .from(answer)
    .where(and(ofRuns, inArray(answer.rowId, shown)));
  const byRow = Map.groupBy(answers, ({ rowId }) => rowId);
  const rows = shown.flatMap((rowId): SharedRow[] => {
    const given = byRow.get(rowId) ?? [];
    const [first] = given;
    if (!first) return [];
    const byJob = new Map(given.map(({ jobId, output, exact }) => [jobId, { output, exact }]));
    return [
      {
        rowId,
        prompt: first.prompt,
        expected: first.expected,
        answers: runs.map((run, place) =>
          places.includes(place) ? (byJob.get(run.evaluationJob ?? "") ?? null) : null,
        ),
      },
    ];
  });
  return { source: "evaluations", rows, next: picked.length > page.limit ? (shown.at(-1) ?? null) : null };
}

/** The newest sample of every row that at least two runs have. */
async function sampledRows(
  ctx: Ctx,
  runs: readonly RunRef[],
  places: number[],
  page: Page,
): Promise<SharedAnswers | null> {
  const samples = await Promise.all(
    runs.map(async ({ job }, place) => {
      const list = places.includes(place) ? await listSamples(ctx, job.id) : [];
      return new Map(list.map((sample) => [sample.row_id, sample]));
    }),
  );
  const shared = [...new Set(samples.flatMap((one) => [...one.keys()]))]
    .filter((id) => samples.filter((one) => one.has(id)).length > 1)
    .sort((a, b) => a - b);
  if (shared.length === 0) return null;
  const rest = shared.filter((id) => id > (page.after ?? -1));
  const shown = rest.slice(0, page.limit);
  const rows = shown.flatMap((rowId): SharedRow[] => {
    const given = samples.map((one) => one.get(rowId) ?? null);
    const first = given.find((sample) => sample !== null);
    if (!first) return [];
    const answers = given.map((sample) => sample && { output: sample.output, exact: null });
    return [{ rowId, prompt: first.prompt, expected: first.expected, answers }];
  });
  return { source: "samples", rows, next: rest.length > page.limit ? (shown.at(-1) ?? null) : null };
}

const left = alias(answer, "left_answer");
const right = alias(answer, "right_answer");

/**
 * Whether the fine-tuned models of two evaluations answered each shared row exactly; empty when the evaluations are of
 * different dataset versions.
 * @param jobs evaluation jobs of the actor's organization
 */
export async function sharedExact(ctx: Ctx, jobs: readonly [string, string]): Promise<[boolean, boolean][]> {
  const found = await ctx.db
    .select({ versionId: evaluation.versionId })
    .from(evaluation)
    .where(inArray(evaluation.jobId, [...jobs]));
  if (new Set(found.map(({ versionId }) => versionId)).size !== 1) return [];
  const rows = await ctx.db
    .select({ left: left.exact, right: right.exact })
    .from(left)
    .innerJoin(right, and(eq(right.rowId, left.rowId), eq(right.jobId, jobs[1]), eq(right.side, "tuned")))
    .where(and(eq(left.jobId, jobs[0]), eq(left.side, "tuned")))
    .orderBy(left.rowId)
    .limit(MAX_ROWS);
  return rows.map((row) => [row.left, row.right]);
}
