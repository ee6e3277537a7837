// Points of series, independent of drawing: merge live values, align, smooth, thin, CSV.

/**
 * Adds points to a map from step to value; later values replace earlier ones at the same step. "NaN" and other
 * non-numbers become gaps.
 */
export function addPoints(map, points) {
  for (const [step, value] of points) map.set(step, typeof value === "number" && Number.isFinite(value) ? value : null);
  return map;
}

/**
 * `[steps, values of the first, values of the second, …]` over the union of all steps; undefined where a series has no
 * point, null where it has a gap.
 */
export function align(maps) {
  const steps = [...new Set(maps.flatMap((map) => [...map.keys()]))].sort((a, b) => a - b);
  return [steps, ...maps.map((map) => steps.map((step) => map.get(step)))];
}

/** Series from which the tokens and the time of a step follow. */
export const PACE = ["perf/step_seconds", "perf/tokens_per_second"];

/**
 * A function from step to the tokens, or minutes of training, up to it. The pace is measured for the steps since the
 * previous measurement; steps between two measurements are interpolated, later ones go on at the last pace.
 * @param seconds step -> seconds per step
 * @param rates step -> tokens per second
 */
export function progressBy(by, seconds, rates) {
  const steps = [...seconds.keys()].filter((step) => seconds.get(step) !== null).sort((a, b) => a - b);
  const per = (step) => seconds.get(step) * (by === "tokens" ? (rates.get(step) ?? 0) : 1 / 60);
  const sums = [];
  let [sum, from] = [0, 0];
  for (const step of steps) {
    sum += per(step) * (step - from);
    from = step;
    sums.push(sum);
  }
  return (step) => {
    if (steps.length === 0) return null;
    // The first measurement at or after the step, or the last.
    let [at, end] = [0, steps.length - 1];
    while (at < end) {
      const middle = (at + end) >> 1;
      if (steps[middle] < step) at = middle + 1;
      else end = middle;
    }
    return sums[at] - per(steps[at]) * (steps[at] - step);
  };
}

/** Points by another horizontal axis; points without a place on it are left out. */
export function moved(map, place) {
  const points = [...map].map(([step, value]) => [place(step), value]);
  return new Map(points.filter(([x]) => x !== null));
}

/** Exponential moving average, corrected for its start; gaps stay gaps. `weight` 0 (none) to 1. */
export function smooth(values, weight) {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = sum * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return sum / mass;
  });
}

/** Keeps at most `most` points: the minimum and maximum of every bucket, so that spikes stay visible. */
export function thin(map, most) {
  if (map.size <= most) return map;
  const points = [...map.entries()].sort((a, b) => a[0] - b[0]);
  const per = Math.ceil(points.length / (most / 2));
  const kept = new Map();
  for (let i = 0; i < points.length; i += per) {
    const bucket = points.slice(i, i + per);
    const low = bucket.reduce((a, b) => ((b[1] ?? Infinity) < (a[1] ?? Infinity) ? b : a));
    const high = bucket.reduce((a, b) => ((b[1] ?? -Infinity) > (a[1] ?? -Infinity) ? b : a));
    for (const [step, value] of [low, high].sort((a, b) => a[0] - b[0])) kept.set(step, value);
  }
  const [step, value] = points.at(-1);
  return kept.set(step, value);
}

/** Aligned data as CSV. */
export function toCsv(labels, aligned) {
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [labels.map(quote).join(",")];
  for (let i = 0; i < aligned[0].length; i++) lines.push(aligned.map((column) => column[i] ?? "").join(","));
  return `${lines.join("\n")}\n`;
}
