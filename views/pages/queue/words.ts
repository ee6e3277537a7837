/** Formats predicted times and time windows for the queue's pages. */
import type { BurstPolicy } from "../../../src/lib/text/burst-policy.ts";
import { formatDuration, formatExact, formatMoney } from "../../../src/lib/text/format.ts";

/** The burst policies as people read them. */
export const BURST_WORDS: Record<BurstPolicy["type"], string> = {
  local_only: "Own machines only",
  burst: "Rent after a wait, below a cost",
  cheapest: "Cheapest, even if it waits",
  fastest: "Fastest",
};

/** `Rent after a wait of 30 min, below $20`, as an option of a job. */
export function burstWords(policy: BurstPolicy): string {
  if (policy.type !== "burst") return BURST_WORDS[policy.type];
  const { wait_over_s: wait, cost_under_usd: cost } = policy;
  const after = wait > 0 ? `Rent after a predicted wait of ${formatDuration(wait)}` : "Rent when nothing own is free";
  return cost === null ? after : `${after}, below ${formatMoney(cost)}`;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Range {
  earliest: number | null;
  latest: number | null;
  why?: string | null;
}

/** A duration rounded to the precision of a forecast: seconds, minutes, and whole hours from three hours on. */
function rough(ms: number): string {
  const unit = ms < MINUTE ? 1000 : ms < 3 * HOUR ? MINUTE : HOUR;
  return formatDuration((Math.round(ms / unit) * unit) / 1000);
}

/** `now`, `in 12 min`, `in 2 h to 5 h`, `in 2 h at the earliest`, `unknown`. */
export function soon({ earliest, latest }: Range, now: number): string {
  if (earliest === null) return "unknown";
  const [low, high] = [Math.max(0, earliest - now), latest === null ? null : Math.max(0, latest - now)];
  if (high === null) return low < MINUTE ? "unknown" : `in ${rough(low)} at the earliest`;
  if (high < MINUTE) return "now";
  if (low < MINUTE) return `within ${rough(high)}`;
  return rough(low) === rough(high) ? `in ${rough(low)}` : `in ${rough(low)} to ${rough(high)}`;
}

/** The range as exact times, for titles. */
export function exactly({ earliest, latest, why }: Range): string {
  if (why) return why;
  if (earliest === null || latest === null) return "";
  return `between ${formatExact(earliest)} and ${formatExact(latest)}`;
}

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** `Mon to Fri`, `Mon, Fri`; empty for every day. */
function daysText(days: number[] = []): string {
  // Weeks begin on Monday here; in requests 0 is Sunday.
  const at = [...new Set(days)].map((day) => (day + 6) % 7).sort();
  const [first = 0, last = 0] = [at[0], at.at(-1)];
  if (at.length > 2 && last - first === at.length - 1) return `${DAYS[first]} to ${DAYS[last]}`;
  return at.map((day) => DAYS[day]).join(", ");
}

/** `22:00 to 06:00 Europe/Berlin, Mon to Fri`. */
export function windowText(window: { from: string; until: string; tz: string; days?: number[] } | null): string | null {
  if (!window) return null;
  return [`${window.from} to ${window.until} ${window.tz}`, daysText(window.days)].filter(Boolean).join(", ");
}
