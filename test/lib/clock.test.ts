/** The clock of the server while the machine's clock is set. */
import { expect, test } from "bun:test";
import { steadyClock, systemClock } from "../../src/lib/clock.ts";

test("it stays on its course until it follows, and follows small corrections at once", () => {
  let [wall, up] = [1_000_000, 0];
  const clock = steadyClock({ ...systemClock, now: () => wall, monotonic: () => up });
  const pass = (ms: number, by = ms) => {
    up += ms;
    wall += by;
  };
  pass(500);
  expect(clock.now()).toBe(1_000_500);
  // Drift of ten days, in steps of an hour with 2 ms each.
  for (let n = 0; n < 240; n++) {
    pass(3_600_000, 3_600_002);
    clock.now();
  }
  expect(clock.now()).toBe(wall);
  const before = wall;
  pass(1000, 7_200_000);
  expect([clock.now(), clock.wall?.()]).toEqual([before + 1000, before + 7_200_000]);
  pass(1000);
  expect(clock.now()).toBe(before + 2000);
  clock.follow?.();
  expect(clock.now()).toBe(before + 7_201_000);
  pass(1000, -86_400_000);
  expect(clock.now()).toBe(before + 7_202_000);
});
