/**
 * The offers for a planned run: every machine that providers offer, whether the run fits on it, and its time and cost;
 * and what other work costs on them.
 */

import { usdOf } from "../../billing/meters/money.ts";
import { chargeOf, chargeRange, isFree, type Work } from "../../billing/prices/charge.ts";
import { type Lists, listsAt } from "../../billing/prices/lists.ts";
import { refusalOf } from "../../compute/limits/check.ts";
import { limitsOf, ownGpuCosts, useOf } from "../../compute/limits/service.ts";
import type { Market, Offer } from "../../contract/provider.ts";
import type { JobSpec, Need, TrainSpec } from "../../contract/spec.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { sortedBy } from "../../lib/sorted.ts";
import { preemptionRates } from "../jobs/preemptions.ts";
import { keptHere } from "../jobs/stays-local.ts";
import { machineOf } from "../scheduler/burst.ts";
import { totalCost } from "../scheduler/total-cost.ts";
import { hardwareOf, type PastRun } from "./history.ts";
import type { MemoryPlan } from "./memory.ts";
import type { Suggestion } from "./suggestions.ts";
import { estimateSeconds, expectedSpeed, secondsRange } from "./throughput.ts";

/** How long a plan waits for providers; slower ones are listed as unanswered. */
const ANSWER_TIMEOUT_MS = 1500;
/** How long offers are cached: a form asks again with every change. */
const CACHE_MS = 30_000;

/** One machine for a planned run. Memory in MiB of the device that computes: main memory, or one GPU. */
export interface PlannedOffer {
  provider: string;
  title: string;
  location: string;
  gpus: number;
  gpuName: string | null;
  cpus: number;
  memoryMb: number;
  neededMb: number;
  fits: boolean;
  /** Available now. */
  available: boolean;
  startsInS: number;
  /** What the provider charges, in USD. */
  pricePerHour: number;
  /**
   * Expected preemptions per hour, and what the machine costs in all with the work that they repeat: what the provider
   * charges, or what own GPUs cost the installation; null while the tokens are not counted.
   */
  preemptionsPerHour: number;
  totalUsd: number | null;
  /** Range from launch to end; null while the tokens are not counted. */
  seconds: [low: number, high: number] | null;
  /** What the provider charges for that time. */
  costUsd: [low: number, high: number] | null;
  /** What the organization is charged, before free allowances. */
  chargeUsd: [low: number, high: number] | null;
  /** The run on this machine, as it is metered. */
  work: Work;
  basis: "history" | "default";
  /** Finished runs that the time estimate is based on. */
  runs: number;
  /** The smallest change that makes the run fit on this machine. */
  suggestion: Suggestion | null;
  /** Why it may not be used now: limits of the provider or of the job; null = it may. */
  out: string | null;
  market: Market;
  region: string | null;
  /** Other places with an equal machine at the same price; they are not listed apart. */
  alsoIn: string[];
  /** Its provider charges for it. */
  rented: boolean;
  /** What the own GPUs that the run uses cost the installation in an hour, in USD; 0 for rented ones. */
  ownCostPerHour: number;
  /** See `machineOf`. */
  machine: string;
  /** Expected preemptions of the run, and its seconds with what they repeat; null while the tokens are not counted. */
  preemptions: number | null;
  totalSeconds: number | null;
  /** Predicted seconds until it could be used; null = unknown. */
  waitS: number | null;
  /** The burst policy would choose it; otherwise why not, null while that is not decided. */
  chosen: boolean;
  notChosen: string | null;
}

/** `out`: why the offer may not be used now, as a launch would find it; null = it may. */
type Found = { provider: string; title: string; offer: Offer; out: string | null };
/** Cached answers by provider and need. */
const answersOf = perContext(() => new Map<string, { since: number; value: Promise<Offer[] | null> }>());

/**
 * A provider's offers; null when it fails or takes too long. Concurrent calls share one request and its timeout.
 */
