/** The element in which chart.js draws; without scripts, the table of values remains readable. */
import { formatNumber } from "../../src/lib/text/format.ts";
import { Icon } from "./icons.tsx";

export interface ChartSeries {
  /** Key in the answer of `src`, e.g. `train/loss`. */
  key: string;
  label: string;
  /** Color 1 to 8; train is always 1 and eval always 2. */
  color: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;
  /** Job whose live batches update it; absent for a finished job. */
  job?: string;
  /** Address of its points; the `src` of the chart when absent. */
  src?: string;
  /** Initial points, for the table and the first drawing. */
  points?: [step: number, value: number | null][];
}

/** Names of the horizontal axes other than steps. */
const BY = { tokens: "Tokens", time: "Minutes" } as const;

/** `src` answers `{series: {key: [[step, value], …]}}` for `?keys=&from=&to=&max=`. */
export function Chart(props: {
  id: string;
  title: string;
  src: string;
  series: ChartSeries[];
  small?: boolean;
  /** `number`, `percent`, `seconds`, `megabytes`, `rate`. */
  unit?: string;
  /** Name of the horizontal axis. */
  axis?: string;
  /** The horizontal axis is time, in seconds since 1970. */
  time?: boolean;
  /** The vertical axis goes from 0 to this value. */
  max?: number;
  /** The horizontal axis is tokens or training time instead of steps. */
  by?: "tokens" | "time";
}) {
  const Title = props.small ? "h3" : "h2";
  const known = props.series.every(({ label }) => label === "Training" || label === "Validation");
  const shown = props.series.map(({ points: _points, ...rest }) => rest);
  return (
    <ft-chart
      id={props.id}
      class={["chart", props.small && "small", props.series.length > 1 && "many", known && "known"]
        .filter(Boolean)
        .join(" ")}
      data-src={props.src}
      data-series={JSON.stringify(shown)}
      data-unit={props.unit ?? "number"}
      data-axis={props.axis ?? (props.by ? BY[props.by] : "Step")}
      data-by={props.by}
      data-time={props.time ? "" : undefined}
      data-max={props.max === undefined ? undefined : String(props.max)}
      data-title={props.title}
      hx-morph-skip
    >
      <figure>
        <div class="chart-head">
          <Title title={props.small ? props.title : undefined}>{props.title}</Title>
          <ul class="legend" data-legend />
          <div class="tools" data-tools />
        </div>
        <div class="plot waiting" data-plot>
          <span>Charts need JavaScript. The values are in the table below.</span>
        </div>
        <figcaption class="visually-hidden">
          {props.title} by {props.axis ?? "step"}. The values are in the table below.
        </figcaption>
      </figure>
      <details class="more" data-table>
        <summary>
          <Icon name="right" />
          Values<span class="visually-hidden"> of {props.title}</span>
        </summary>
        <DataTable title={props.title} axis={props.axis ?? "Step"} series={props.series} />
      </details>
    </ft-chart>
  );
}

function DataTable({ title, axis, series }: { title: string; axis: string; series: ChartSeries[] }) {
  const steps = [...new Set(series.flatMap((one) => (one.points ?? []).map(([step]) => step)))].sort((a, b) => a - b);
  const maps = series.map((one) => new Map(one.points ?? []));
  return (
    <section class="data" tabindex={0} aria-label={`Values of ${title}`}>
      <table class="list still">
        <thead>
          <tr>
            <th scope="col">{axis}</th>
            {series.map((one) => (
              <th scope="col" class="end">
                {one.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {steps.slice(-200).map((step) => (
            <tr>
              <td class="num">{step}</td>
              {maps.map((map) => (
                <td class="end">{map.has(step) ? formatNumber(map.get(step), 4) : ""}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
