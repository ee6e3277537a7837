/** Plans with the queue in mind: the wait for each offer, and which of them the burst policy would choose, and why. */
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { burstInForce } from "../jobs/placement.ts";
import type { PlannedOffer } from "../plan/offers.ts";
import type { TrainPlan } from "../plan/plan.ts";
import type { TrainRequest } from "../plan/request.ts";
import { planTrainJob } from "../plan/service.ts";
import { decideBurst, type Option, ownNoun } from "../scheduler/burst.ts";
import { predictGently } from "../scheduler/forecast.ts";
import { type Input, type Job, shapeOf } from "../scheduler/types.ts";
import { newestRound } from "./forecasts.ts";
import { ownInput, waitSeconds } from "./own-wait.ts";

/** Most offers of a plan. */
const MAX_OFFERS = 12;
/** The job that a plan adds to the queue. */
const PLANNED = "planned";
/** How long a forecast is used, and how many are kept. */
const FRESH_MS = 5000;
const MAX_PLANNED = 32;

type PlannedRun = Pick<TrainPlan, "spec" | "secondsRange">;
const plannedOf = perContext(() => new Map<string, { at: number; found: Promise<number | null> }>());

/** The planned run as a job that waits in the current queue. */
function plannedJob(input: Input, actor: Actor, run: PlannedRun, request: TrainRequest): Job {
  const { gpus, gpu_memory_mb: gpuMemoryMb, cpus, memory_mb: memoryMb, provider } = run.spec.need;
  const wants = { gpus, gpuMemoryMb, cpus, memoryMb, provider };
  const [low, high] = run.secondsRange ?? [0, null];
  return {
    id: PLANNED,
    team: actor.org,
    kind: "train",
    priority: request.priority ?? 0,
    queuedAt: input.now,
    startAfter: null,
    retryAt: 0,
    window: null,
    deadline: null,
    wants,
    estimate: { low: low * 1000, high: high === null ? null : high * 1000 },
    shape: shapeOf("train", wants),
    begun: false,
    ending: false,
    noRent: false,
  };
}

async function predictPlanned(ctx: Ctx, actor: Actor, run: PlannedRun, request: TrainRequest) {
  const { input, round } = await newestRound(ctx);
  const one = plannedJob(input, actor, run, request);
  const known = input.teams.some(({ id }) => id === actor.org);
  const team = { id: actor.org, weight: 1, used: 0, maxGpus: null, monthGpuHours: null, usedThisMonth: 0 };
  const own = ownInput(input);
  const teams = known ? own.teams : [...own.teams, team];
  // At the front, so that it is forecast however long the queue is; the scheduler decides the order.
  const queue = { ...own, queued: [...own.queued, one], teams };
  const found = await predictGently(queue, [PLANNED, ...round.order], () => Bun.sleep(0));
  return waitSeconds(found.get(PLANNED), input.now);
}

/** Predicted seconds until own machines are free for a planned run; null = unknown. Kept for a few seconds. */
function plannedWait(ctx: Ctx, actor: Actor, run: PlannedRun, request: TrainRequest): Promise<number | null> {
  const planned = plannedOf(ctx);
  const key = JSON.stringify([actor.org, run.spec.need, run.secondsRange, request.priority ?? 0]);
  const now = ctx.clock.monotonic();
  const before = planned.get(key);
  if (before && now - before.at < FRESH_MS) return before.found;
  const found = predictPlanned(ctx, actor, run, request);
  planned.delete(key);
  planned.set(key, { at: now, found });
  for (const old of planned.keys()) if (planned.size > MAX_PLANNED) planned.delete(old);
  found.catch(() => planned.delete(key));
  return found;
}

/** Seconds until an offer could be used. Own machines of the inventory have the forecast of the queue. */
function waitOf(ctx: Ctx, { provider, rented, available }: PlannedOffer, forecast: number | null): number | null {
  if (rented) return available ? 0 : null;
  const entry = ctx.compute.get(provider);
  const inventory = entry?.plugin.kind === "process" || entry?.provider.hosts !== undefined;
  return inventory ? forecast : available ? 0 : null;
}

function optionOf(one: PlannedOffer, waitS: number | null): Option {
  const { rented, title, market, machine, available } = one;
  const busy = rented && !available ? `no capacity at ${title} now` : null;
  return {
    rented,
    title,
    spot: market === "spot",
    machine,
    waitS,
    seconds: one.totalSeconds,
    usd: one.totalUsd ?? 0,
    out: one.fits ? (one.out ?? busy) : "the run does not fit",
  };
}

/** One offer for equal machines of a provider at one price: the chosen one, else the first. */
function joinEqual(offers: readonly PlannedOffer[]): PlannedOffer[] {
  const groups = Map.groupBy(offers, (one) => {
    const { rented, machine, market, pricePerHour, memoryMb, fits, out, available } = one;
    return rented ? JSON.stringify([machine, market, pricePerHour, memoryMb, fits, out, available]) : one;
  });
  return [...groups.values()].map((equal) => {
    const shown = equal.find(({ chosen }) => chosen) ?? (equal[0] as PlannedOffer);
    return { ...shown, alsoIn: equal.flatMap((one) => (one === shown ? [] : [one.location])) };
  });
}

/** The plan with the wait for each offer, and with what the burst policy decides. */
async function withBurst(ctx: Ctx, actor: Actor, request: TrainRequest, plan: TrainPlan): Promise<TrainPlan> {
  if (plan.offers === null) return plan;
  const policy = await burstInForce(ctx, ctx.db, { org: actor.org, burst: request.burst ?? null });
  const own = plan.offers.some(({ rented, fits }) => !rented && fits);
  const forecast = own ? await plannedWait(ctx, actor, plan, request) : null;
  const waits = new Map(plan.offers.map((one) => [one, waitOf(ctx, one, forecast)]));
  // Nothing is decided while an own machine may be missing.
  const heard = own || plan.unanswered.length === 0;
  const counted = heard && plan.offers.length > 0 && plan.offers.every(({ totalUsd }) => totalUsd !== null);
  const options = new Map(plan.offers.map((one) => [one, optionOf(one, waits.get(one) ?? null)]));
  const noun = ownNoun(plan.spec.need.gpus);
  const decision = counted ? decideBurst(policy, [...options.values()], noun) : null;
  const offers = plan.offers.map((one): PlannedOffer => {
    const option = options.get(one) as Option;
    const chosen = decision !== null && decision.chosen === option;
    return { ...one, waitS: option.waitS, chosen, notChosen: decision?.others.get(option) ?? null };
  });
  const shown = joinEqual(offers).filter((one, at) => at < MAX_OFFERS || one.chosen);
  if (decision === null) return { ...plan, offers: shown, burst: null };
  const { leaves, chosen, why } = decision;
  const text = leaves
    ? `Would leave for ${chosen?.title}: ${why}`
    : chosen?.waitS === 0
      ? `Would start on ${noun} now`
      : `Would wait for ${noun}: ${why}`;
  return { ...plan, offers: shown, burst: { policy, leaves, why: text } };
}

/**
 * Plans a run with the wait for each offer and what its burst policy would decide. Changes nothing.
 * @throws AppError with `param`, the invalid field of the request
 */
export const planInQueue = async (ctx: Ctx, actor: Actor, request: TrainRequest): Promise<TrainPlan> =>
  withBurst(ctx, actor, request, await planTrainJob(ctx, actor, request));
