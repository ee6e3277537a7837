/** Paired comparison of two sides: the verdict and the coverage of its interval. */
import { describe, expect, test } from "bun:test";
import { compare, type Pair, pairedInterval, pairedShares } from "../../src/evaluation/statistics.ts";

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

  test.each([
    // hits of both, fine-tuned only, base only, neither -> interval of the difference in points
    ["12 of 12 against 0 of 12", 0, 12, 0, 0, [65.7, 100]],
    ["equal sides", 6, 0, 0, 6, [-14.2, 14.2]],
  ] as const)("an interval of paired shares: %s", (_, both, tuned, base, neither, [low, high]) => {
    const rows = [
      ...Array.from({ length: both }, () => [true, true] as const),
      ...Array.from({ length: tuned }, () => [false, true] as const),
      ...Array.from({ length: base }, () => [true, false] as const),
      ...Array.from({ length: neither }, () => [false, false] as const),
    ];
    const found = pairedShares(rows);
    expect([found.low * 100, found.high * 100].map((value) => Number(value.toFixed(1)))).toEqual([low, high]);
  });

  test.each([
    [0.3, 0.5, 0.1, 0.1],
    [0.1, 0.6, 0.05, 0.25],
    [0.45, 0.05, 0.05, 0.45],
    [0.02, 0.95, 0.01, 0.02],
  ])(
    "of 12 rows it contains the true difference in nine of ten samples or more (%p %p %p %p)",
    (both, better, worse, neither) => {
      const shares = [both, better, worse, neither];
      const logs: number[] = [0];
      for (let k = 1; k <= 12; k++) logs[k] = (logs[k - 1] ?? 0) + Math.log(k);
      const outcomes = [
        [true, true],
        [false, true],
        [true, false],
        [false, false],
      ] as const;
      let held = 0;
      for (let a = 0; a <= 12; a++)
        for (let b = 0; a + b <= 12; b++)
          for (let c = 0; a + b + c <= 12; c++) {
            const counts = [a, b, c, 12 - a - b - c];
            const log = counts.reduce(
              (sum, k, n) => sum + k * Math.log(shares[n] ?? 0) - (logs[k] ?? 0),
              logs[12] ?? 0,
            );
            const rows = counts.flatMap((k, n) => Array.from({ length: k }, () => outcomes[n] ?? outcomes[0]));
            const { low, high } = pairedShares(rows);
            const truth = better - worse;
            if (low <= truth && truth <= high) held += Math.exp(log);
          }
      expect(held).toBeGreaterThan(0.91);
      expect(held).toBeLessThanOrEqual(1 + 1e-9);
    },
  );

  test("a grader decides, over rows that it graded on both sides", () => {
    const rewarded = pairs(12, 12, 0).map((pair, n) => ({ ...pair, baseReward: n === 0 ? null : 0, tunedReward: 1 }));
    const found = compare(rewarded, "answers", { base: "with ft:a", tuned: "with ft:b" });
    expect([found.verdict, found.decided_by]).toEqual(["better", "reward"]);
    expect(found.sentence).toContain("mean reward 1.000 with ft:b, 0.000 with ft:a");
    expect(found.reward?.low).toBeLessThan(0.8);
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