function askProvider(ctx: Ctx, id: string, need: Need, ask: () => Promise<Offer[]>): Promise<Offer[] | null> {
  const answers = answersOf(ctx);
  const key = `${id} ${need.gpus} ${need.cpus}`;
  const now = ctx.clock.monotonic();
  let cached = answers.get(key);
  if (!cached || now - cached.since > CACHE_MS) {
    const value = ask().catch(() => {
      answers.delete(key);
      return null;
    });
    cached = { since: now, value };
    answers.set(key, cached);
  }
  const late = Bun.sleep(Math.max(1, ANSWER_TIMEOUT_MS - (now - cached.since))).then(() => null);
  return Promise.race([cached.value, late]);
}

/** All offers with the GPUs and CPU cores of a need, whatever memory and price, and providers that did not answer. */
export async function collectOffers(ctx: Ctx, need: Need): Promise<{ found: Found[]; unanswered: string[] }> {
  const found: Found[] = [];
  const unanswered: string[] = [];
  const anyMemory = { ...need, memory_mb: 1, gpu_memory_mb: 1, disk_mb: 1, max_price_per_hour: null };
  const entries = ctx.compute.list().filter(({ plugin }) => !need.provider || plugin.id === need.provider);
  await Promise.all(
    entries.map(async ({ plugin, provider }) => {
      const offers = await askProvider(ctx, plugin.id, need, async () => provider.offers(anyMemory));
      if (offers === null) {
        unanswered.push(plugin.title);
        return;
      }
      const { id, title } = plugin;
      const limits = await limitsOf(ctx.db, id);
      const use = await useOf(ctx.db, id, ctx.clock.now());
      const job = { maxPricePerHour: need.max_price_per_hour };
      for (const offer of offers)
        found.push({ provider: id, title, offer, out: refusalOf(title, offer, limits, use, job) });
    }),
  );
  return { found, unanswered: unanswered.sort() };
}

/** The names of the GPUs that providers offer at the moment; what does not answer in time has none. */
export async function offeredGpus(ctx: Ctx): Promise<string[]> {
  const need = { gpus: 1, gpu_memory_mb: 1, cpus: 1, memory_mb: 1, disk_mb: 1 };
  const { found } = await collectOffers(ctx, { ...need, provider: null, max_price_per_hour: null });
  return [...new Set(found.flatMap(({ offer }) => offer.gpuName ?? []))];
}

/** A run on an offer, as it is metered. */
const workOn = (
  { need, base_model: base }: Pick<JobSpec, "need" | "base_model">,
  provider: string,
  offer: Offer,
): Work => ({
  provider,
  gpus: offer.gpus,
  gpuModel: offer.gpuName,
  cores: Math.ceil(need.cpus),
  model: base.id,
  pricePerHour: offer.pricePerHour,
  endpoint: null,
});

/** What offers are compared with. */
interface OfferContext {
  memory: MemoryPlan;
  tokens: number | null;
  /** The prices that apply. */
  lists: Lists;
  past: readonly PastRun[];
  /** Main memory of this machine that jobs may use, in MiB. */
  machineMb: number;
  /** The smallest change that makes the run fit into `roomMb`. */
  suggest: (roomMb: number) => Suggestion | null;
}

/**
 * Offers for a plan: those it fits on first, then by predicted total cost and time; and the titles of providers that
 * did not answer in time.
 */
