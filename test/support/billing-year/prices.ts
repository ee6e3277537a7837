/** The prices of the simulated year: exact by the second, so that the script can add them up. */
import { FREE_INPUT, TOKEN_MICROS } from "./book.ts";
import type { YearLab } from "./lab.ts";
import type { Costs, Rates } from "./work.ts";

/** Bytes that cost a cent an hour at the price of the year. */
export const CENT_OF_BYTES = 73 * 1024 ** 3;
const STORAGE_USD = 0.1;

const FIRST: Rates = { gpu: 1000, endpoint: 100 };
const RAISED: Rates = { gpu: 1200, endpoint: 200 };
/** Of one team. */
const OWN_GPU = 700;

const perHour = (microsPerS: number) => (microsPerS * 3600) / 1e6;
const million = (meter: "input_tokens" | "output_tokens", micros: number) => ({ meter, price_usd: micros });
const listOf = ({ gpu, endpoint }: Rates) => ({
  items: [
    { meter: "gpu_seconds", price_usd: perHour(gpu) },
    { meter: "endpoint_seconds", price_usd: perHour(endpoint) },
    { meter: "byte_hours", price_usd: STORAGE_USD },
    million("input_tokens", TOKEN_MICROS.input),
    million("output_tokens", TOKEN_MICROS.output),
  ],
  free: [{ meter: "input_tokens", amount: FREE_INPUT / 1e6 }],
});

/** When the raise takes effect, and from when on the team Gamma has a price of its own; milliseconds since 1970. */
export interface PriceDates {
  raise: number;
  own: number;
}

const ratesAt = ({ raise, own }: PriceDates, isOwn: boolean, at: number): Rates => {
  const rates = at >= raise ? RAISED : FIRST;
  return isOwn && at >= own ? { ...rates, gpu: OWN_GPU } : rates;
};

/** A training keeps the prices of the time at which it was started first. */
export function costsOfTraining(dates: PriceDates, isOwn: boolean, startedAt: number): Costs {
  const rates = ratesAt(dates, isOwn, startedAt);
  return (from, to) => [{ from, to, rates }];
}

/** An endpoint follows the prices of the time. */
export const costsOfEndpoint =
  (dates: PriceDates, isOwn: boolean): Costs =>
  (from, to) => {
    const cuts = [from, dates.raise, dates.own, to].filter((at) => at >= from && at <= to).sort((a, b) => a - b);
    return cuts.slice(1).map((until, n) => {
      const begin = cuts[n] ?? from;
      return { from: begin, to: until, rates: ratesAt(dates, isOwn, begin) };
    });
  };

const day = (at: number) => new Date(at).toISOString().slice(0, 10);
const PATH = "/v1/admin/price_lists";

export const setFirstPrices = (lab: YearLab, from: number) =>
  lab.request(lab.teams.alpha, "POST", PATH, { ...listOf(FIRST), effective_date: day(from) });

export const setOwnPrice = (lab: YearLab, from: number) =>
  lab.request(lab.teams.alpha, "POST", PATH, {
    organization: lab.teams.gamma.org,
    items: [{ meter: "gpu_seconds", price_usd: perHour(OWN_GPU) }],
    effective_date: day(from),
  });

/** Announces the raise. One day less than 30 days ahead it is refused. */
export async function announceRaise(lab: YearLab, from: number): Promise<void> {
  const soon = { ...listOf(RAISED), effective_date: day(lab.now() + 29 * 86_400_000) };
  const refused = await lab.request(lab.teams.alpha, "POST", PATH, soon).then(() => "", String);
  if (!refused.includes("price_raise_too_soon")) throw new Error(`a raise in 29 days was not refused: ${refused}`);
  await lab.request(lab.teams.alpha, "POST", PATH, { ...listOf(RAISED), effective_date: day(from) });
}
