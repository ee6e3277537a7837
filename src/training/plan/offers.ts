/**
 * What a planned run would find: every machine that providers offer for it, whether it fits there, how long it takes
 * and what it costs.
 */
import type { Offer } from "../../contract/provider.ts";
import type { Need, TrainSpec } from "../../contract/spec.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { hardwareOf, type PastRun } from "./history.ts";
import type { MemoryPlan } from "./memory.ts";
import type { Suggestion } from "./suggestions.ts";
import { estimateSeconds, expectedSpeed, secondsRange } from "./throughput.ts";

/** A page waits so long for providers; one that is slower is left out with a word. */
const PATIENCE_MS = 1500;
/** Answers are good for so long: a form asks again with every change. */
const KEPT_MS = 30_000;
const MOST = 12;

/** One machine a planned run could have. Memory in MiB of where it computes: main memory, or a card. */
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
  /** Free right now. */
  available: boolean;
  startsInS: number;
  pricePerHour: number;
  /** From launch to end, at least and at most; null while nobody knows the tokens. */
  seconds: [low: number, high: number] | null;
  costUsd: [low: number, high: number] | null;
  basis: "history" | "default";
  /** Finished runs here that the time rests on. */
  runs: number;
  /** The smallest change with which it would fit here. */
  suggestion: Suggestion | null;
}

type Found = { provider: string; title: string; offer: Offer };
/** Answers of providers, by provider and what was asked. */
const answersOf = perContext(() => new Map<string, { since: number; value: Promise<Offer[] | null> }>());

/**
 * A provider's answer, or null when it fails or takes too long; one that is waited for already is not waited for again.
 */
function asked(ctx: Ctx, id: string, need: Need, ask: () => Promise<Offer[]>): Promise<Offer[] | null> {
  const answers = answersOf(ctx);
  const key = `${id} ${need.gpus} ${need.cpus}`;
  const now = ctx.clock.monotonic();
  let known = answers.get(key);
  if (!known || now - known.since > KEPT_MS) {
    const value = ask().catch(() => {
      answers.delete(key);
      return null;
    });
    known = { since: now, value };
    answers.set(key, known);
  }
  const late = Bun.sleep(Math.max(1, PATIENCE_MS - (now - known.since))).then(() => null);
  return Promise.race([known.value, late]);
}

/** Everything offered for the GPUs and processors of a need, however little memory it has; and who did not answer. */
async function gather(ctx: Ctx, need: Need): Promise<{ found: Found[]; silent: string[] }> {
  const found: Found[] = [];
  const silent: string[] = [];
  const anyMemory = { ...need, memory_mb: 1, gpu_memory_mb: 1, disk_mb: 1 };
  const entries = ctx.compute.list().filter(({ plugin }) => !need.provider || plugin.id === need.provider);
  await Promise.all(
    entries.map(async ({ plugin, provider }) => {
      const offers = await asked(ctx, plugin.id, need, async () => provider.offers(anyMemory));
      if (offers === null) silent.push(plugin.title);
      else found.push(...offers.map((offer) => ({ provider: plugin.id, title: plugin.title, offer })));
    }),
  );
  return { found, silent: silent.sort() };
}

/** What an offer must be judged by. */
interface Judge {
  memory: MemoryPlan;
  tokens: number | null;
  past: readonly PastRun[];
  /** Main memory of this machine that work may have, in MiB. */
  machineMb: number;
  /** The smallest change with which a run fits into so much. */
  suggest: (roomMb: number) => Suggestion | null;
}

/**
 * Offers for a plan: those it fits on first, by the least cost, then time; and titles of providers that did not answer
 * in time.
 */
export async function planOffers(
  ctx: Ctx,
  spec: TrainSpec,
  { memory, tokens, past, machineMb, suggest }: Judge,
): Promise<{ offers: PlannedOffer[]; silent: string[] }> {
  const { need } = spec;
  const { found, silent } = await gather(ctx, need);
  const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
  const offers = found
    .filter(({ offer }) => offer.pricePerHour <= ceiling)
    .map(({ provider, title, offer }): PlannedOffer => {
      const local = offer.local ?? ctx.compute.get(provider)?.plugin.capabilities.local ?? false;
      const main = local ? Math.min(offer.memoryMb, machineMb) : offer.memoryMb;
      const memoryMb = memory.device === "gpu" ? offer.gpuMemoryMb : main;
      const on = { cpus: offer.cpus, gpus: need.gpus, gpuName: offer.gpuName };
      const speed = expectedSpeed(past, spec, hardwareOf(provider, offer), on);
      const seconds = secondsRange(estimateSeconds(tokens, speed), speed.basis);
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
        startsInS: offer.startsInS,
        pricePerHour: offer.pricePerHour,
        seconds,
        basis: speed.basis,
        runs: speed.runs,
        costUsd: seconds && [(seconds[0] / 3600) * offer.pricePerHour, (seconds[1] / 3600) * offer.pricePerHour],
        suggestion: fits ? null : suggest(memoryMb),
      };
    });
  const rank = (one: PlannedOffer) => [
    one.fits ? 0 : 1,
    one.costUsd?.[1] ?? one.pricePerHour,
    one.seconds?.[1] ?? 0,
    -one.memoryMb,
  ];
  offers.sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    return left.map((value, i) => value - (right[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
  });
  return { offers: offers.slice(0, MOST), silent };
}
