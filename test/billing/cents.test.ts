/** The cents of a statement's lines add up to its total. */
import { describe, expect, test } from "bun:test";
import { centsOf } from "../../src/billing/meters/money.ts";
import { centsByLine } from "../../src/billing/statements/lines.ts";

describe("cents of lines", () => {
  test.each([
    [
      [3333, 3333, 3334],
      [0, 0, 1],
    ],
    [
      [15_000, 15_000],
      [2, 1],
    ],
    [
      [9999, 1],
      [1, 0],
    ],
    [
      [-15_000, 25_000],
      [-1, 2],
    ],
    [
      [4999, 0, 0],
      [0, 0, 0],
    ],
    [[], []],
  ])("%j is %j", (micros, cents) => {
    expect(centsByLine(micros)).toEqual(cents);
  });

  test("add up to the rounded sum for any amounts", () => {
    let state = 11;
    const next = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 500; round++) {
      const micros = Array.from({ length: next(20) }, () => next(1_000_000) - 200_000);
      const cents = centsByLine(micros);
      const sum = (list: number[]) => list.reduce((a, b) => a + b, 0);
      expect(sum(cents)).toBe(centsOf(sum(micros)));
      for (const [n, exact] of micros.entries())
        expect(Math.abs((cents[n] as number) * 10_000 - exact)).toBeLessThan(10_000);
    }
  });
});
