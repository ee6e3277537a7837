/**
 * Hours of the day in which a job may run, in a time zone with its summer time. Pure: every function is given the
 * moment.
 */
import type { DailyWindow } from "./types.ts";

const MINUTE = 60_000;
const DAY = 1440;
const formats = new Map<string, Intl.DateTimeFormat>();
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/** Minute of the day and day of the week of a moment in a time zone. */
function local(tz: string, at: number): { minute: number; day: number } {
  let format = formats.get(tz);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: tz,
      hourCycle: "h23",
      weekday: "short",
      hour: "2-digit",
      minute: "2-digit",
    });
    formats.set(tz, format);
  }
  let [minute, day] = [0, 0];
  for (const { type, value } of format.formatToParts(at)) {
    if (type === "hour") minute += Number(value) * 60;
    if (type === "minute") minute += Number(value);
    if (type === "weekday") day = WEEKDAYS.indexOf(value);
  }
  return { minute, day };
}

/** True for a name of the time zone database that this runtime knows. */
export function knownZone(tz: string): boolean {
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone: tz }) !== null;
  } catch {
    return false;
  }
}

/** Minutes since midnight of `HH:MM`. */
function minuteOf(text: string): number {
  const [hour = 0, minute = 0] = text.split(":").map(Number);
  return hour * 60 + minute;
}

const begins = (window: DailyWindow, day: number) => !window.days || window.days.includes((day + 7) % 7);

/** Whether the window is open at `at`. */
export function isOpen(window: DailyWindow, at: number): boolean {
  const { minute, day } = local(window.tz, at);
  const [from, until] = [minuteOf(window.from), minuteOf(window.until)];
  if (from < until) return minute >= from && minute < until && begins(window, day);
  return (minute >= from && begins(window, day)) || (minute < until && begins(window, day - 1));
}

/** The first moment after `at` with the local time `wanted` (minute of the day) that `fits`. */
function next(tz: string, at: number, wanted: number, fits: (moment: number) => boolean): number | null {
  const start = Math.floor(at / MINUTE) * MINUTE;
  const { minute } = local(tz, at);
  for (let day = 0; day <= 8; day++) {
    let moment = start + (((wanted - minute + DAY) % DAY) + day * DAY) * MINUTE;
    // The clocks were changed in between: off by an hour at most.
    const off = ((local(tz, moment).minute - wanted + DAY + DAY / 2) % DAY) - DAY / 2;
    moment -= off * MINUTE;
    if (moment > at && fits(moment)) return moment;
  }
  return null;
}

/** When it opens next, for a window that is closed at `at`; null = never (no days). */
export function opensAt(window: DailyWindow, at: number): number | null {
  return next(window.tz, at, minuteOf(window.from), (moment) => isOpen(window, moment));
}

/** When it closes, for a window that is open at `at`. */
export function closesAt(window: DailyWindow, at: number): number | null {
  return next(window.tz, at, minuteOf(window.until), () => true);
}
