/** Daily time windows: open or closed, next opening and end, over clock changes too. */
import { describe, expect, test } from "bun:test";
import type { DailyWindow } from "../../src/training/scheduler/types.ts";
import { closesAt, isOpen, opensAt } from "../../src/training/scheduler/window.ts";

describe("a window", () => {
  const berlin: DailyWindow = { from: "22:00", until: "06:00", tz: "Europe/Berlin" };
  const at = (text: string) => Date.parse(text);
  test.each([
    [berlin, "2026-11-02T20:59:00Z", false],
    [berlin, "2026-11-02T21:00:00Z", true],
    [berlin, "2026-11-03T04:59:00Z", true],
    [berlin, "2026-11-03T05:00:00Z", false],
    [{ ...berlin, days: [1] }, "2026-11-03T03:00:00Z", true],
    [{ ...berlin, days: [2] }, "2026-11-03T03:00:00Z", false],
    [{ from: "09:00", until: "17:30", tz: "Asia/Kolkata" }, "2026-11-02T11:59:00Z", true],
  ])("%o at %s is open: %p", (window, moment, open) => {
    expect(isOpen(window as DailyWindow, at(moment as string))).toBe(open as boolean);
  });

  test.each([
    ["in winter", "2026-11-02T12:00:00Z", "2026-11-02T21:00:00.000Z"],
    ["over the end of daylight saving time", "2026-10-24T21:00:00Z", "2026-10-25T21:00:00.000Z"],
    ["over the start of daylight saving time", "2027-03-27T22:00:00Z", "2027-03-28T20:00:00.000Z"],
  ])("opens next %s", (_, from, expected) => {
    expect(new Date(opensAt(berlin, at(from)) ?? 0).toISOString()).toBe(expected);
  });

  test("closes an hour later in the night the clocks go back", () => {
    expect(new Date(closesAt(berlin, at("2026-10-24T21:00:00Z")) ?? 0).toISOString()).toBe("2026-10-25T05:00:00.000Z");
  });

  test("is checked at fractions of a millisecond too, which forecasts use", () => {
    expect(isOpen(berlin, at("2026-11-02T21:00:00Z") + 0.4)).toBe(true);
    expect(opensAt(berlin, at("2026-11-02T12:00:00Z") + 0.4)).toBe(at("2026-11-02T21:00:00Z"));
  });

  const early = (until: string): DailyWindow => ({ from: "02:30", until, tz: "Europe/Berlin" });

  test("that starts in the hour the clocks skip opens when they change", () => {
    const moment = at("2027-03-27T20:00:00Z");
    const opens = opensAt(early("03:30"), moment) ?? 0;
    expect(new Date(opens).toISOString()).toBe("2027-03-28T01:00:00.000Z");
    expect(isOpen(early("03:30"), opens)).toBe(true);
    expect(new Date(closesAt(early("03:30"), opens) ?? 0).toISOString()).toBe("2027-03-28T01:30:00.000Z");
  });

  test("inside the hour the clocks skip opens the next day", () => {
    const opens = opensAt(early("02:45"), at("2027-03-27T20:00:00Z")) ?? 0;
    expect(new Date(opens).toISOString()).toBe("2027-03-29T00:30:00.000Z");
  });

  test.each([
    ["2026-10-25T00:29:00Z", false],
    ["2026-10-25T00:30:00Z", true],
    ["2026-10-25T01:10:00Z", true],
    ["2026-10-25T02:59:00Z", true],
    ["2026-10-25T03:00:00Z", false],
  ])("that starts in the hour the clocks repeat opens once: at %s %p", (moment, open) => {
    expect(isOpen(early("04:00"), at(moment))).toBe(open);
  });
});
