/** Usage: cost and use over time by group, the forecast, the jobs that used most, GPUs, and the limits of the team. */
import type { LimitsView } from "../../../src/accounts/quotas/model.ts";
import type { ForecastView, GpuUse, JobUse, UsageSeries } from "../../../src/billing/exports/model.ts";
import { GROUPS, type Group, MEASURE_NAMES } from "../../../src/billing/exports/scope.ts";
import { formatDate, formatMoney, formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import { usePage, withQuery } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Bars, Shares } from "../../parts/bars.tsx";
import { Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { Progress, Stat, Stats } from "../../parts/value.tsx";
import { LimitsPanel } from "./limits.tsx";
import {
  filterOf,
  GROUP_WORDS,
  MEASURE_WORDS,
  monthName,
  periods,
  shownPeriod,
  type UsageView,
  VALUE_WORDS,
} from "./view.ts";

export interface UsageProps {
  view: UsageView;
  series: UsageSeries;
  jobs: JobUse[];
  forecast: ForecastView;
  gpus: GpuUse;
  /** Names of users and keys, by id. */
  names: Record<string, string>;
  limits: LimitsView;
  /** Whether the figures are of the whole team. */
  team: boolean;
}

const FRAGMENT = "usage-view";
/** Groups with a color of their own; the others share one. */
const COLORS = 7;

/** The name of a group: of a person or a key, the word for a value, or that there is none. */
function nameOf(names: Record<string, string>, by: Group, value: string | null): string {
  if (value === null || value === "") return GROUP_WORDS[by].none;
  return names[value] ?? VALUE_WORDS[by]?.[value] ?? value;
}

function Choice(props: { name: string; label: string; value: string; options: [string, string][] }) {
  return (
    <select name={props.name} aria-label={props.label}>
      {props.options.map(([key, label]) => (
        <option value={key} selected={key === props.value}>
          {label}
        </option>
      ))}
    </select>
  );
}

function Selectors({ view, names }: UsageProps) {
  const { url, now } = usePage();
  const { month } = shownPeriod(view, now);
  const chosen = Object.entries(filterOf(view)).filter(([, value]) => value !== undefined) as [Group, string][];
  return (
    <div class="usage-filters">
      <Filters fragment={FRAGMENT} kept={chosen.map(([name]) => name)}>
        <Choice name="period" label="Period" value={month ?? view.period ?? ""} options={periods(now, month)} />
        <Choice
          name="group_by"
          label="Group by"
          value={view.group_by}
          options={GROUPS.map((by) => [by, `By ${GROUP_WORDS[by].word}`])}
        />
        <Choice
          name="measure"
          label="Measure"
          value={view.measure}
          options={MEASURE_NAMES.map((name) => [name, MEASURE_WORDS[name].label])}
        />
      </Filters>
      {chosen.map(([by, value]) => (
        <a class="button small" href={withQuery(url, { [by]: null })}>
          {GROUP_WORDS[by].label}: <span dir="auto">{nameOf(names, by, value)}</span>
          <Icon name="x" />
          <span class="visually-hidden">Remove this filter</span>
        </a>
      ))}
    </div>
  );
}

function Figures({ series, forecast, view }: UsageProps) {
  const { now } = usePage();
  const { format, label } = MEASURE_WORDS[view.measure];
  const { forecast_usd: range, basis, budget } = forecast;
  const { from, to, month } = shownPeriod(view, now);
  const period = month ? monthName(month) : `${formatDate(from)} to ${formatDate(to - 1)}`;
  return (
    <Stats>
      <Stat label={label} big note={period}>
        {format(series.total)}
      </Stat>
      <Stat
        label="Month to date"
        note={budget?.limit_usd == null ? monthName(forecast.month) : `of a budget of ${formatMoney(budget.limit_usd)}`}
      >
        {formatMoney(forecast.month_to_date_usd)}
      </Stat>
      <Stat
        label={`Forecast for ${monthName(forecast.month)}`}
        note={
          range
            ? `${formatMoney(range.low)} to ${formatMoney(range.high)}: mean of ${plural(basis.days, "full day")}${
                basis.running_endpoints ? `, and ${plural(basis.running_endpoints, "running endpoint")}` : ""
              }`
            : "after the first full day of use"
        }
      >
        {range ? formatMoney(range.expected) : "–"}
      </Stat>
    </Stats>
  );
}

/** How far the month's budget is used, where there is one. */
function BudgetBar({ forecast: { budget, month } }: UsageProps) {
  if (budget?.limit_usd == null) return null;
  const fraction = budget.limit_usd > 0 ? budget.used_usd / budget.limit_usd : 1;
  return (
    <Progress
      label={`Budget of ${monthName(month)}`}
      fraction={Math.min(1, fraction)}
      left={`Budget of ${monthName(month)}`}
      right={`${formatMoney(budget.used_usd)} of ${formatMoney(budget.limit_usd)} (${formatPercent(fraction)})`}
    />
  );
}

function Columns({ series, names, view }: UsageProps) {
  const { label, unit, format } = MEASURE_WORDS[view.measure];
  const shown = series.groups.slice(0, COLORS);
  const rest = [...series.groups.slice(COLORS), ...(series.other.groups ? [series.other] : [])];
  const lines = shown.map(({ group, values }, n) => ({
    label: nameOf(names, view.group_by, group),
    tone: `series-${n + 1}`,
    values,
  }));
  if (rest.length)
    lines.push({
      label: `Others (${rest.length - (series.other.groups ? 1 : 0) + series.other.groups})`,
      tone: "series-rest",
      values: series.start_times.map((_, n) => rest.reduce((sum, { values }) => sum + (values[n] ?? 0), 0)),
    });
  return (
    <section class="panel body-only">
      <Bars
        id="usage-bars"
        title={`${label} by ${GROUP_WORDS[view.group_by].word}`}
        times={series.start_times}
        width={series.bucket_width}
        series={lines}
        unit={unit}
        format={format}
      />
    </section>
  );
}

/** The largest groups, each a link that shows only it. */
function TopGroups({ series, names, view }: UsageProps) {
  const { url } = usePage();
  const { label, word } = GROUP_WORDS[view.group_by];
  const { format } = MEASURE_WORDS[view.measure];
  const share = (value: number) => (series.total > 0 ? formatPercent(value / series.total) : "–");
  return (
    <section class="panel" aria-labelledby="top-groups">
      <header>
        <h2 id="top-groups">{`Top ten by ${word}`}</h2>
      </header>
      <Table
        label={`Top ten by ${word}`}
        rows={series.groups}
        rowId={({ group }) => `group-${group ?? ""}`}
        columns={[
          {
            key: "group",
            label,
            name: true,
            render: ({ group }) => (
              <RowName
                href={withQuery(url, { [view.group_by]: group ?? null })}
                name={nameOf(names, view.group_by, group)}
              />
            ),
          },
          { key: "share", label: "Share", end: true, render: ({ total }) => share(total) },
          {
            key: "total",
            label: MEASURE_WORDS[view.measure].label,
            end: true,
            render: ({ total }) => format(total),
          },
        ]}
      />
      {series.other.groups ? (
        <footer class="muted small">
          {plural(series.other.groups, "other")}: {format(series.other.total)}
        </footer>
      ) : null}
    </section>
  );
}

function TopJobs({ jobs, names, view, team }: UsageProps) {
  if (jobs.length === 0) return null;
  const { label, format } = MEASURE_WORDS[view.measure];
  return (
    <section class="panel" aria-labelledby="top-jobs">
      <header>
        <h2 id="top-jobs">Top ten jobs and endpoints</h2>
      </header>
      <Table
        label="Top ten jobs and endpoints"
        rows={jobs}
        rowId={({ id }) => id}
        columns={[
          {
            key: "job",
            label: "Job",
            name: true,
            render: ({ id, name, kind, user }) => {
              const sub = [VALUE_WORDS.kind?.[kind] ?? kind, team ? nameOf(names, "user", user) : null]
                .filter(Boolean)
                .join(" · ");
              return name === null ? (
                <>
                  <span class="muted">Deleted job</span>
                  <span class="sub">{sub}</span>
                </>
              ) : (
                <RowName href={`/jobs/${id}`} name={name} sub={sub} />
              );
            },
          },
          { key: "gpu", label: "GPU hours", end: true, wide: true, render: (row) => formatNumber(row.gpu_hours) },
          ...(view.measure === "cost" || view.measure === "gpu_hours"
            ? []
            : [{ key: "value", label, end: true, render: (row: JobUse) => format(row.value) }]),
          { key: "cost", label: "Cost", end: true, render: (row) => formatMoney(row.cost_usd) },
        ]}
      />
    </section>
  );
}

function Gpus({ gpus, team }: UsageProps) {
  if (gpus.available === 0 && gpus.used + gpus.rented === 0) return null;
  const part = (label: string, tone: string, value: number, hint: string) => ({
    label,
    tone,
    value,
    text: `${formatNumber(value)} h`,
    hint,
  });
  const parts = [
    part("Used", "series-3", gpus.used, "Work that counts"),
    part("Reserved", "series-2", gpus.reserved, "Held while loading, or by work that was lost"),
    part(team ? "Other teams" : "Others", "series-5", gpus.others, "Held by somebody else"),
    part("Idle", "tone-rest", gpus.idle, "Free for work"),
  ];
  const busy = gpus.available > 0 ? formatPercent((gpus.available - gpus.idle) / gpus.available) : null;
  return (
    <section class="panel" aria-labelledby="gpu-use">
      <header>
        <h2 id="gpu-use">GPU utilization</h2>
        {busy ? <span class="muted">{`${busy} of ${formatNumber(gpus.available)} GPU hours`}</span> : null}
      </header>
      <div class="body stack">
        <Shares label="GPU hours of own hosts: used, reserved, held by others, idle" parts={parts} />
        {gpus.rented > 0 ? (
          <p class="muted small">{`On rented machines: ${formatNumber(gpus.rented)} GPU hours.`}</p>
        ) : null}
      </div>
    </section>
  );
}

/** Everything that the selectors change. */
export function UsageContent(props: UsageProps) {
  const { series, view } = props;
  const filtered = Object.values(filterOf(view)).some((value) => value !== undefined);
  return (
    <div class="stack" id={FRAGMENT}>
      <Selectors {...props} />
      <Figures {...props} />
      <BudgetBar {...props} />
      {series.groups.length === 0 ? (
        <div class="panel">
          <Empty
            icon="usage"
            title={`No ${view.measure === "cost" ? "cost" : "use"} ${filtered ? "with these filters" : "in this period"}`}
          >
            {filtered
              ? "Remove a filter, or choose another period or measure."
              : "Training, evaluations, endpoints, stored data and requests to models appear here by the hour while they run. Start a job, or choose another period or measure."}
          </Empty>
        </div>
      ) : (
        <>
          <Columns {...props} />
          <TopGroups {...props} />
        </>
      )}
      <TopJobs {...props} />
      <Gpus {...props} />
    </div>
  );
}

const FILES: [format: string, label: string, hint: string][] = [
  ["csv", "CSV", "intervals, for spreadsheets"],
  ["jsonl", "JSON Lines", "intervals, one object a line"],
  ["parquet", "Parquet", "intervals, for data tools"],
  ["focus_csv", "FOCUS, CSV", "for finance tools"],
  ["focus_parquet", "FOCUS, Parquet", "for finance tools"],
];

/** A button that opens the files of the period. */
function ExportMenu({ view }: UsageProps) {
  const { now } = usePage();
  const { from, to } = shownPeriod(view, now);
  const href = (format: string) =>
    `/v1/usage/export?${new URLSearchParams({ format, from: String(from / 1000), to: String(to / 1000) })}`;
  return (
    <>
      <button type="button" class="button" popovertarget="usage-export">
        <Icon name="download" />
        Export
      </button>
      <div id="usage-export" class="confirm" popover="auto" role="dialog" aria-labelledby="usage-export-title">
        <h2 id="usage-export-title">{`Export ${formatDate(from)} to ${formatDate(to - 1)}`}</h2>
        <p class="muted">All metered use of the period, without the filters of the page.</p>
        <ul class="export-files">
          {FILES.map(([format, label, hint]) => (
            <li>
              <a href={href(format)} download>
                {label}
              </a>
              <span class="muted">{hint}</span>
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}

export function UsagePage(props: UsageProps) {
  return (
    <Layout
      title="Usage"
      actions={
        <>
          <a class="button" href="/usage/budgets">
            Budgets
          </a>
          <ExportMenu {...props} />
        </>
      }
    >
      <div class="stack">
        <UsageContent {...props} />
        <LimitsPanel limits={props.limits} />
      </div>
    </Layout>
  );
}
