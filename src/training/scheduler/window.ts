/**
 * Daily time windows of jobs, in a time zone with daylight saving time. Pure: every function takes the moment as
 * milliseconds since 1970.
 */
import type { DailyWindow } from "./types.ts";

/** Days to look ahead: weekly windows, one of which may fall into a skipped hour. */
const DAYS_AHEAD = 15;

/** One opening of a window, in milliseconds since 1970. */
interface Opening {
  from: number;
  until: number;
}

/** True for a time zone name that this runtime knows. */
export function isTimeZone(tz: string): boolean {
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone: tz }) !== null;
  } catch {
    return false;
  }
}

/**
 * The first moment with a local date and time. A time that the clock skips becomes the moment of the clock change; of a
 * time that occurs twice, it is the first one.
 */
function momentOf(date: Temporal.PlainDate, time: string, tz: string): number {
  const local = date.toPlainDateTime(time);
  const found = local.toZonedDateTime(tz, { disambiguation: "earlier" });
  const exists = found.toPlainDateTime().equals(local);
  return (exists ? found : (found.getTimeZoneTransition("next") ?? found)).epochMilliseconds;
}

/** The openings of a window that end after `at`, in order, for the next two weeks. */
function* openings(window: DailyWindow, at: number): Generator<Opening> {
  const { from, until, tz, days } = window;
  const today = Temporal.Instant.fromEpochMilliseconds(Math.floor(at)).toZonedDateTimeISO(tz).toPlainDate();
  for (let ahead = -1; ahead <= DAYS_AHEAD; ahead++) {
    const date = today.add({ days: ahead });
    if (days && !days.includes(date.dayOfWeek % 7)) continue;
    const end = momentOf(from < until ? date : date.add({ days: 1 }), until, tz);
    if (end <= at) continue;
    const start = momentOf(date, from, tz);
    if (start < end) yield { from: start, until: end };
  }
}

/** The current or next opening of a window; null when there is none within two weeks. */
function nextOpening(window: DailyWindow, at: number): Opening | null {
  for (const opening of openings(window, at)) return opening;
  return null;
}

/** Whether the window is open at `at`. */
export function isOpen(window: DailyWindow, at: number): boolean {
  return (nextOpening(window, at)?.from ?? Number.POSITIVE_INFINITY) <= at;
}

/** When the window opens next after `at`; null = never. */
export function opensAt(window: DailyWindow, at: number): number | null {
  for (const { from } of openings(window, at)) if (from > at) return from;
  return null;
}

/** When the window closes that is open at `at`; null when it is closed. */
export function closesAt(window: DailyWindow, at: number): number | null {
  const opening = nextOpening(window, at);
  return opening && opening.from <= at ? opening.until : null;
}
