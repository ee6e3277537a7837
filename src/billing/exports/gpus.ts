/** How much of the GPUs was used: held by work that counts, reserved without effect, or idle. */
import { sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { DAY_MS } from "../../lib/clock.ts";
import type { GpuUse } from "./model.ts";
import { HOUR_MS, visible } from "./scope.ts";
import type { Period } from "./series.ts";

const SECONDS_PER_HOUR = 3600;

/** GPU-milliseconds of the installation's own hosts, as far as GPUs were there. A shared GPU counts once a share. */
async function available(ctx: Ctx, { from, to }: Period): Promise<number> {
  const [row] = await ctx.db.all<{ ms: number }>(
    sql`select coalesce(sum(shares * max(0, min(coalesce(lost_at, ${to}), ${to}) - max(created_at, ${from}))), 0) * 1.0 ms from gpu`,
  );
  return row?.ms ?? 0;
}

/** GPU-milliseconds of work that runs and is not metered yet: from its last interval until now. */
async function unmetered(ctx: Ctx, { from, to }: Period, org: string): Promise<{ own: number; others: number }> {
  const rows = await ctx.db.all<{ own: number; since: number }>(
    sql`select t.org = ${org} own, max(a.created_at, coalesce((select max(to_ms) from meter_interval m
        where m.attempt_id = a.attempt_id and m.meter = 'gpu_seconds'), 0)) since
      from gpu_allocation a join attempt t on t.id = a.attempt_id`,
  );
  const sum = (own: number) =>
    rows.filter((row) => row.own === own).reduce((ms, { since }) => ms + Math.max(0, to - Math.max(from, since)), 0);
  return { own: sum(1), others: sum(0) };
}

interface Held {
  mine: number;
  rented: number;
  quantity: number;
  held: number;
  overhead: number;
}

/**
 * GPU-hours of the days of a period: what the actor's team used and reserved, what other teams held, and what was idle
 * on the installation's own hosts. Members see their own work as used, and that of colleagues among the others.
 */
export async function gpuUse(ctx: Ctx, actor: Actor, given: Period): Promise<GpuUse> {
  const from = Math.floor(given.from / DAY_MS) * DAY_MS;
  const period = { from, to: Math.max(from, Math.min(given.to, ctx.clock.now())) };
  const rows = await ctx.db.all<Held>(
    sql`select (${visible(actor)}) mine, provider not in (select provider from host) rented,
        sum(quantity) * 1.0 quantity, sum(held) * 1.0 held, sum(overhead) * 1.0 overhead
      from usage_day where meter = 'gpu_seconds' and day >= ${from} and day < ${period.to} group by 1, 2`,
  );
  const seconds = (of: (row: Held) => number, mine: number, rented: number) =>
    rows.filter((row) => row.mine === mine && row.rented === rented).reduce((sum, row) => sum + of(row), 0);
  const live = await unmetered(ctx, period, actor.org);
  const all = (await available(ctx, period)) / HOUR_MS;
  const used = seconds((row) => row.quantity - row.overhead, 1, 0) / SECONDS_PER_HOUR + live.own / HOUR_MS;
  const reserved = seconds((row) => row.held - row.quantity + row.overhead, 1, 0) / SECONDS_PER_HOUR;
  const others = seconds((row) => row.held, 0, 0) / SECONDS_PER_HOUR + live.others / HOUR_MS;
  return {
    object: "usage.gpus",
    from: period.from / 1000,
    to: Math.floor(period.to / 1000),
    available: all,
    used,
    reserved,
    others,
    idle: Math.max(0, all - used - reserved - others),
    rented: seconds((row) => row.held, 1, 1) / SECONDS_PER_HOUR,
  };
}
