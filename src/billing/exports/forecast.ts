/** What a month will cost: cost so far, the mean of the last full days, and endpoints that run now. */
import { type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { can } from "../../roles.ts";
import { MICROS } from "../meters/money.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import type { ForecastView } from "./model.ts";
import { HOUR_MS, visible } from "./scope.ts";

const DAYS = 7;
/** Endpoints in these states cost until somebody stops them. */
const RUNNING = ["starting", "running"];

/** Endpoints that the actor sees and that run now, with their micro-dollars per millisecond in the last 24 hours. */
async function runningEndpoints(ctx: Ctx, actor: Actor, now: number): Promise<{ id: string; rate: number }[]> {
  const own = can(actor, "usage.team") ? sql`true` : sql`j.created_by = ${actor.userId}`;
  return ctx.db.all<{ id: string; rate: number }>(
    sql`select m.job_id id, sum(m.micros) * 1.0 / max(1, max(m.to_ms) - min(m.from_ms)) rate
      from job j join meter_interval m on m.job_id = j.id and m.meter <> 'provider_micros' and m.from_ms >= ${now - DAY_MS}
      where j.org = ${actor.org} and ${own} and j.kind = 'serve' and j.state in ${RUNNING} group by 1`,
  );
}

/** Cost of each of the last full days, oldest first, from the first day with use on, without some jobs. */
async function lastDays(ctx: Ctx, seen: SQL, today: number, without: string[]): Promise<number[]> {
  const from = today - DAYS * DAY_MS;
  const [first] = await ctx.db.all<{ day: number | null }>(sql`select min(day) day from usage_day where ${seen}`);
  if (!first || first.day === null || first.day >= today) return [];
  const others = without.length ? sql`job_id not in ${without}` : sql`true`;
  const rows = await ctx.db.all<{ day: number; micros: number }>(
    sql`select day, sum(micros) * 1.0 micros from usage_day
      where ${seen} and day >= ${from} and day < ${today} and meter <> 'provider_micros' and ${others} group by 1`,
  );
  const cost = new Map(rows.map(({ day, micros }) => [day, micros]));
  const count = Math.min(DAYS, (today - first.day) / DAY_MS);
  return Array.from({ length: count }, (_, n) => cost.get(today - (count - n) * DAY_MS) ?? 0);
}

/** The monthly budget that counts what the actor sees, and how much of it is used. */
async function monthlyBudget(ctx: Ctx, actor: Actor, month: string): Promise<ForecastView["budget"]> {
  const [scope, of] = can(actor, "usage.team") ? ["team", actor.org] : ["user", actor.userId];
  const [row] = await ctx.db.all<{ limit: number | null; used: number }>(
    sql`select b.limit_micros "limit", coalesce(u.micros, 0) * 1.0 used from budget b
      left join budget_use u on u.budget_id = b.id and u.period = ${month}
      where b.org = ${actor.org} and b.scope = ${scope} and b.scope_id = ${of} and b.period = 'month'`,
  );
  return row ? { limit_usd: row.limit === null ? null : row.limit / MICROS, used_usd: row.used / MICROS } : null;
}

/**
 * The forecast of the current month (UTC): cost so far, plus the mean of the last seven full days for each day left,
 * plus endpoints that run now at their own rate, which the mean leaves out. The range is one standard deviation of the
 * days, which are taken as independent of each other. A member gets the forecast of their own use.
 */
export async function forecast(ctx: Ctx, actor: Actor): Promise<ForecastView> {
  const now = ctx.clock.now();
  const month = monthAt(now);
  const { from, to } = monthRange(month);
  const seen = visible(actor);
  const today = Math.floor(now / DAY_MS) * DAY_MS;
  const [sum] = await ctx.db.all<{ micros: number }>(
    sql`select coalesce(sum(micros), 0) * 1.0 micros from usage_day
      where ${seen} and day >= ${from} and day < ${to} and meter <> 'provider_micros'`,
  );
  const soFar = sum?.micros ?? 0;
  const running = await runningEndpoints(ctx, actor, now);
  const days = await lastDays(
    ctx,
    seen,
    today,
    running.map(({ id }) => id),
  );
  const left = (to - now) / DAY_MS;
  const mean = days.reduce((total, cost) => total + cost, 0) / Math.max(1, days.length);
  const variance = days.reduce((total, cost) => total + (cost - mean) ** 2, 0) / Math.max(1, days.length - 1);
  const rate = running.reduce((total, one) => total + one.rate, 0);
  const expected = soFar + mean * left + rate * (to - now);
  const spread = Math.sqrt(variance * left);
  return {
    object: "usage.forecast",
    month,
    month_to_date_usd: soFar / MICROS,
    forecast_usd:
      days.length === 0 && running.length === 0
        ? null
        : {
            low: Math.max(soFar, expected - spread) / MICROS,
            expected: expected / MICROS,
            high: (expected + spread) / MICROS,
          },
    budget: await monthlyBudget(ctx, actor, month),
    basis: {
      days: days.length,
      mean_per_day_usd: mean / MICROS,
      days_left: left,
      running_endpoints: running.length,
      running_per_hour_usd: (rate * HOUR_MS) / MICROS,
    },
  };
}
