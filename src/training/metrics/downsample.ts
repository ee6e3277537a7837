/** Thins a series for a chart without losing spikes: every slice keeps its smallest and largest value. */

/** Columns of equal length; null stands for a non-finite value. */
export interface Columns {
  steps: number[];
  values: (number | null)[];
}

export type Point = [step: number, value: number | null];

/**
 * At most `max` points (4 or more) in ascending order of step: the first, the last, and the smallest and largest value
 * of every slice between. A slice without a finite value becomes one null, which a chart draws as a gap.
 */
export function downsample({ steps, values }: Columns, max: number): Point[] {
  const count = steps.length;
  const at = (index: number): Point => [steps[index] as number, values[index] ?? null];
  if (count <= max) return steps.map((_, index) => at(index));
  const slices = Math.floor((max - 2) / 2);
  const points: Point[] = [at(0)];
  for (let slice = 0; slice < slices; slice++) {
    const from = 1 + Math.floor((slice * (count - 2)) / slices);
    const to = 1 + Math.floor(((slice + 1) * (count - 2)) / slices);
    let low = -1;
    let high = -1;
    for (let index = from; index < to; index++) {
      const value = values[index];
      if (value === null || value === undefined) continue;
      if (low < 0 || value < (values[low] as number)) low = index;
      if (high < 0 || value > (values[high] as number)) high = index;
    }
    if (low < 0) points.push(at(from));
    else if (low === high) points.push(at(low));
    else points.push(at(Math.min(low, high)), at(Math.max(low, high)));
  }
  points.push(at(count - 1));
  return points;
}
