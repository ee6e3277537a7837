/** One sweep: its best values, its curves and all its trials. */
import { formatDuration, formatMoney, ordinal, plural } from "../../../src/lib/text/format.ts";
import type { SeriesReply } from "../../../src/training/metrics/model.ts";
import type { SweepView, TrialView } from "../../../src/training/sweeps/model.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Chart, type ChartSeries } from "../../parts/chart.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, Table } from "../../parts/table.tsx";
import { CopyId, Progress, Stat, Stats, Time } from "../../parts/value.tsx";
import { Importance, Parallel } from "./parallel.tsx";
import { Scatter } from "./scatter.tsx";
import { bestOf, STRATEGIES, scoreOf, valuesOf } from "./words.ts";

interface SweepProps {
  sweep: SweepView;
  /** Curves of the best trials so far, best first. */
  curves: { trial: TrialView; series: SeriesReply }[];
}

const COLORS = [1, 3, 4, 6, 5, 2] as const;
const isLive = (sweep: SweepView) => sweep.state === "running" || sweep.state === "stopping";

function Curves({ sweep, curves }: SweepProps) {
  if (curves.length === 0) return null;
  const chart = (metric: string, title: string) => {
    const series: ChartSeries[] = curves.map(({ trial, series: found }, index) => ({
      key: metric,
      label: `${trial.number}: ${valuesOf(trial.values)}`,
      color: COLORS[index] ?? 1,
      src: `/v1/jobs/${encodeURIComponent(trial.job_id ?? "")}/metrics`,
      job: trial.state === "running" ? (trial.job_id ?? undefined) : undefined,
      points: found.series[metric]?.points,
    }));
    return (
      <div class="panel body-only">
        <Chart id={`sweep-${metric.replace("/", "-")}`} title={title} src={series[0]?.src ?? ""} series={series} />
      </div>
    );
  };
  const best = sweep.counts.trials > curves.length ? ` of the best ${curves.length}` : "";
  return (
    <div class="stack">
      {chart(sweep.metric, `${sweep.metric}${best}`)}
      {sweep.metric === "train/loss" ? null : chart("train/loss", `train/loss${best}`)}
    </div>
  );
}

const ORDERS: Record<string, (row: TrialView) => number> = {
  trial: (row) => row.number,
  score: (row) => row.score ?? Number.POSITIVE_INFINITY,
  time: (row) => row.seconds ?? -1,
  cost: (row) => row.cost_usd ?? -1,
};

function ordered(sweep: SweepView, sort: string): TrialView[] {
  const name = sort.replace(/^-/, "");
  const sign = sort.startsWith("-") ? -1 : 1;
  const value = name.startsWith("of_")
    ? (row: TrialView) => row.values[name.slice(3)] ?? ""
    : ((Object.hasOwn(ORDERS, name) ? ORDERS[name] : null) ?? ORDERS.trial);
  const rows = [...sweep.trials];
  if (!sort) {
    const better = sweep.direction === "min" ? 1 : -1;
    return rows.sort((a, b) =>
      a.score === null || b.score === null
        ? Number(a.score === null) - Number(b.score === null) || a.number - b.number
        : better * (a.score - b.score),
    );
  }
  return rows.sort((a, b) => {
    const [x, y] = [value?.(a) ?? 0, value?.(b) ?? 0];
    return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
  });
}

/** The results of a trial at its rungs. */
function Decisions({ row }: { row: TrialView }) {
  if (row.decisions.length === 0) return null;
  return (
    <span class="sub">
      {row.decisions
        .map(
          (made) =>
            `step ${made.step}: ${scoreOf(made.value)}, ${ordinal(made.rank)} of ${made.of}${made.kept ? "" : ", stopped"}`,
        )
        .join(" · ")}
    </span>
  );
}

function columnsOf(sweep: SweepView): Column<TrialView>[] {
  return [
    {
      key: "trial",
      label: "Trial",
      sort: "trial",
      name: true,
      render: (row) => (
        <>
          <span class="trial-name">
            {row.job_id ? (
              <a class="row-link" href={`/jobs/${encodeURIComponent(row.job_id)}`}>
                {`Trial ${row.number}`}
              </a>
            ) : (
              `Trial ${row.number}`
            )}
            {row.number === sweep.best ? <span class="tag best">best</span> : null}
          </span>
          <span class="sub">{row.reason ?? valuesOf(row.values)}</span>
          {row.reason ? null : <Decisions row={row} />}
        </>
      ),
    },
    ...Object.keys(sweep.space).map(
      (field): Column<TrialView> => ({
        key: field,
        label: field,
        sort: `of_${field}`,
        end: true,
        wide: true,
        render: (row) => String(row.values[field] ?? ""),
      }),
    ),
    { key: "score", label: sweep.metric, sort: "score", end: true, render: (row) => scoreOf(row.score) },
    {
      key: "step",
      label: "Step",
      end: true,
      wide: true,
      render: (row) => (row.step === null ? "–" : `${row.step} of ${row.total_steps ?? "?"}`),
    },
    { key: "time", label: "Time", sort: "time", end: true, wide: true, render: (row) => formatDuration(row.seconds) },
    { key: "cost", label: "Cost", sort: "cost", end: true, wide: true, render: (row) => formatMoney(row.cost_usd) },
    { key: "state", label: "State", render: (row) => <StateBadge state={row.state} /> },
  ];
}

