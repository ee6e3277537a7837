/** Numbers, durations and texts as pages show them, and the arithmetic behind charts. */
import { expect, test } from "bun:test";
import * as f from "../../src/lib/text/format.ts";
import { diffWords } from "../../views/parts/sides.tsx";

const NOW = Date.UTC(2026, 2, 4, 12);

test.each([
  [f.formatCount(999), "999"],
  [f.formatCount(1234), "1.2K"],
  [f.formatCount(999_960), "1M"],
  [f.formatCount(134_515_008), "135M"],
  [f.formatCount(null), "–"],
  [f.formatInteger(12_345), "12,345"],
  [f.formatNumber(0.0421), "0.0421"],
  [f.formatNumber(0.00002), "2.0e-5"],
  [f.formatNumber(1234.5), "1,235"],
  [f.formatNumber(Number.NaN), "NaN"],
  [f.formatNumber(0.5), "0.5"],
  [f.formatRate(0.00002), "2e-5"],
  [f.formatRate(0.001), "0.001"],
  [f.formatPercent(0.894), "89%"],
  [f.formatPercent(0.0421), "4.2%"],
  [f.formatPercent(1), "100%"],
  [f.formatPercent(0), "0%"],
  [f.formatDuration(0.42), "420 ms"],
  [f.formatDuration(8.44), "8.4 s"],
  [f.formatDuration(200), "3 min 20 s"],
  [f.formatDuration(59.9), "1 min"],
  [f.formatDuration(3600), "1 h"],
  [f.formatDuration(7500), "2 h 5 min"],
  [f.formatDuration(90_000), "1 d 1 h"],
  [f.formatMoney(0), "$0"],
  [f.formatMoney(0.42), "$0.42"],
  [f.formatMoney(0.0042), "$0.004"],
  [f.formatMoney(1280.4), "$1,280"],
  [f.formatBytes(812), "812 B"],
  [f.formatBytes(98 * 1024 ** 2), "98 MB"],
  [f.formatBytes(1.6 * 1024 ** 3), "1.6 GB"],
  [f.formatRelative(NOW - 3000, NOW), "just now"],
  [f.formatRelative(NOW - 240_000, NOW), "4 min ago"],
  [f.formatRelative(NOW + 7_200_000, NOW), "in 2 h"],
  [f.formatRelative(NOW + 30 * 86_400_000 - 5000, NOW), "in 30 d"],
  [f.formatRelative(NOW - 40 * 86_400_000, NOW), "2026-01-23"],
  [f.shortId("ftjob-0123456789abcdefghij"), "ftjob-012345…"],
  [f.plural(1, "row"), "1 row"],
  [f.plural(1200, "row"), "1,200 rows"],
])("%s is written %s", (got, expected) => {
  expect(got).toBe(expected);
});

test("a difference marks the words that differ and keeps both texts whole", () => {
  const pieces = diffWords('{"urgency":"low"}', '{"urgency":"high"}');
  expect(
    pieces
      .filter((piece) => piece.kind !== "only_b")
      .map((piece) => piece.text)
      .join(""),
  ).toBe('{"urgency":"low"}');
  expect(
    pieces
      .filter((piece) => piece.kind !== "only_a")
      .map((piece) => piece.text)
      .join(""),
  ).toBe('{"urgency":"high"}');
  expect(pieces.filter((piece) => piece.kind === "only_b").map((piece) => piece.text)).toEqual(["high"]);
});

// Scripts of the browser are typed as embedded files; this one is pure arithmetic and runs here too.
const series = (await import("../../views/assets/series.js")) as unknown as {
  addPoints(map: Map<number, number | null>, points: [number, unknown][]): Map<number, number | null>;
  align(maps: Map<number, number | null>[]): (number | null | undefined)[][];
  smooth(values: (number | null | undefined)[], weight: number): (number | null | undefined)[];
  thin(map: Map<number, number | null>, most: number): Map<number, number | null>;
  toCsv(labels: string[], aligned: unknown[][]): string;
  progressBy(by: string, seconds: Map<number, number>, rates: Map<number, number>): (step: number) => number | null;
  moved(map: Map<number, number>, place: (step: number) => number | null): Map<number, number>;
};

