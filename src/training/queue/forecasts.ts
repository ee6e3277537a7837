/**
 * The newest round and its forecast for readers of the queue: decided again after a change, shared by concurrent
 * readers, and limited to a fraction of the time.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import { type Prediction, predictGently } from "../scheduler/forecast.ts";
import type { Input, Round } from "../scheduler/types.ts";
import { decide, queueCarry } from "./runner.ts";

/** Milliseconds for which a decided round is shown. A forecast is shown for longer, because it costs more. */
const FRESH_MS = 2000;
const FORECAST_MS = 10_000;
/**
 * Under frequent changes, at most this fraction of the time is spent on rounds for readers, and on forecasts that take
 * longer than `QUICK_MS`.
 */
const SHARE = 0.25;
const QUICK_MS = 50;

interface Forecast {
  at: number;
  /** Version of the scheduler's state that it was made from. */
  version: number;
  jobs: ReadonlySet<string>;
  found: Promise<Map<string, Prediction>>;
  /** Milliseconds it took; null until it is ready. */
  took: number | null;
}
/** The newest round with its forecast, if one was made. */
export interface QueueState {
  input: Input;
  round: Round;
  forecast: Forecast | null;
}
interface SharedRound {
  /** It is already reading, so it misses what changes now. */
  started: boolean;
  found: Promise<{ input: Input; round: Round }>;
  /** When the next may start, by `performance.now()`. */
  restUntil: number;
}
const sharedOf = perContext((): { state: QueueState | null; round: SharedRound | null } => ({
  state: null,
  round: null,
}));

/**
 * Decides once for every reader that asks before it starts. Readers that ask later share the next round, which waits
 * in proportion to what this one cost.
 */
function decideShared(ctx: Ctx): Promise<{ input: Input; round: Round }> {
  const shared = sharedOf(ctx);
  const previous = shared.round;
  if (previous && !previous.started) return previous.found;
  const rested = async () => {
    await previous?.found.catch(() => null);
    const rest = (previous?.restUntil ?? 0) - performance.now();
    if (rest > 0) await Bun.sleep(rest);
  };
  const made: SharedRound = {
    started: false,
    restUntil: 0,
    found: rested().then(async () => {
      made.started = true;
      const start = performance.now();
      try {
        return await decide(ctx);
      } finally {
        const now = performance.now();
        made.restUntil = now + (now - start) * (1 / SHARE - 1);
      }
    }),
  };
  shared.round = made;
  return made.found;
}

/** The newest round, decided again when it is old or something changed. Nothing is carried out. */
export async function newestRound(ctx: Ctx): Promise<QueueState> {
  const { last } = queueCarry(ctx);
  const now = ctx.clock.now();
  const { input, round } = last && Math.abs(now - last.input.now) < FRESH_MS ? last : await decideShared(ctx);
  const shared = sharedOf(ctx);
  const made: QueueState = { input, round, forecast: shared.state?.forecast ?? null };
  shared.state = made;
  return made;
}

/** Whether a forecast is still usable: recent, and either up to date or too expensive to repeat yet. */
function isUsable(forecast: Forecast, now: number, version: number): boolean {
  const age = Math.abs(now - forecast.at);
  if (age >= FORECAST_MS) return false;
  if (forecast.version === version || forecast.took === null) return true;
  return forecast.took > QUICK_MS && age < forecast.took / SHARE;
}

/** Predicted starts by job; computed again when they are old, or when they do not include `jobId`. */
export function forecastStarts(ctx: Ctx, state: QueueState, jobId?: string): Promise<Map<string, Prediction>> {
  const now = ctx.clock.now();
  const { version } = queueCarry(ctx);
  const { forecast } = state;
  if (forecast && isUsable(forecast, now, version) && (jobId === undefined || forecast.jobs.has(jobId)))
    return forecast.found;
  const start = performance.now();
  const found = predictGently(state.input, state.round.order, () => Bun.sleep(0));
  const made: Forecast = { at: now, version, jobs: new Set(state.round.order), found, took: null };
  state.forecast = made;
  // Every waiting reader gets the failure; the next reader tries again.
  found
    .catch(() => null)
    .finally(() => {
      made.took = performance.now() - start;
    });
  return found;
}
