/**
 * Usage of a month: work on hosts and requests to models, by user, model, key, kind or provider; and the limits of the
 * organization.
 */
import type { LimitsView, LimitUse } from "../../../src/accounts/quotas/model.ts";
import type { UsageSummary } from "../../../src/billing/ledger/model.ts";
import { formatBytes, formatCount, formatInteger, formatMoney, formatNumber } from "../../../src/lib/text/format.ts";
import { usePage, withQuery } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Tabs } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { KeyValue, Stat, Stats } from "../../parts/value.tsx";

interface UsageProps {
  summary: UsageSummary;
  /** Names of users and keys, by id. */
  names: Record<string, string>;
  limits: LimitsView;
}

const GROUPS = [
  { key: "user", label: "User", word: "user" },
  { key: "model", label: "Model", word: "model" },
  { key: "key", label: "API key", word: "API key" },
  { key: "kind", label: "Kind", word: "kind" },
  { key: "provider", label: "Provider", word: "provider" },
];

const sum = <T,>(rows: T[], of: (row: T) => number) => rows.reduce((total, row) => total + of(row), 0);

function shiftMonth(month: string, by: number): string {
  const [year = 0, number = 1] = month.split("-").map(Number);
  return new Date(Date.UTC(year, number - 1 + by, 1)).toISOString().slice(0, 7);
}

/** `2026-11` as `November 2026`. */
const monthName = (month: string) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

/** Current use of each limit, independent of the month shown above. */
function LimitsPanel({ limits }: { limits: LimitsView }) {
  const show = ({ limit, used }: LimitUse, format: (value: number) => string) =>
    limit === null ? `${format(used)} (no limit)` : `${format(used)} of ${format(limit)}`;
  return (
    <section class="panel" aria-labelledby="limits">
      <header>
        <h2 id="limits">Limits of your team</h2>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            [
              "Storage",
              show(limits.bytes, formatBytes),
              "files, pending uploads, dataset rows, checkpoints and models",
            ],
            ["Files", show(limits.files, formatInteger)],
            ["Datasets", show(limits.datasets, formatInteger)],
            ["Pending uploads", show(limits.pending_uploads, formatInteger)],
            ["Waiting jobs", show(limits.waiting_jobs, formatInteger), "queued jobs, including sweep trials"],
          ]}
        />
      </div>
    </section>
  );
}

export function UsagePage({ summary, names, limits }: UsageProps) {
  const { url, now } = usePage();
  const name = (id: string) => names[id] ?? (id === "null" || id === "" ? "Web page" : id);
  const thisMonth = new Date(now).toISOString().slice(0, 7);
  const { label: group, word } = GROUPS.find(({ key }) => key === summary.group_by) ?? { label: "", word: "" };
  const csv = `/usage.csv?${new URLSearchParams({ month: summary.month, group_by: summary.group_by })}`;
  return (
    <Layout
      title="Usage"
      actions={
        <a class="button" href={csv} download>
          <Icon name="download" />
          CSV
        </a>
      }
    >
      <div class="stack">
        <div class="row between">
          <h2>{monthName(summary.month)}</h2>
          <div class="row">
            <a class="button small" href={withQuery(url, { month: shiftMonth(summary.month, -1) })}>
              <Icon name="left" />
              Previous month
            </a>
            {summary.month < thisMonth ? (
              <a class="button small" href={withQuery(url, { month: shiftMonth(summary.month, 1) })}>
                Next month
                <Icon name="right" />
              </a>
            ) : null}
          </div>
        </div>
        <Stats>
          <Stat label="Cost" big note="own hosts are free">
            {formatMoney(summary.total_cost_usd)}
          </Stat>
          <Stat label="Compute hours" note={`${formatNumber(sum(summary.work, (row) => row.gpu_hours))} GPU hours`}>
            {formatNumber(sum(summary.work, (row) => row.hours))}
          </Stat>
          <Stat label="Training tokens">{formatCount(sum(summary.work, (row) => row.tokens))}</Stat>
          <Stat label="Requests">{formatInteger(sum(summary.requests, (row) => row.requests))}</Stat>
          <Stat label="Input / output tokens">
            {formatCount(sum(summary.requests, (row) => row.prompt_tokens))} /{" "}
            {formatCount(sum(summary.requests, (row) => row.completion_tokens))}
          </Stat>
        </Stats>
        <Tabs label="Group by" name="group_by" tabs={GROUPS} />
        {summary.work.length + summary.requests.length === 0 ? (
          <div class="panel">
            <Empty icon="usage" title="No usage in this month">
              Training, evaluations, endpoints and requests appear here.
            </Empty>
          </div>
        ) : null}
        {summary.work.length ? (
          <section class="panel" aria-labelledby="compute">
            <header>
              <h2 id="compute">{`Compute by ${word}`}</h2>
            </header>
            <Table
              still
              label="Compute"
              rows={summary.work}
              rowId={(row) => `work-${row.group}`}
              columns={[
                { key: "group", label: group, name: true, render: (row) => name(row.group) },
                { key: "attempts", label: "Attempts", end: true, render: (row) => formatInteger(row.attempts) },
                { key: "hours", label: "Hours", end: true, render: (row) => formatNumber(row.hours) },
                { key: "gpu", label: "GPU hours", end: true, wide: true, render: (row) => formatNumber(row.gpu_hours) },
                { key: "tokens", label: "Tokens", end: true, wide: true, render: (row) => formatCount(row.tokens) },
                { key: "cost", label: "Cost", end: true, render: (row) => formatMoney(row.cost_usd) },
              ]}
            />
          </section>
        ) : null}
        {summary.requests.length ? (
          <section class="panel" aria-labelledby="requests">
            <header>
              <h2 id="requests">{`Requests by ${word}`}</h2>
            </header>
            <Table
              still
              label="Requests"
              rows={summary.requests}
              rowId={(row) => `requests-${row.group}`}
              columns={[
                { key: "group", label: group, name: true, render: (row) => name(row.group) },
                { key: "requests", label: "Requests", end: true, render: (row) => formatInteger(row.requests) },
                {
                  key: "in",
                  label: "Input tokens",
                  end: true,
                  wide: true,
                  render: (row) => formatCount(row.prompt_tokens),
                },
                { key: "out", label: "Output tokens", end: true, render: (row) => formatCount(row.completion_tokens) },
              ]}
            />
          </section>
        ) : null}
        <LimitsPanel limits={limits} />
      </div>
    </Layout>
  );
}
