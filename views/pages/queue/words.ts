/** How the queue's pages speak of times to come. */
import { formatDuration, formatExact } from "../../../src/lib/format.ts";

interface Range {
  earliest: number | null;
  latest: number | null;
  why?: string | null;
}

/** Seconds in the two largest units, without seconds above a minute: nobody knows a start to the second. */
const rough = (ms: number) => formatDuration(ms < 60_000 ? Math.round(ms / 1000) : Math.round(ms / 60_000) * 60);

/** `now`, `in 12 min`, `in 2 h to 5 h`, `not before 3 h from now`, `not known`. */
export function soon({ earliest, latest }: Range, now: number): string {
  if (earliest === null) return "not known";
  const [low, high] = [Math.max(0, earliest - now), latest === null ? null : Math.max(0, latest - now)];
  if (high === null) return low < 60_000 ? "not known" : `in ${rough(low)} at the earliest`;
  if (high < 60_000) return "now";
  if (low < 60_000) return `within ${rough(high)}`;
  return rough(low) === rough(high) ? `in ${rough(low)}` : `in ${rough(low)} to ${rough(high)}`;
}

/** The same as exact times, for titles. */
export function exactly({ earliest, latest, why }: Range): string {
  if (why) return why;
  if (earliest === null || latest === null) return "";
  return `between ${formatExact(earliest)} and ${formatExact(latest)}`;
}

/** `22:00 to 06:00, Europe/Berlin`. */
export function hoursWords(window: { from: string; until: string; tz: string } | null): string | null {
  return window ? `${window.from} to ${window.until}, ${window.tz}` : null;
}