/** The live part of the page: progress, best values and trials. */
export function SweepState({ sweep }: { sweep: SweepView }) {
  const { url } = usePage();
  const best = bestOf(sweep);
  const { trials, ended, succeeded } = sweep.counts;
  const stopped = sweep.trials.filter((one) => one.state === "stopped").length;
  const cost = sweep.trials.reduce((sum, one) => sum + (one.cost_usd ?? 0), 0);
  const time = sweep.trials.reduce((sum, one) => sum + (one.seconds ?? 0), 0);
  return (
    <div id="sweep-state" class="stack" {...liveOn(url, "sweeps", "progress")}>
      {sweep.error ? (
        <Notice kind="bad" title="The sweep failed">
          {sweep.error}
        </Notice>
      ) : null}
      {best ? (
        <Notice kind="ok" title={`${isLive(sweep) ? "Best so far" : "Best"}: ${valuesOf(best.values)}`}>
          {`${sweep.metric} ${scoreOf(best.score)}. `}
          {best.model ? <a href={`/models/${encodeURIComponent(best.model)}`}>{best.model}</a> : null}
        </Notice>
      ) : null}
      {isLive(sweep) ? (
        <Progress fraction={trials ? ended / trials : 0} label={`${ended} of ${plural(trials, "trial")} ended`} />
      ) : null}
      <Stats>
        <Stat label="State">
          <StateBadge state={sweep.state} />
        </Stat>
        <Stat label="Completed trials" note={stopped ? `${stopped} stopped early` : undefined}>
          {`${succeeded} of ${trials}`}
        </Stat>
        <Stat label="Time, all trials">{formatDuration(time)}</Stat>
        <Stat label="Cost">{formatMoney(cost)}</Stat>
      </Stats>
      <section class="panel" aria-labelledby="trials-title">
        <header>
          <h2 id="trials-title">Trials</h2>
          <span class="muted small">{`${STRATEGIES[sweep.strategy.type][0]}, ${sweep.parallel} in parallel`}</span>
        </header>
        <Table
          label="Trials"
          columns={columnsOf(sweep)}
          rows={ordered(sweep, url.searchParams.get("sort") ?? "")}
          rowId={(row) => String(row.number)}
          fragment="sweep-state"
        />
      </section>
      <Importance sweep={sweep} />
      <Parallel sweep={sweep} />
      <Scatter sweep={sweep} />
    </div>
  );
}

function Actions({ sweep }: { sweep: SweepView }) {
  const best = bestOf(sweep);
  return (
    <div class="actions">
      {sweep.state === "running" ? (
        <ConfirmForm
          id="sweep-cancel"
          action={`/sweeps/${sweep.id}/cancel`}
          owner={sweep.created_by}
          label="Cancel sweep"
          icon={<Icon name="stop" />}
          title="Cancel this sweep?"
          lost="Running trials are stopped and waiting trials are not started. Saved checkpoints and ended trials stay."
          verb="Cancel sweep"
        />
      ) : null}
      {best?.model ? (
        <ActionButton action="/deployments" class="primary" fields={{ model: best.model }}>
          <Icon name="deploy" />
          Deploy best model
        </ActionButton>
      ) : null}
      {sweep.finished_at ? (
        <ConfirmForm
          id="sweep-delete"
          action={`/sweeps/${sweep.id}/delete`}
          owner={sweep.created_by}
          label="Delete"
          buttonClass="button danger"
          title={`Delete “${sweep.name}”?`}
          lost="The jobs of its trials are deleted with metrics, logs and files. Jobs whose model or deployment exists stay. Usage and cost stay in the ledger."
          verb="Delete this sweep"
        />
      ) : null}
    </div>
  );
}

/** @param creator name of who created it */
export function SweepPage({ sweep, curves, creator }: SweepProps & { creator: string | null }) {
  const jobs = sweep.trials.flatMap((one) => (one.state === "running" && one.job_id ? [one.job_id] : []));
  const batches = curves.map(({ series }) => series.batchId);
  return (
    <Layout
      title={sweep.name}
      wide
      crumbs={[{ label: "Sweeps", href: "/sweeps" }]}
      creator={creator}
      actions={<Actions sweep={sweep} />}
      live={{ topics: ["sweeps", "progress"], ...(jobs.length ? { jobs, after: Math.min(...batches) } : {}) }}
    >
      <div class="stack">
        <p class="muted small">
          <CopyId id={sweep.id} /> · created <Time at={sweep.created_at * 1000} />
          {` · ${sweep.direction === "min" ? "lower" : "higher"} ${sweep.metric} is better`}
        </p>
        <SweepState sweep={sweep} />
        <Curves sweep={sweep} curves={curves} />
      </div>
    </Layout>
  );
}
