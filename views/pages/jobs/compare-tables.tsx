/** Results and settings of compared runs, with a column for each run. */
import { formatDuration, formatMoney, formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { usePage, withQuery } from "../../context.ts";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type ComparedRun, colorOf } from "./compare-page-data.ts";
import { settingsOf } from "./describe.ts";

interface Line {
  label: string;
  values: (number | null)[];
  format: (value: number | null) => string;
  /** Which values are better; null where neither is. */
  best: "low" | "high" | null;
}

const last = (run: ComparedRun, key: string) => run.series.series[key]?.last_value ?? null;
const seconds = (job: JobRow) => (job.startedAt && job.finishedAt ? (job.finishedAt - job.startedAt) / 1000 : null);

function outcomes(runs: ComparedRun[]): Line[] {
  const of = (
    label: string,
    best: Line["best"],
    format: Line["format"],
    read: (run: ComparedRun) => number | null | undefined,
  ): Line => ({ label, best, format, values: runs.map((run) => read(run) ?? null) });
  const percent = (value: number | null) => formatPercent(value, 1);
  const plain = (value: number | null) => formatNumber(value);
  return [
    of("Exact match before", null, percent, (run) => run.evaluation?.base.exact_match.mean),
    of("Exact match after", "high", percent, (run) => run.evaluation?.tuned?.exact_match.mean),
    of("Preference accuracy before", null, percent, (run) => run.evaluation?.base.preference?.mean),
    of("Preference accuracy after", "high", percent, (run) => run.evaluation?.tuned?.preference?.mean),
    of("Token accuracy after", "high", percent, (run) => run.evaluation?.tuned?.token_accuracy.mean),
    of("Perplexity after", "low", plain, (run) => run.evaluation?.tuned?.perplexity),
    of("Last training loss", "low", plain, (run) => last(run, "train/loss")),
    of("Last validation loss", "low", plain, (run) => last(run, "eval/loss")),
    of("Time", "low", formatDuration, (run) => seconds(run.job)),
    of("Cost", "low", formatMoney, (run) => run.costUsd),
  ].filter((line) => line.values.some((value) => value !== null));
}

function bestOf({ values, best }: Line): number | null {
  const known = values.filter((value) => value !== null);
  if (!best || known.length < 2 || new Set(known).size < 2) return null;
  return best === "low" ? Math.min(...known) : Math.max(...known);
}

function Heads({ runs, first }: { runs: ComparedRun[]; first: string }) {
  return (
    <thead>
      <tr>
        <th scope="col">{first}</th>
        {runs.map(({ job }, index) => (
          <th scope="col" class="run-head">
            <span class={`swatch series-${colorOf(index)}`} aria-hidden="true" />
            <a href={`/jobs/${encodeURIComponent(job.id)}`} title={job.name} dir="auto">
              {job.name}
            </a>
          </th>
        ))}
      </tr>
    </thead>
  );
}

export function Outcomes({ runs }: { runs: ComparedRun[] }) {
  return (
    <section class="panel" aria-labelledby="outcome-title">
      <header>
        <h2 id="outcome-title">Results</h2>
      </header>
      <div class="table-wrap">
        <table class="list still">
          <Heads runs={runs} first="Metric" />
          <tbody>
            <tr>
              <th scope="row">State</th>
              {runs.map(({ job }) => (
                <td>
                  <StateBadge state={job.state} />
                </td>
              ))}
            </tr>
            {outcomes(runs).map((line) => {
              const best = bestOf(line);
              return (
                <tr>
                  <th scope="row">{line.label}</th>
                  {line.values.map((value) => (
                    <td class="num">
                      {line.format(value)}
                      {value !== null && value === best ? <span class="tag best">best</span> : null}
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Settings({ runs }: { runs: ComparedRun[] }) {
  const { url } = usePage();
  const all = url.searchParams.get("settings") === "all";
  // Each method has settings of its own, so that the lists differ in length.
  const maps = runs.map(({ job }) => new Map(settingsOf(job.spec).map(([, name, value]) => [name, value])));
  const names = new Set(maps.flatMap((map) => [...map.keys()]));
  const rows = [...names].map((name) => ({ name, values: maps.map((map) => map.get(name) ?? "–") }));
  const differing = rows.filter((row) => new Set(row.values).size > 1);
  const shown = all ? rows : differing;
  return (
    <section class="panel" aria-labelledby="settings-title" id="settings">
      <header>
        <h2 id="settings-title">{all ? "All settings" : "Settings that differ"}</h2>
        <a class="button small" href={`${withQuery(url, { settings: all ? null : "all" })}#settings`}>
          {all ? "Only differences" : "Show all"}
        </a>
      </header>
      {shown.length ? (
        <div class="table-wrap">
          <table class="list still">
            <Heads runs={runs} first="Setting" />
            <tbody>
              {shown.map((row) => (
                <tr class={all && !differing.includes(row) ? "same" : undefined}>
                  <th scope="row">{row.name}</th>
                  {row.values.map((value) => (
                    <td class="mono wrap-any">{value}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Empty icon="check" title="No differences" slim>
          These runs used the same settings; remaining differences are random.
        </Empty>
      )}
    </section>
  );
}