export async function planOffers(
  ctx: Ctx,
  spec: TrainSpec,
  { memory, tokens, lists, past, machineMb, suggest }: OfferContext,
): Promise<{ offers: PlannedOffer[]; unanswered: string[] }> {
  const { need } = spec;
  const { found, unanswered } = await collectOffers(ctx, need);
  const isHere = ({ provider, offer }: { provider: string; offer: Offer }) =>
    offer.local ?? ctx.compute.get(provider)?.plugin.capabilities.local ?? false;
  const onlyHere = (await keptHere(ctx.db, spec)).any;
  const possible = onlyHere ? found.filter(isHere) : found;
  const [rates, ownCosts] = await Promise.all([preemptionRates(ctx), ownGpuCosts(ctx)]);
  const offers = possible.map(({ provider, title, offer, out }): PlannedOffer => {
    const local = isHere({ provider, offer });
    const main = local ? Math.min(offer.memoryMb, machineMb) : offer.memoryMb;
    const memoryMb = memory.device === "gpu" ? offer.gpuMemoryMb : main;
    const on = { cpus: offer.cpus, gpus: need.gpus, gpuName: offer.gpuName };
    const speed = expectedSpeed(past, spec, hardwareOf(provider, offer), on);
    const expected = estimateSeconds(tokens, speed);
    const seconds = secondsRange(expected, speed.basis);
    const { pricePerHour, startsInS } = offer;
    const ownCostPerHour = (ownCosts.get(provider) ?? 0) * need.gpus;
    const hour = pricePerHour + ownCostPerHour;
    const perHour = rates(provider, offer.market);
    const { total_steps: steps, save_every: every } = spec.schedule;
    const saveEveryS = every && expected !== null ? (expected * every) / Math.max(1, steps) : null;
    const total =
      expected === null ? null : totalCost({ pricePerHour: hour, startsInS, perHour, seconds: expected, saveEveryS });
    const work = workOn(spec, provider, offer);
    const fits = memory.total <= memoryMb && need.memory_mb <= main;
    return {
      provider,
      title,
      location: offer.location,
      gpus: offer.gpus,
      gpuName: offer.gpuName,
      cpus: offer.cpus,
      memoryMb,
      neededMb: memory.total,
      fits,
      available: offer.available,
      startsInS,
      pricePerHour,
      preemptionsPerHour: perHour,
      totalUsd: total?.usd ?? null,
      seconds,
      basis: speed.basis,
      runs: speed.runs,
      costUsd: seconds && [(seconds[0] / 3600) * pricePerHour, (seconds[1] / 3600) * pricePerHour],
      chargeUsd: seconds ? chargeRange(lists, work, seconds, tokens ?? 0) : isFree(lists) ? [0, 0] : null,
      work,
      suggestion: fits ? null : suggest(memoryMb),
      out,
      market: offer.market,
      region: offer.region,
      alsoIn: [],
      rented: ctx.compute.get(provider)?.plugin.capabilities.priced ?? false,
      ownCostPerHour,
      machine: machineOf(provider, offer),
      preemptions: total?.preemptions ?? null,
      totalSeconds: total?.seconds ?? null,
      waitS: null,
      chosen: false,
      notChosen: null,
    };
  });
  const rank = (one: PlannedOffer) => [
    one.fits ? 0 : 1,
    one.out === null ? 0 : 1,
    // Own machines come first, whatever they cost.
    one.pricePerHour > 0 ? (one.totalUsd ?? one.pricePerHour) : 0,
    one.seconds?.[1] ?? 0,
    -one.memoryMb,
  ];
  return { offers: sortedBy(offers, rank), unanswered };
}

type Range = [low: number, high: number];

/** Ranges in US dollars over the machines, before free allowances; null while no machine is offered. */
interface MachineCharge {
  perHour: Range | null;
  /** For the length that was asked for; null without one. */
  total: Range | null;
  lists: Lists;
}

/**
 * The charge of work with a need. Providers are asked only when something has a price.
 * @param of `endpoint`: the name that answers requests, for an endpoint; `seconds`: how long it takes
 */
export async function machineCharge(
  ctx: Ctx,
  org: string,
  spec: Pick<JobSpec, "need" | "base_model">,
  of: { endpoint?: string; seconds?: Range | null },
): Promise<MachineCharge> {
  const lists = await listsAt(ctx.db, org, ctx.clock.now());
  if (isFree(lists)) return { perHour: [0, 0], total: [0, 0], lists };
  const { need } = spec;
  const { found } = await collectOffers(ctx, need);
  const works = found
    .filter(
      ({ offer }) => offer.memoryMb >= need.memory_mb && (need.gpus === 0 || offer.gpuMemoryMb >= need.gpu_memory_mb),
    )
    .map(({ provider, offer }) => ({ ...workOn(spec, provider, offer), endpoint: of.endpoint ?? null }));
  if (works.length === 0) return { perHour: null, total: null, lists };
  const range = ([low, high]: Range): Range => [
    usdOf(Math.min(...works.map((work) => chargeOf(lists, work, low)))),
    usdOf(Math.max(...works.map((work) => chargeOf(lists, work, high)))),
  ];
  return { perHour: range([3600, 3600]), total: of.seconds ? range(of.seconds) : null, lists };
}
