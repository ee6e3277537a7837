/** How the queue's pages speak of times to come. */
import { formatDuration, formatExact } from "../../../src/lib/format.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Range {
  earliest: number | null;
  latest: number | null;
  why?: string | null;
}

/** Rounded to what can be known: seconds, minutes, and from three hours on whole hours. */
function rough(ms: number): string {
  const unit = ms < MINUTE ? 1000 : ms < 3 * HOUR ? MINUTE : HOUR;
  return formatDuration((Math.round(ms / unit) * unit) / 1000);
}

/** `now`, `in 12 min`, `in 2 h to 5 h`, `not before 3 h from now`, `not known`. */
export function soon({ earliest, latest }: Range, now: number): string {
  if (earliest === null) return "not known";
  const [low, high] = [Math.max(0, earliest - now), latest === null ? null : Math.max(0, latest - now)];
  if (high === null) return low < MINUTE ? "not known" : `in ${rough(low)} at the earliest`;
  if (high < MINUTE) return "now";
  if (low < MINUTE) return `within ${rough(high)}`;
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
