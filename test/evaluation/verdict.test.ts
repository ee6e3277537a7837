/** Paired comparison of two sides: the verdict and the coverage of its interval. */
import { describe, expect, test } from "bun:test";
import { compare, type Pair, pairedInterval } from "../../src/evaluation/statistics.ts";

describe("the verdict", () => {
  const pairs = (count: number, baseRight: number, tunedRight: number, loss = 0): Pair[] =>
    Array.from({ length: count }, (_, n) => ({
      tokens: 10,
      baseExact: n < baseRight,
      tunedExact: n >= count - tunedRight,
      baseLoss: 1 + (n % 5) / 10,
      tunedLoss: 1 + loss + ((n + 2) % 5) / 10,
      baseAccuracy: 0.5,
      tunedAccuracy: 0.6,
    }));
  const cases: [string, Pair[], string, string | null][] = [
    ["most answers fixed", pairs(50, 0, 45), "better", "exact_match"],
    ["most answers broken", pairs(50, 45, 0), "worse", "exact_match"],
    ["as many fixed as broken", pairs(50, 10, 10), "no_clear_difference", null],
    ["one fixed of many", pairs(50, 0, 1), "no_clear_difference", null],
    ["no exact answer, lower loss", pairs(50, 0, 0, -0.5), "better", "loss"],
    ["no exact answer, higher loss", pairs(50, 0, 0, 0.5), "worse", "loss"],
    ["no exact answer, the same loss", pairs(50, 0, 0), "no_clear_difference", null],
    ["hardly any rows", pairs(5, 0, 5), "too_few_rows", null],
    ["no rows", [], "too_few_rows", null],
  ];
  test.each(cases)("%s", (_, given, verdict, by) => {
    const made = compare(given);
    expect([made.verdict, made.decided_by]).toEqual([verdict as typeof made.verdict, by as typeof made.decided_by]);
    expect(made.sentence).not.toContain("NaN");
  });

  test("of a reward model depends only on pairs", () => {
    const sure = compare(pairs(50, 5, 45), "pairs");
    expect([sure.verdict, sure.sentence]).toEqual([
      "better",
      expect.stringContaining("45 of 50 pairs are ranked correctly"),
    ]);
    expect(compare(pairs(50, 0, 0, -0.5), "pairs").verdict).toBe("no_clear_difference");
  });

  test("of texts depends only on loss", () => {
    const found = [-0.5, 0.5, 0].map((loss) => compare(pairs(50, 10, 10, loss), "texts"));
    expect(found.map(({ verdict, decided_by }) => [verdict, decided_by])).toEqual([
      ["better", "loss"],
      ["worse", "loss"],
      ["no_clear_difference", "loss"],
    ]);
    for (const { sentence } of found) expect(sentence).not.toContain("exact");
    expect(compare(pairs(5, 0, 0, -0.5), "texts").verdict).toBe("too_few_rows");
  });

  test("the interval contains the true difference about as often as stated", () => {
    let seed = 12345;
    const random = () => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed / 2147483648;
    };
    let held = 0;
    for (let n = 0; n < 200; n++) {
      const differences = Array.from({ length: 60 }, () => (random() < 0.3 ? 1 : 0) - (random() < 0.2 ? 1 : 0));
      const { low, high } = pairedInterval(
        differences,
        differences.map(() => 1),
      );
      if (low <= 0.1 && 0.1 <= high) held++;
    }
    expect(held).toBeGreaterThan(175);
    expect(held).toBeLessThan(200);
  });
});
