/** Scatter plots of score by value, one for each field of the sweep. */
import { formatNumber } from "../../../src/lib/text/format.ts";
import type { SweepView, TrialView } from "../../../src/training/sweeps/model.ts";
import { scoreOf, valuesOf } from "./words.ts";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [320, 180, 52, 12, 10, 26];
/** A range with this ratio of largest to smallest value gets a logarithmic axis. */
const LOG_FROM = 20;

type Dot = { trial: TrialView; x: number; y: number };

/** Horizontal positions (0 to 1) of values, and the tick labels. */
export function axisOf(values: (string | number | boolean)[]) {
  const numbers = values.every((value) => typeof value === "number") ? (values as number[]) : null;
  if (!numbers) {
    const names = [...new Set(values.map(String))];
    return {
      at: (value: unknown) => (names.indexOf(String(value)) + 0.5) / names.length,
      ticks: names.map((name, n): [number, string] => [(n + 0.5) / names.length, name]),
    };
  }
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const log = low > 0 && high / low >= LOG_FROM;
  const place = (value: number) => (log ? Math.log(value) : value);
  const span = place(high) - place(low) || 1;
  const at = (value: unknown) => 0.06 + (0.88 * (place(Number(value)) - place(low))) / span;
  const shown = [...new Set(numbers)].sort((a, b) => a - b);
  const some = shown.length <= 4 ? shown : [low, high];
  return { at, ticks: some.map((value): [number, string] => [at(value), String(value)]) };
}

function Plot({ field, sweep, dots }: { field: string; sweep: SweepView; dots: TrialView[] }) {
  const axis = axisOf(dots.map((one) => one.values[field] ?? ""));
  const scores = dots.map((one) => one.score ?? 0);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const span = high - low || 1;
  const left = (share: number) => LEFT + share * (WIDTH - LEFT - RIGHT);
  const top = (score: number) => TOP + (0.94 - (0.88 * (score - low)) / span) * (HEIGHT - TOP - BOTTOM);
  const placed: Dot[] = dots.map((trial) => ({
    trial,
    x: left(axis.at(trial.values[field])),
    y: top(trial.score ?? 0),
  }));
  return (
    <figure class="panel">
      <h3>{`${sweep.metric} by ${field}`}</h3>
      <svg class="scatter" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${sweep.metric} by ${field}`}>
        <path class="frame" d={`M${LEFT},${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}`} />
        {(high > low ? [low, high] : [low]).map((score) => (
          <text x={LEFT - 6} y={top(score) + 4} class="end">
            {formatNumber(score, 3)}
          </text>
        ))}
        {axis.ticks.map(([share, label]) => (
          <text x={left(share)} y={HEIGHT - 8} class="middle">
            {label}
          </text>
        ))}
        {placed.map(({ trial, x, y }) => (
          <circle
            cx={x.toFixed(1)}
            cy={y.toFixed(1)}
            r={trial.number === sweep.best ? 6 : 4}
            class={trial.number === sweep.best ? "best" : trial.state}
          >
            <title>{`Trial ${trial.number}: ${valuesOf(trial.values)}; ${scoreOf(trial.score)}`}</title>
          </circle>
        ))}
      </svg>
    </figure>
  );
}

/** One plot for each field with two or more values, once two trials have a score. */
export function Scatter({ sweep }: { sweep: SweepView }) {
  const dots = sweep.trials.filter((one) => one.score !== null);
  const fields = Object.keys(sweep.space).filter((field) => new Set(dots.map((one) => one.values[field])).size > 1);
  if (dots.length < 2 || fields.length === 0) return null;
  return (
    <div class="scatters">
      {fields.map((field) => (
        <Plot field={field} sweep={sweep} dots={dots} />
      ))}
    </div>
  );
}
