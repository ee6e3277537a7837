/** `/jobs`: all jobs, with filters, search, paging and live updates. */
import type { VNode } from "preact";
import type { Listed } from "../../../src/lib/page.ts";
import { formatDuration, formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { FilterSelect } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind, ListPage } from "../../parts/list.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName } from "../../parts/table.tsx";
import { CopyId, Time, Took } from "../../parts/value.tsx";
import { isLive, KIND_WORDS, methodWords, progressOf } from "./describe.ts";

function ProgressCell({ job }: { job: JobRow }) {
  const { fraction, etaS, loss } = progressOf(job);
  if (isLive(job.state) && fraction !== null)
    return (
      <div class="progress">
        <progress aria-label={`Progress of ${job.name}`} max={1} value={fraction} />
        <span class="xs muted num">
          {formatPercent(fraction)}
          {etaS !== null ? `, ${formatDuration(Math.round(etaS))} left` : ""}
        </span>
      </div>
    );
  if (job.state === "failed") return <span class="bad-text clip">{job.error?.code.replaceAll("_", " ")}</span>;
  if (loss !== null && job.kind === "train") return <span class="muted num">loss {formatNumber(loss)}</span>;
  return <span class="muted">–</span>;
}

function Compare({ job }: { job: JobRow }) {
  if (job.kind !== "train") return null;
  return <input type="checkbox" form="compare" name="ids" value={job.id} aria-label={`Compare ${job.name}`} />;
}

const COLUMNS: Column<JobRow>[] = [
  { key: "pick", label: "Compare", hideLabel: true, wide: true, render: (job) => <Compare job={job} /> },
  {
    key: "name",
    label: "Name",
    name: true,
    render: (job) => (
      <RowName
        href={`/jobs/${encodeURIComponent(job.id)}`}
        name={job.name}
        sub={
          <>
            <span class="narrow">
              <Time at={job.createdAt} /> ·{" "}
            </span>
            {[job.spec.base_model.id, methodWords(job.spec)].filter(Boolean).join(" · ")}
          </>
        }
      />
    ),
  },
  { key: "state", label: "State", render: (job) => <StateBadge state={job.state} /> },
  { key: "progress", label: "Progress", wide: true, render: (job) => <ProgressCell job={job} /> },
  { key: "kind", label: "Kind", wide: true, render: (job) => <span class="muted">{KIND_WORDS[job.kind]}</span> },
  { key: "id", label: "ID", wide: true, render: (job) => <CopyId id={job.id} /> },
  {
    key: "took",
    label: "Duration",
    end: true,
    wide: true,
    render: (job) => <Took from={job.startedAt} to={job.finishedAt ?? (isLive(job.state) ? null : job.progressAt)} />,
  },
  { key: "created", label: "Created", end: true, wide: true, render: (job) => <Time at={job.createdAt} /> },
];

function NewJob({ first = false }: { first?: boolean }) {
  return (
    <a class="button primary" href="/jobs/new" data-new={first ? undefined : ""}>
      <Icon name="plus" />
      New job
    </a>
  );
}

const LIST: ListKind<JobRow> = {
  id: "job-list",
  label: "Jobs",
  columns: COLUMNS,
  rowId: (job) => job.id,
  topics: ["jobs", "progress"],
  search: "Search by name, model or ID",
  empty: () => (
    <Empty icon="jobs" title="No jobs yet" action={<NewJob first />}>
      A training job fine-tunes a base model on a dataset. You choose data, model and method. All hyperparameters have
      automatic values, and you see the plan before anything starts.
    </Empty>
  ),
};

const STATES: [string, string][] = [
  ["", "Any state"],
  ["active", "Active"],
  ["running", "Running"],
  ["queued", "Queued"],
  ["paused", "Paused"],
  ["succeeded", "Succeeded"],
  ["failed", "Failed"],
  ["cancelled", "Canceled"],
];

export const JobList = (rows: Listed<JobRow>): VNode => <List of={LIST} {...rows} />;

export function JobListPage(rows: Listed<JobRow>) {
  return (
    <ListPage
      title="Jobs"
      of={LIST}
      {...rows}
      actions={<NewJob />}
      filters={
        <>
          <FilterSelect name="state" label="State" options={STATES} />
          <FilterSelect
            name="kind"
            label="Kind"
            options={[["", "Any kind"], ...Object.entries(KIND_WORDS).slice(0, 3)]}
          />
        </>
      }
      beside={
        <form id="compare" action="/jobs/compare" method="get" class="when-picked">
          <button type="submit" class="button">
            <Icon name="compare" />
            Compare selected
          </button>
        </form>
      }
    />
  );
}
