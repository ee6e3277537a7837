/** Plans a sweep: its trials, each planned as a training job, with their total time and cost. Changes nothing. */

import { usdOf } from "../../billing/meters/money.ts";
import { chargeOf, isFree } from "../../billing/prices/charge.ts";
import type { Strategy, SweepRequest, TrialValues } from "../../contract/sweep.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { warmupSteps } from "../plan/learning-rate.ts";
import type { TrainPlan } from "../plan/plan.ts";
import { parseTrainRequest } from "../plan/request.ts";
import { planTrainJob } from "../plan/service.ts";
import { rungCount, rungsOf } from "./halving.ts";
import { type CreateSweep, MAX_TRIALS, type PlannedTrial, type SweepPlan } from "./model.ts";
import { gridSize, trialsOf } from "./space.ts";

/** The training request of a trial: the shared request with the trial's values, and evaluations at its rungs. */
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

/** The name of a sweep, made from its training or its fields when it has none. */
const nameOf = (body: CreateSweep) =>
  (body.name || body.training.name || `Sweep of ${Object.keys(body.space).join(", ")}`).slice(0, 120);

type Planned = SweepPlan & { request: SweepRequest };

/** Metric and direction: as requested, or chosen by the method and data of the first trial. */
function comparedBy(body: CreateSweep, plan: TrainPlan): Pick<SweepRequest, "metric" | "direction"> {
  const { method, schedule } = plan.spec;
  const validated = schedule.eval_rows > 0;
  const metric =
    body.metric ??
    (method.type === "grpo" ? (validated ? "eval/reward" : "train/reward") : validated ? "eval/loss" : "train/loss");
  if (metric.startsWith("eval/") && !validated)
    throw new AppError(
      "invalid",
      "no_holdout_rows",
      `This data has no validation rows, so there is no ${metric}. Compare by train/loss, or create a version with a validation split.`,
      { param: "metric" },
    );
  return { metric, direction: body.direction ?? (/loss|perplexity/.test(metric) ? "min" : "max") };
}

/** @throws AppError `priority_too_high`, `too_many_trials` */
function requireAllowed(actor: Actor, { space, strategy, training }: CreateSweep): void {
  if (typeof training.priority === "number" && training.priority > 0 && actor.role !== "admin")
    throw new AppError(
      "forbidden",
      "priority_too_high",
      "Only administrators set priorities above 0. Use -100 to 0, or ask an administrator.",
      { param: "training.priority" },
    );
  const size = strategy.type === "grid" ? gridSize(space) : strategy.trials;
  if (size > MAX_TRIALS)
    throw new AppError(
      "invalid",
      "too_many_trials",
      `This sweep would have ${size} trials; the limit is ${MAX_TRIALS}. Use fewer values, or random draws.`,
      { param: "space" },
    );
}

/** The plan of a trial, or why it is refused. */
type TrialPlan = { plan: TrainPlan; refused: null } | { plan: null; refused: AppError };

/** @param offers whether the plan includes the offers of providers, which cost time to ask for */
async function planTrial(
  ctx: Ctx,
  actor: Actor,
  request: Record<string, unknown>,
  offers: boolean,
): Promise<TrialPlan> {
  try {
    const plan = await planTrainJob(ctx, actor, parseTrainRequest(request), { offers });
    if (!plan.ready)
      throw new AppError("conflict", "dataset_not_ready", "The data is still being validated. Try again in a moment.", {
        param: "training.training_file",
      });
    return { plan, refused: null };
  } catch (error) {
    if (!(error instanceof AppError) || !["invalid", "unprocessable"].includes(error.kind)) throw error;
    return { plan: null, refused: error };
  }
}

/**
 * Plans every trial. A refused trial says why and does not affect the others.
 * @throws AppError when there are too many trials, or none that can be trained
 */
export async function planSweep(ctx: Ctx, actor: Actor, body: CreateSweep): Promise<Planned> {
  requireAllowed(actor, body);
  const { space, strategy, training, parallel } = body;
  const all = trialsOf(space, strategy);
  const base = { training: { ...training }, name: nameOf(body), metric: "" };
  const plans: TrialPlan[] = [];
  let priced: TrainPlan | null = null;
  for (const [n, values] of all.entries()) {
    const planned = await planTrial(ctx, actor, trainingOf(base, n + 1, values), priced === null);
    priced ??= planned.plan;
    plans.push(planned);
  }
  if (!priced)
    throw (
      plans[0]?.refused ?? new AppError("invalid", "no_trials", "The sweep has no values to vary.", { param: "space" })
    );
  const compared = comparedBy(body, priced);
  const accepted = plans.filter(({ plan }) => plan).length;
  const rungs = strategy.type === "halving" ? rungCount(accepted, strategy.eta) : 0;
  // The same share for all trials, so that each rung is at the same part of every trial.
  const warmup = Math.max(...plans.map(({ plan }) => (plan ? warmupSteps(plan.spec) / plan.steps : 0)));
  const trials = plans.map(
    ({ plan, refused }, n): PlannedTrial => ({
      number: n + 1,
      values: all[n] ?? {},
      refused: refused?.message ?? null,
      steps: plan?.steps ?? null,
      seconds_range: plan?.secondsRange ?? null,
      memory_mb: plan?.memoryMb ?? null,
      rungs: plan && strategy.type === "halving" ? rungsOf(plan.steps, rungs, strategy.eta, warmup * plan.steps) : [],
    }),
  );
  return {
    object: "sweep.plan",
    ...compared,
    trials,
    refused: all.length - accepted,
    ...totalsOf(trials, plans, priced, strategy),
    max_cost_usd: body.max_cost_usd ?? null,
    request: { ...base, ...compared, space, strategy, parallel },
  };
}

/**
 * Time and cost of all trials. The upper bound trains each to the end; with halving, the lower bound stops all but the
 * best at every rung.
 */
function totalsOf(
  trials: PlannedTrial[],
  plans: TrialPlan[],
  priced: TrainPlan,
  strategy: Strategy,
): Pick<SweepPlan, "seconds_range" | "cost_range_usd" | "cost_usd"> {
  const known = trials.filter((one) => one.seconds_range);
  const free = isFree(priced.lists);
  if (known.length === 0) return { seconds_range: null, cost_range_usd: null, cost_usd: free ? [0, 0] : null };
  const share = (one: PlannedTrial) => {
    if (strategy.type !== "halving" || !one.rungs.length || !one.steps) return 1;
    // At each rung one trial in eta continues. This sums the fraction of its steps that an average trial runs.
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
  const best = priced.offers?.find((offer) => offer.fits);
  if (!best) return { seconds_range: [low, high], cost_range_usd: null, cost_usd: free ? [0, 0] : null };
  const tokensOf = (one: PlannedTrial) => plans[one.number - 1]?.plan?.tokens ?? 0;
  const fewest = known.reduce((sum, one) => sum + tokensOf(one) * share(one), 0);
  const most = known.reduce((sum, one) => sum + tokensOf(one), 0);
  const cost = (seconds: number) => (seconds / 3600) * best.pricePerHour;
  const charge = (seconds: number, tokens: number) => usdOf(chargeOf(priced.lists, best.work, seconds, tokens));
  return {
    seconds_range: [low, high],
    cost_range_usd: [cost(low), cost(high)],
    cost_usd: [charge(low, fewest), charge(high, most)],
  };
}
