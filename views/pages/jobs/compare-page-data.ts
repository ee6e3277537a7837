/** Loads the data of the comparison of runs: curves, results, verdict, shared answers, and runs that can be added. */
import { usageOfJob } from "../../../src/billing/ledger/service.ts";
import { isEvaluateResult } from "../../../src/contract/job.ts";
import { type EvaluateResult, type TrainSpec, validationData } from "../../../src/contract/spec.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { bestTwo, type RunScore, runVerdict } from "../../../src/evaluation/run-verdict.ts";
import { type SharedAnswers, sharedAnswers, sharedExact } from "../../../src/evaluation/runs.ts";
import { listJobs } from "../../../src/training/jobs/list.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { getJob } from "../../../src/training/jobs/store.ts";
import type { SeriesReply } from "../../../src/training/metrics/model.ts";
import { readSeries } from "../../../src/training/metrics/service.ts";
import { evaluationOf } from "./page-data.ts";

export interface ComparedRun {
  job: JobRow & { spec: TrainSpec };
  series: SeriesReply;
  evaluation: EvaluateResult | null;
  /** The evaluation job of `evaluation`. */
  evaluationJob: string | null;
  costUsd: number | null;
}

export interface CompareProps {
  runs: ComparedRun[];
  note: string | null;
  /** Null with fewer than two runs. */
  verdict: string | null;
  answers: SharedAnswers | null;
  /** Recent runs that can be added; empty when the comparison is full. */
  more: { id: string; name: string; state: JobRow["state"] }[];
}

const COLORS = [1, 3, 4, 6, 5, 2] as const;
/** Maximum number of runs in a comparison: one per color. */
const MAX_RUNS = COLORS.length;
/** Recent runs offered to add. */
const OFFERED = 50;
/** Rows of answers on a page. */
const ROWS = 10;

export const colorOf = (place: number) => COLORS[place] ?? 1;

/** The validation metric of a run's model: of the best checkpoint where that one is loaded, else of the last. */
function scoreOf({ job, series }: ComparedRun): RunScore {
  const { spec } = job;
  const reward = spec.method.type === "grpo";
  const metric = reward ? "eval/reward" : "eval/loss";
  const found = series.series[metric];
  const measured = (found?.points ?? []).flatMap(([, value]) => value ?? []);
  const best = measured.length ? (reward ? Math.max(...measured) : Math.min(...measured)) : null;
  const value = spec.hyperparameters.keep_best ? best : (found?.last_value ?? null);
  const basis = `${validationData(spec)?.version_id} ${spec.base_model.id} ${spec.method.type}`;
  return { name: job.name, metric, value, basis };
}

async function verdictOf(ctx: Ctx, runs: ComparedRun[]): Promise<string | null> {
  if (runs.length < 2) return null;
  const scores = runs.map(scoreOf);
  const [best, next] = (bestTwo(scores) ?? []).map((place) => runs[place]?.evaluationJob);
  return runVerdict(scores, best && next ? await sharedExact(ctx, [best, next]) : []);
}

/** The training jobs among `ids`, at most `MAX_RUNS`. `mixed`: only answers of which some are correct and some not. */
export async function compareProps(
  ctx: Ctx,
  actor: Actor,
  ids: string[],
  page: { mixed: boolean; after: number | null },
): Promise<CompareProps> {
  const jobs = await Promise.all(ids.slice(0, MAX_RUNS).map((id) => getJob(ctx, actor, id)));
  const trained = jobs.filter((job): job is JobRow & { spec: TrainSpec } => job.spec.kind === "train");
  const runs = await Promise.all(
    trained.map(async (job): Promise<ComparedRun> => {
      const [series, found, usage] = await Promise.all([
        readSeries(ctx, job.id, { maxPoints: 500 }),
        evaluationOf(ctx, actor, job, "succeeded"),
        usageOfJob(ctx, actor, job.id),
      ]);
      const evaluation = isEvaluateResult(found?.result) ? found.result : null;
      const costUsd = usage.durationMs > 0 ? usage.costUsd : null;
      return { job, series, evaluation, evaluationJob: evaluation ? (found?.id ?? null) : null, costUsd };
    }),
  );
  const recent = await listJobs(ctx, actor, { kind: "train", limit: OFFERED });
  return {
    runs,
    note: noteOf(ids.length, trained.length < jobs.length),
    verdict: await verdictOf(ctx, runs),
    answers: runs.length > 1 ? await sharedAnswers(ctx, actor, runs, { ...page, limit: ROWS }) : null,
    more: runs.length < MAX_RUNS ? recent.filter(({ id }) => !runs.some(({ job }) => job.id === id)) : [],
  };
}

function noteOf(asked: number, omitted: boolean): string | null {
  if (asked > MAX_RUNS) return `A comparison has at most ${MAX_RUNS} runs; the first ${MAX_RUNS} are shown.`;
  if (omitted) return "Only training jobs can be compared; other jobs were omitted.";
  return asked === 1 ? "A comparison needs at least two runs. Add a second one." : null;
}
