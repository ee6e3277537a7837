/** How often vendors took machines back, by provider and market: from the attempts of all jobs of the installation. */
import { sql } from "drizzle-orm";
import type { Market } from "../../contract/provider.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { type Experience, preemptionsPerHour } from "../scheduler/total-cost.ts";

/** Experience older than this does not count. */
const SINCE_MS = 30 * 86_400_000;
/** How long an answer is used. */
const FRESH_MS = 60_000;

/** What the attempt says whose job saved a checkpoint because the vendor announced to take its machine back. */
export const TAKEN_BACK = "The provider took the machine back";

type Rates = (provider: string, market: Market) => number;
const ratesOf = perContext((): { newest: { at: number; found: Promise<Rates> } | null } => ({ newest: null }));

async function readRates(ctx: Ctx): Promise<Rates> {
  const now = ctx.clock.now();
  const rows = await ctx.db.all<Experience & { provider: string; market: string }>(sql`
    select provider, json_extract(offer, '$.market') market,
      sum(outcome = 'preempted' or (outcome = 'paused' and detail = ${TAKEN_BACK})) preemptions,
      sum(max(0, coalesce(ended_at, ${now}) - started_at)) / 3600000.0 hours
    from ${attempt}
    where created_at > ${now - SINCE_MS} and started_at is not null
      and json_extract(offer, '$.market') in ('spot', 'on_demand')
    group by 1, 2`);
  const seen = new Map(rows.map((row) => [`${row.provider} ${row.market}`, row]));
  return (provider, market) => preemptionsPerHour(market, seen.get(`${provider} ${market}`));
}

/** Expected preemptions per hour of use by provider and market, of the last 30 days; asked again after a minute. */
export function preemptionRates(ctx: Ctx): Promise<Rates> {
  const shared = ratesOf(ctx);
  const now = ctx.clock.monotonic();
  if (shared.newest && now - shared.newest.at < FRESH_MS) return shared.newest.found;
  const made = { at: now, found: readRates(ctx) };
  shared.newest = made;
  // A failure is not kept.
  made.found.catch(() => {
    if (shared.newest === made) shared.newest = null;
  });
  return made.found;
}
