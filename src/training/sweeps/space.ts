/** The values of a sweep's trials: a grid, or random draws that depend only on the seed. Pure. */
import type { Space, Strategy, TrialValue, TrialValues, ValueRange } from "../../contract/sweep.ts";

/** Fields with fractional numbers; all other fields are whole numbers. */
const FRACTIONS = new Set([
  "learning_rate",
  "learning_rate_multiplier",
  "lora_alpha",
  "lora_dropout",
  "beta",
  "label_smoothing",
  "desirable_weight",
  "undesirable_weight",
  "center",
  "temperature",
  "neftune_alpha",
  "warmup_ratio",
  "weight_decay",
  "max_grad_norm",
]);
/** Draws per trial before a space without further combinations is given up. */
const DRAWS = 50;

/** Numbers in [0, 1) that depend only on the seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The number at `share` (0 to 1) of a range, rounded to four significant digits. */
function within(field: string, { min, max, scale }: ValueRange, share: number): number {
  const value = scale === "log" ? min * (max / min) ** share : min + (max - min) * share;
  return FRACTIONS.has(field) ? Number(value.toPrecision(4)) : Math.round(value);
}

/** The distinct values of a field in a grid. */
function gridValues(field: string, values: Space[string]): TrialValue[] {
  if (Array.isArray(values)) return [...new Set(values)];
  const last = Math.max(1, values.points - 1);
  return [...new Set(Array.from({ length: values.points }, (_, n) => within(field, values, n / last)))];
}

/** Number of trials in a grid, without building it. */
export const gridSize = (space: Space): number =>
  Object.entries(space).reduce((product, [field, values]) => product * gridValues(field, values).length, 1);

function grid(space: Space): TrialValues[] {
  return Object.entries(space).reduce<TrialValues[]>(
    (made, [field, values]) =>
      made.flatMap((one) => gridValues(field, values).map((value) => ({ ...one, [field]: value }))),
    [{}],
  );
}

function drawn(space: Space, trials: number, seed: number): TrialValues[] {
  const next = generator(seed);
  const draw = () =>
    Object.fromEntries(
      Object.entries(space).map(([field, values]) => [
        field,
        Array.isArray(values)
          ? (values[Math.floor(next() * values.length)] as TrialValue)
          : within(field, values, next()),
      ]),
    );
  const made = new Map<string, TrialValues>();
  for (let tries = 0; made.size < trials && tries < trials * DRAWS; tries++) {
    const one = draw();
    made.set(JSON.stringify(one), one);
  }
  return [...made.values()];
}

/** The trials of a sweep in order, each combination once. A small space may have fewer than requested. */
export const trialsOf = (space: Space, strategy: Strategy): TrialValues[] =>
  strategy.type === "grid" ? grid(space) : drawn(space, strategy.trials, strategy.seed);
