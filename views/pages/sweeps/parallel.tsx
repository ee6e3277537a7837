/** Parallel coordinates of a sweep, a line for each trial, and the rank correlation of its settings. */
import { formatNumber } from "../../../src/lib/text/format.ts";
import { importanceOf } from "../../../src/training/sweeps/importance.ts";
import type { SweepView, TrialView } from "../../../src/training/sweeps/model.ts";
import { axisOf } from "./scatter.tsx";
import { scoreOf, valuesOf } from "./words.ts";

const [WIDTH, HEIGHT, SIDE, TOP, BOTTOM] = [720, 260, 80, 34, 16];

/** A line for each scored trial over an axis for each varied setting and one for the metric. The table is above. */
export function Parallel({ sweep }: { sweep: SweepView }) {
  const scored = sweep.trials.filter((one) => one.score !== null);
  const varied = Object.keys(sweep.space).filter((field) => new Set(scored.map((one) => one.values[field])).size > 1);
  if (scored.length < 2 || varied.length < 2) return null;
  const columns = [
    ...varied.map((name) => ({ name, value: (one: TrialView) => one.values[name] ?? "" })),
    { name: sweep.metric, value: (one: TrialView) => one.score ?? 0 },
  ].map((column, n, all) => ({
    ...column,
    x: SIDE + (n * (WIDTH - 2 * SIDE)) / (all.length - 1),
    axis: axisOf(scored.map(column.value)),
  }));
  const top = (share: number) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  const label = (text: string) => (text === "" || Number.isNaN(Number(text)) ? text : formatNumber(Number(text), 3));
  // The best is drawn last, over the others.
  const ordered = [...scored].sort((a, b) => Number(a.number === sweep.best) - Number(b.number === sweep.best));
  return (
    <section class="panel parallel" tabindex={0} aria-label="Parallel coordinates">
      <h3>Settings and result of each trial</h3>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label="Parallel coordinates; the values are in the table">
        {ordered.map((one) => (
          <polyline
            class={one.number === sweep.best ? "best" : one.state}
            points={columns
              .map(({ x, axis, value }) => `${x.toFixed(1)},${top(axis.at(value(one))).toFixed(1)}`)
              .join(" ")}
          >
            <title>{`Trial ${one.number}: ${valuesOf(one.values)}; ${scoreOf(one.score)}`}</title>
          </polyline>
        ))}
        {columns.map(({ name, x, axis }) => (
          <>
            <path class="frame" d={`M${x.toFixed(1)},${TOP}V${HEIGHT - BOTTOM}`} />
            <text x={x.toFixed(1)} y={TOP - 18} class="middle">
              {name}
            </text>
            {axis.ticks.map(([share, text]) => (
              <text x={(x + 6).toFixed(1)} y={(top(share) + 4).toFixed(1)}>
                {label(text)}
              </text>
            ))}
          </>
        ))}
      </svg>
    </section>
  );
}

/** Nothing below 5 completed trials. */
export function Importance({ sweep }: { sweep: SweepView }) {
  const found = importanceOf(sweep);
  if (found.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="importance-title">
      <header>
        <h2 id="importance-title">Importance of settings</h2>
        <span class="muted small">{`rank correlation (Spearman) with ${sweep.metric}, completed trials`}</span>
      </header>
      <div class="table-wrap">
        <table class="list still">
          <thead>
            <tr>
              <th scope="col">Setting</th>
              <th scope="col" class="end">
                Rank correlation
              </th>
            </tr>
          </thead>
          <tbody>
            {found.map(({ field, correlation }) => (
              <tr>
                <th scope="row">{field}</th>
                <td class="end">{`${correlation < 0 ? "−" : "+"}${Math.abs(correlation).toFixed(2)}`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
