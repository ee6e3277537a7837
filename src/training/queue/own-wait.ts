/** How long jobs would wait for own machines: the forecast of the queue without rented ones. */
import { type Ctx, perContext } from "../../ctx.ts";
import { type Prediction, predictGently } from "../scheduler/forecast.ts";
import type { Input, Round } from "../scheduler/types.ts";

/** How long a forecast is used. */
const FRESH_MS = 5000;

interface OwnForecast {
  at: number;
  jobs: ReadonlySet<string>;
  found: Promise<Map<string, Prediction>>;
}
const forecastOf = perContext((): { newest: OwnForecast | null } => ({ newest: null }));

/** The input without machines that must be asked for offers, and without what was decided about leaving. */
export const ownInput = (input: Input): Input => ({
  ...input,
  capacity: { ...input.capacity, hosts: input.capacity.hosts.filter((host) => !host.ask) },
  queued: input.queued.map((one) => (one.burst === undefined ? one : { ...one, burst: undefined })),
});

/** Seconds until a predicted start: the middle of its range; null = unknown. */
export const waitSeconds = (prediction: Prediction | undefined, now: number): number | null =>
  prediction === undefined || prediction.low === null || prediction.high === null
    ? null
    : Math.max(0, (prediction.low + prediction.high) / 2 - now) / 1000;

/** Predicted seconds until own machines are free for a waiting job; null = unknown. */
export async function ownWaits(
  ctx: Ctx,
  { input, round }: { input: Input; round: Round },
): Promise<(jobId: string) => number | null> {
  const shared = forecastOf(ctx);
  const { now } = input;
  const { newest } = shared;
  const usable = newest && Math.abs(now - newest.at) < FRESH_MS && round.order.every((id) => newest.jobs.has(id));
  const forecast: OwnForecast = usable
    ? newest
    : {
        at: now,
        jobs: new Set(round.order),
        found: predictGently(ownInput(input), round.order, () => Bun.sleep(0)),
      };
  shared.newest = forecast;
  try {
    const found = await forecast.found;
    return (jobId) => waitSeconds(found.get(jobId), now);
  } catch (error) {
    if (shared.newest === forecast) shared.newest = null;
    throw error;
  }
}