const axis = (await import("../../views/assets/chart-format.js")) as unknown as {
  labels(values: (number | null)[], format: (value: number, digits?: number) => string): string[];
  FORMATS: Record<string, (value: number, digits?: number) => string>;
};

test.each([
  ["number", [0, 0.5, 1], ["0", "0.5", "1"]],
  ["number", [10.71, 10.72, 10.73], ["10.71", "10.72", "10.73"]],
  ["percent", [0.95, 0.9505, null], ["95%", "95.05%", ""]],
  ["rate", [0.000012, 0.0000121], ["1.20e-5", "1.21e-5"]],
  ["megabytes", [2048, 2049], ["2 GB", "2.001 GB"]],
  ["money", [0, 2, 48.84, 0.004, 1234], ["$0", "$2", "$48.84", "$0.004", "$1.23K"]],
  ["money", [0.012, 0.014], ["$0.012", "$0.014"]],
])("an axis in %s of %p has labels that differ", (unit, values, texts) => {
  expect(axis.labels(values, axis.FORMATS[unit] ?? String)).toEqual(texts);
});

test("steps are placed by tokens and by minutes of training, also between and after measurements", () => {
  // 10 steps of 6 s at 100 tokens/s, then 10 of 12 s at 50: 600 tokens a step throughout.
  const seconds = new Map([
    [20, 12],
    [10, 6],
  ]);
  const rates = new Map([
    [10, 100],
    [20, 50],
  ]);
  const steps = [0, 5, 10, 15, 20, 25];
  expect(steps.map(series.progressBy("tokens", seconds, rates))).toEqual([0, 3000, 6000, 9000, 12_000, 15_000]);
  expect(steps.map(series.progressBy("time", seconds, rates))).toEqual([0, 0.5, 1, 2, 3, 4]);
  const none = series.progressBy("time", new Map(), new Map());
  expect([...series.moved(new Map([[3, 0.5]]), none)]).toEqual([]);
  expect([...series.moved(new Map([[15, 0.5]]), series.progressBy("time", seconds, rates))]).toEqual([[2, 0.5]]);
});

test("points merge by step, and what is no number is a gap", () => {
  const map = series.addPoints(new Map(), [
    [1, 2],
    [2, "NaN"],
    [1, 3],
  ]);
  expect([...map]).toEqual([
    [1, 3],
    [2, null],
  ]);
});

test("series of different steps stand over the same axis", () => {
  const aligned = series.align([
    new Map([
      [1, 5],
      [3, 6],
    ]),
    new Map([[2, 7]]),
  ]);
  expect(aligned).toEqual([
    [1, 2, 3],
    [5, undefined, 6],
    [undefined, 7, undefined],
  ]);
});

test("smoothing starts at the first value and keeps gaps", () => {
  const [first, gap, last] = series.smooth([4, null, 8], 0.5);
  expect(first).toBe(4);
  expect(gap).toBeNull();
  expect(last).toBeCloseTo(6.667, 2);
});

test("thinning keeps spikes and the end", () => {
  const map = new Map(Array.from({ length: 10_000 }, (_, n) => [n, n === 5000 ? 99 : n % 3] as [number, number]));
  const kept = series.thin(map, 200);
  expect(kept.size).toBeLessThanOrEqual(202);
  expect(kept.get(5000)).toBe(99);
  expect(kept.has(9999)).toBe(true);
});

test("CSV quotes what needs it", () => {
  expect(series.toCsv(["step", 'a "b", c'], [[1], [undefined]])).toBe('step,"a ""b"", c"\n1,\n');
});
