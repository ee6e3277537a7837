/** Stacked columns over time, which bars.js draws, with their values as a table; and one bar of several parts. */
import { Icon } from "./icons.tsx";

interface BarSeries {
  label: string;
  /** Class that gives the color: `series-1` to `series-7`, `series-rest`. */
  tone: string;
  values: number[];
}

interface BarsProps {
  id: string;
  title: string;
  /** Beginning of each column, in seconds since 1970 (UTC). */
  times: number[];
  width: "1d" | "1h";
  /** From the bottom upwards. */
  series: BarSeries[];
  /** A format of chart-format.js. */
  unit: string;
  format: (value: number) => string;
}

const stamp = (time: number, width: "1d" | "1h") =>
  width === "1d"
    ? new Date(time * 1000).toISOString().slice(0, 10)
    : new Date(time * 1000).toISOString().slice(0, 16).replace("T", " ");

/** Without scripts the table of values is what is read. */
export function Bars({ id, title, times, width, series, unit, format }: BarsProps) {
  return (
    <ft-bars
      id={id}
      class="chart many"
      data-times={JSON.stringify(times)}
      data-series={JSON.stringify(series)}
      data-width={width}
      data-unit={unit}
    >
      <figure>
        <div class="chart-head">
          <h2>{title}</h2>
          <ul class="legend" data-legend hx-morph-skip />
        </div>
        <div class="plot waiting" data-plot hx-morph-skip>
          <span>Charts need JavaScript. The values are in the table below.</span>
        </div>
        <figcaption class="visually-hidden">{title}, stacked. The values are in the table below.</figcaption>
      </figure>
      <details class="more" data-table>
        <summary>
          <Icon name="right" />
          Values<span class="visually-hidden"> of {title}</span>
        </summary>
        <section class="data" tabindex={0} aria-label={`Values of ${title}`}>
          <table class="list still">
            <thead>
              <tr>
                <th scope="col">{width === "1d" ? "Day (UTC)" : "Hour (UTC)"}</th>
                {series.map(({ label }) => (
                  <th scope="col" class="end">
                    {label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {times.map((time, n) => (
                <tr>
                  <td class="num nowrap">{stamp(time, width)}</td>
                  {series.map(({ values }) => (
                    <td class="end">{format(values[n] ?? 0)}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </details>
    </ft-bars>
  );
}

/** One bar of several parts, with their values below it. */
export function Shares({
  label,
  parts,
}: {
  label: string;
  parts: { label: string; tone: string; value: number; text: string; hint?: string }[];
}) {
  const total = parts.reduce((sum, { value }) => sum + value, 0) || 1;
  let from = 0;
  return (
    <div class="shares">
      <svg viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label={label}>
        {parts.map(({ tone, value }) => {
          const width = (value / total) * 100;
          from += width;
          return <rect class={tone} x={from - width} y="0" width={width} height="1" fill="currentColor" />;
        })}
      </svg>
      <ul>
        {parts.map((part) => (
          <li title={part.hint}>
            <i class={`mark ${part.tone}`} />
            <span>{part.label}</span>
            <b class="num">{part.text}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}
