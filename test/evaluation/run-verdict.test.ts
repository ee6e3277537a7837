/** The sentence that says which of several training runs is better. */
import { expect, test } from "bun:test";
import { bestTwo, type RunScore, runVerdict } from "../../src/evaluation/run-verdict.ts";

const run = (name: string, value: number | null, more: Partial<RunScore> = {}): RunScore => ({
  name,
  value,
  metric: "eval/loss",
  basis: "dsv_1 base",
  ...more,
});
/** Shared rows: only the better run correct, only the other, both, neither. */
const rows = (best: number, next: number, both: number, neither: number): [boolean, boolean][] => [
  ...Array.from({ length: best }, (): [boolean, boolean] => [true, false]),
  ...Array.from({ length: next }, (): [boolean, boolean] => [false, true]),
  ...Array.from({ length: both }, (): [boolean, boolean] => [true, true]),
  ...Array.from({ length: neither }, (): [boolean, boolean] => [false, false]),
];
const LOSS = [run("a", 0.5), run("b", 0.4), run("c", 0.9)];
const REWARD = [run("a", 0.5, { metric: "eval/reward" }), run("b", 0.4, { metric: "eval/reward" })];

test.each([
  ["the lowest loss wins", LOSS, [1, 0]],
  ["the highest reward wins", REWARD, [0, 1]],
  ["a run without the metric does not count", [run("a", null), run("b", 2), run("c", 1)], [2, 1]],
  ["other validation data is not comparable", [run("a", 1), run("b", 2, { basis: "dsv_2 base" })], null],
  ["one value is no comparison", [run("a", 1), run("b", null)], null],
])("%s", (_name, runs, places) => expect(bestTwo(runs)).toEqual(places as [number, number] | null));

test.each([
  ["clear", rows(20, 2, 60, 18), "more than noise (+18.0 points in exact match, 95% interval +9.2 to +26.6, 100 rows)"],
  ["within noise", rows(5, 4, 60, 31), "but the answers differ by no more than noise (+1.0 points in exact match"],
  [
    "opposite",
    rows(2, 20, 60, 18),
    "but “a” answers better by more than noise (+18.0 points in exact match, 95% interval +9.2 to +26.6, 100 rows)",
  ],
  ["too few", rows(3, 0, 0, 1), "they share 4 evaluated rows, too few to know"],
  ["none", [], "unknown until both are evaluated on the same rows"],
])("noise: %s", (_name, pairs, words) => {
  const sentence = runVerdict(LOSS, pairs);
  expect(sentence).toStartWith("“b” is better by validation loss: 0.4, next “a” with 0.5");
  expect(sentence).toContain(words);
});

test.each([
  [[run("a", 1), run("b", null)], "fewer than two of these runs have a validation metric"],
  [[run("a", 1), run("b", 2, { basis: "dsv_2 base" })], "not comparable"],
  [[run("a", 1), run("b", 1)], "“a” and “b” have the same validation loss (1)"],
])("no winner: %#", (runs, words) => expect(runVerdict(runs, [])).toContain(words));
