/** Percentages of a component by day and month, from its stored days. Pure. */
import { DAY_MS } from "../../lib/clock.ts";

import type { DayView, MonthView } from "./model.ts";

/** One stored day. */
export interface DayTimes {
  /** Days since 1970. */
  day: number;
  upMs: number;
  degradedMs: number;
  downMs: number;
  plannedMs: number;
}

const sum = (days: readonly DayTimes[], of: (day: DayTimes) => number) => days.reduce((all, day) => all + of(day), 0);
const whole = (ms: number) => Math.round(ms / 1000);
const dateOf = (day: number) => new Date(day * DAY_MS).toISOString().slice(0, 10);

/** Percent of the observed time outside of planned maintenance, not rounded; null without any. */
function exactUptime(days: readonly DayTimes[]): number | null {
  const down = sum(days, ({ downMs }) => downMs);
  const observed = down + sum(days, ({ upMs, degradedMs }) => upMs + degradedMs);
  return observed === 0 ? null : (100 * (observed - down)) / observed;
}

/** To four decimals, downwards: 100 only without any outage. */
const rounded = (percent: number | null) => (percent === null ? null : Math.floor(percent * 10_000 + 1e-6) / 10_000);

export const uptimeOf = (days: readonly DayTimes[]) => rounded(exactUptime(days));

const NOTHING = { upMs: 0, degradedMs: 0, downMs: 0, plannedMs: 0 };

/** Every day of the history, oldest first. */
export function dayViews(days: readonly DayTimes[], first: number, last: number): DayView[] {
  const byDay = new Map(days.map((one) => [one.day, one]));
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const day = byDay.get(first + index) ?? { day: first + index, ...NOTHING };
    return {
      date: dateOf(day.day),
      uptime: uptimeOf([day]),
      down_s: whole(day.downMs),
      degraded_s: whole(day.degradedMs),
      maintenance_s: whole(day.plannedMs),
    };
  });
}

/** Every month (UTC) of the history, newest first. */
export function monthViews(days: readonly DayTimes[], first: number, last: number, target: number): MonthView[] {
  const months = new Map<string, DayTimes[]>();
  for (let day = last; day >= first; day--) months.set(dateOf(day).slice(0, 7), []);
  for (const day of days) months.get(dateOf(day.day).slice(0, 7))?.push(day);
  return [...months].map(([month, of]) => {
    const begin = Date.parse(`${month}-01`) / DAY_MS;
    const end = new Date((begin + 31) * DAY_MS);
    const next = Date.UTC(end.getUTCFullYear(), end.getUTCMonth(), 1) / DAY_MS;
    const uptime = exactUptime(of);
    return {
      month,
      uptime: rounded(uptime),
      down_s: whole(sum(of, ({ downMs }) => downMs)),
      target_met: uptime === null ? null : uptime >= target,
      partial: begin < first || next > last,
    };
  });
}
