/**
 * What a sweep would do: its trials, each planned as the job it would be, and what they take together. Changes nothing.
 */
import type { SweepRequest, TrialValues } from "../../contract/sweep.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import type { TrainPlan } from "../plan/plan.ts";
import { parseTrainRequest } from "../plan/request.ts";
import { planTrainJob } from "../plan/service.ts";
import { rungCount, rungsOf } from "./halving.ts";
import { type CreateSweep, MOST_TRIALS, type PlannedTrial, type SweepPlan } from "./model.ts";
import { gridSize, trialsOf } from "./space.ts";

/**
 * What a trial's job is asked for: the request of all, with the trial's values, and evaluations where its rungs need
 * them.
 */
export function trainingOf(
  request: Pick<SweepRequest, "training" | "name" | "metric">,
  number: number,
  values: TrialValues,
  rungs: readonly number[] = [],
): Record<string, unknown> {
  const { training, name, metric } = request;
  const open = (field: string) =>
    training[field] === undefined || training[field] === null || training[field] === "auto";
  const [first] = rungs;
  const described = Object.entries(values).map(([field, value]) => `${field} ${value}`);
  return {
    evaluate_after: false,
    ...training,
    ...(first && metric.startsWith("eval/") && open("eval_every") ? { eval_every: first } : {}),
    ...(first && open("save_every") ? { save_every: first } : {}),
    ...values,
    name: `${name} ${number}: ${described.join(", ")}`.slice(0, 200),
  };
}

/** The name a sweep has when nobody gave it one. */
const nameOf = (body: CreateSweep) =>
  (body.name || body.training.name || `Sweep of ${Object.keys(body.space).join(", ")}`).slice(0, 120);

interface Planned extends SweepPlan {
  request: SweepRequest;
}

/** Metric and direction: as asked for, or by what the first trial learns. */
function comparedBy(body: CreateSweep, plan: TrainPlan): Pick<SweepRequest, "metric" | "direction"> {
  const { method, dataset, validation } = plan.spec;
  const held = dataset.holdout_rows > 0 || validation !== null;
  const metric =
    body.metric ??
    (method.type === "grpo" ? (held ? "eval/reward" : "train/reward") : held ? "eval/loss" : "train/loss");
  if (metric.startsWith("eval/") && !held)
    throw new AppError(
      "invalid",
      "no_holdout_rows",
      `This data has no held-out rows, so there is no ${metric}. Compare by train/loss, or make a version with a hold-out share.`,
      { param: "metric" },
    );
  return { metric, direction: body.direction ?? (/loss|perplexity/.test(metric) ? "min" : "max") };
}

/**
 * Plans every trial. One that is refused says why; the others go on.
 * @throws AppError when there would be too many, or none that can be trained
 */
export async function planSweep(ctx: Ctx, actor: Actor, body: CreateSweep): Promise<Planned> {
  const { space, strategy, training } = body;
  if (typeof training.priority === "number" && training.priority > 0 && actor.role !== "admin")
    throw new AppError(
      "forbidden",
      "priority_too_high",
      "Priorities above 0 are given by administrators. Use -100 to 0, or ask one.",
      {
        param: "training.priority",
      },
    );
  const size = strategy.type === "grid" ? gridSize(space) : strategy.trials;
  if (size > MOST_TRIALS)
    throw new AppError(
      "invalid",
      "too_many_trials",
      `This would be ${size} trials, more than ${MOST_TRIALS}. Name fewer values, or draw some at random.`,
      { param: "space" },
    );
  const all = trialsOf(space, strategy);
  const base = { training: { ...training }, name: nameOf(body), metric: "" };
  const plans: { plan: TrainPlan | null; refused: AppError | null }[] = [];
  let priced: TrainPlan | null = null;
  for (const [n, values] of all.entries()) {
    try {
      const plan = await planTrainJob(ctx, actor, parseTrainRequest(trainingOf(base, n + 1, values)), {
        offers: priced === null,
      });
      if (!plan.ready)
        throw new AppError("conflict", "dataset_not_ready", "The data is still being checked. Try again in a moment.", {
          param: "training.training_file",
        });
      priced ??= plan;
      plans.push({ plan, refused: null });
    } catch (error) {
      if (!(error instanceof AppError) || !["invalid", "unprocessable"].includes(error.kind)) throw error;
      plans.push({ plan: null, refused: error });
    }
  }
  if (!priced)
    throw plans[0]?.refused ?? new AppError("invalid", "no_trials", "There is nothing to try.", { param: "space" });
  const compared = comparedBy(body, priced);
  const request: SweepRequest = { ...base, ...compared, space: body.space, strategy, parallel: body.parallel };
  const going = plans.filter(({ plan }) => plan).length;
  const rungs = strategy.type === "halving" ? rungCount(going, strategy.eta) : 0;
  const trials = plans.map(
    ({ plan, refused }, n): PlannedTrial => ({
      number: n + 1,
      values: all[n] ?? {},
      refused: refused?.message ?? null,
      steps: plan?.steps ?? null,
      seconds_range: plan?.secondsRange ?? null,
      memory_mb: plan?.memoryMb ?? null,
      rungs: plan && strategy.type === "halving" ? rungsOf(plan.steps, rungs, strategy.eta) : [],
    }),
  );
  return {
    object: "sweep.plan",
    ...compared,
    trials,
    refused: all.length - going,
    ...together(trials, priced, request),
    request,
  };
}

/** Time and cost of all trials: each to its end, or with halving at least as if every rung left its best at once. */
function together(
  trials: PlannedTrial[],
  priced: TrainPlan,
  { strategy }: SweepRequest,
): Pick<SweepPlan, "seconds_range" | "cost_range_usd"> {
  const known = trials.filter((one) => one.seconds_range);
  if (known.length === 0) return { seconds_range: null, cost_range_usd: null };
  const share = (one: PlannedTrial) => {
    if (strategy.type !== "halving" || !one.rungs.length || !one.steps) return 1;
    // Of eta trials one goes on at each rung: what an average trial runs of its steps.
    let [left, done, before] = [1, 0, 0];
    for (const rung of [...one.rungs, one.steps]) {
      done += (left * (rung - before)) / one.steps;
      before = rung;
      left /= strategy.eta;
    }
    return done;
  };
  const low = known.reduce((sum, one) => sum + (one.seconds_range?.[0] ?? 0) * share(one), 0);
  const high = known.reduce((sum, one) => sum + (one.seconds_range?.[1] ?? 0), 0);
  const price = priced.offers?.find((offer) => offer.fits)?.pricePerHour ?? null;
  const cost = (seconds: number) => (seconds / 3600) * (price ?? 0);
  return { seconds_range: [low, high], cost_range_usd: price === null ? null : [cost(low), cost(high)] };
}
