/** `/jobs`: all jobs, with filters, search, paging and live updates. */
import type { VNode } from "preact";
import type { Listed } from "../../../src/lib/page.ts";
import { formatInteger, formatMoney, formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import type { RunFacts } from "../../../src/training/jobs/facts.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind } from "../../parts/list.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName } from "../../parts/table.tsx";
import { CopyId, Time, Took } from "../../parts/value.tsx";
import { isLive, KIND_WORDS, methodWords, progressOf, timeLeft } from "./describe.ts";

function ProgressCell({ job }: { job: JobRow }) {
  const { now } = usePage();
  const { fraction, loss } = progressOf(job);
  if (isLive(job.state) && fraction !== null)
    return (
      <div class="progress">
        <progress aria-label={`Progress of ${job.name}`} max={1} value={fraction} />
        <span class="xs muted num">{[formatPercent(fraction), timeLeft(job, now)].filter(Boolean).join(", ")}</span>
      </div>
    );
  if (job.state === "failed") return <span class="bad-text clip">{job.error?.code.replaceAll("_", " ")}</span>;
  if (loss !== null && job.kind === "train") return <span class="muted num">loss {formatNumber(loss)}</span>;
  return <span class="muted">–</span>;
}

/** A job with what the list shows beside it. */
interface Run {
  id: string;
  job: JobRow;
  facts: RunFacts;
}

function Pick({ job }: { job: JobRow }) {
  return (
    <input
      type="checkbox"
      form="picked"
      name="ids"
      value={job.id}
      data-pick={job.kind === "train" ? "train" : ""}
      aria-label={`Select ${job.name}`}
    />
  );
}

const NAME: Column<Run> = {
  key: "name",
  label: "Name",
  name: true,
  sort: "name",
  render: ({ job }) => (
    <RowName
      href={`/jobs/${encodeURIComponent(job.id)}`}
      name={job.name}
      sub={
        <>
          <span class="narrow">
            <Time at={job.createdAt} /> ·{" "}
          </span>
          {[job.spec.base_model.id, methodWords(job.spec), ...job.tags.map((tag) => `#${tag}`)]
            .filter(Boolean)
            .join(" · ")}
        </>
      }
    />
  ),
};

/** A column of numbers that can be chosen. */
const figure = (
  key: string,
  label: string,
  text: (run: Run) => string | null | undefined,
  sort = key,
): Column<Run> => ({
  key,
  label,
  end: true,
  wide: true,
  sort,
  render: (run) => text(run) ?? "–",
});
const word = (key: string, label: string, text: (run: Run) => string | null | undefined): Column<Run> => ({
  key,
  label,
  wide: true,
  extra: true,
  sort: key,
  render: (run) => (
    <span class="muted clip words" title={text(run) ?? undefined} dir="auto">
      {text(run) ?? "–"}
    </span>
  ),
});
const number = (value: number | null) => (value === null ? null : formatNumber(value));

/** Columns that can be chosen, in their order. */
const CHOICES: Column<Run>[] = [
  { key: "progress", label: "Progress", wide: true, render: ({ job }) => <ProgressCell job={job} /> },
  word("kind", "Kind", ({ job }) => KIND_WORDS[job.kind]),
  word("dataset", "Dataset", ({ facts }) => facts.dataset),
  word("base", "Base model", ({ job }) => job.spec.base_model.id),
  word("method", "Method", ({ job }) => methodWords(job.spec)),
  figure("loss", "Training loss", ({ facts }) => number(facts.loss)),
  figure("eval_loss", "Validation loss", ({ facts }) => number(facts.evalLoss)),
  figure("exact_match", "Exact match", ({ facts }) =>
    facts.exactMatch === null ? null : formatPercent(facts.exactMatch),
  ),
  figure("cost", "Cost", ({ facts }) => (facts.cost === null ? null : formatMoney(facts.cost))),
  word("user", "Created by", ({ facts }) => facts.user),
  { key: "id", label: "ID", wide: true, render: ({ job }) => <CopyId id={job.id} /> },
  {
    key: "duration",
    label: "Duration",
    end: true,
    wide: true,
    sort: "duration",
    render: ({ job }) => (
      <Took from={job.startedAt} to={job.finishedAt ?? (isLive(job.state) ? null : job.progressAt)} />
    ),
  },
  {
    key: "created",
    label: "Created",
    end: true,
    wide: true,
    sort: "created",
    render: ({ job }) => <Time at={job.createdAt} />,
  },
];
export const COLUMN_KEYS = CHOICES.map((column) => column.key);
export const DEFAULT_COLUMNS = ["progress", "dataset", "eval_loss", "exact_match", "duration", "created"];

const columnsOf = (keys: readonly string[]): Column<Run>[] => [
  { key: "pick", label: "Select", hideLabel: true, wide: true, render: ({ job }) => <Pick job={job} /> },
  NAME,
  { key: "state", label: "State", sort: "state", render: ({ job }) => <StateBadge state={job.state} /> },
  ...CHOICES.filter((column) => keys.includes(column.key)),
];

function NewJob({ first = false }: { first?: boolean }) {
  return (
    <RoleLink class="button primary" href="/jobs/new" data-new={first ? undefined : ""}>
      <Icon name="plus" />
      New job
    </RoleLink>
  );
}

const listKind = (columns: readonly string[]): ListKind<Run> => ({
  id: "job-list",
  label: "Jobs",
  columns: columnsOf(columns),
  rowId: ({ id }) => id,
  topics: ["jobs", "progress"],
  search: "Search by name, model or ID",
  empty: () => (
    <Empty icon="jobs" title="No jobs yet" action={<NewJob first />}>
      A training job fine-tunes a base model on a dataset. You choose data, model and method. All hyperparameters have
      automatic values, and you see the plan before anything starts.
    </Empty>
  ),
});

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

interface JobListProps extends Listed<Run> {
  columns: readonly string[];
  /** Matching jobs, counted up to `most`. */
  count: number;
  most: number;
  options: { users: [string, string][]; datasets: [string, string][]; bases: [string, string][]; tags: string[] };
}

export function JobList({ columns, count, most, options: _, ...rows }: JobListProps): VNode {
  const note = count >= most ? `${formatInteger(most)} jobs or more` : plural(count, "job");
  return <List of={listKind(columns)} {...rows} note={note} />;
}

function Columns({ columns }: { columns: readonly string[] }) {
  return (
    <details class="more columns-choice">
      <summary>
        <Icon name="right" />
        Columns
      </summary>
      <fieldset>
        <legend class="visually-hidden">Columns of the list</legend>
        {CHOICES.map(({ key, label }) => (
          <label class="check">
            <input type="checkbox" name="columns" value={key} checked={columns.includes(key)} />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
    </details>
  );
}

const BULK: [act: string, label: string][] = [
  ["cancel", "Cancel"],
  ["archive", "Archive"],
  ["delete", "Delete…"],
];

/** What can be done with the selected jobs; picks.js keeps the selection over pages. */
function Picked({ archived }: { archived: boolean }) {
  return (
    <PostForm id="picked" action="/jobs/bulk" class="when-picked row" data-picks="jobs">
      <span class="small" data-picked-count />
      <button type="submit" class="button" formaction="/jobs/compare" formmethod="get">
        <Icon name="compare" />
        Compare
      </button>
      {BULK.map(([act, label]) => (
        <button
          type="submit"
          class={act === "delete" ? "button danger" : "button"}
          name="act"
          value={archived && act === "archive" ? "unarchive" : act}
        >
          {archived && act === "archive" ? "Unarchive" : label}
        </button>
      ))}
      <button type="button" class="button plain" data-picks-clear hidden>
        Clear selection
      </button>
    </PostForm>
  );
}

const some = (label: string, options: [string, string][]): [string, string][] => [["", label], ...options];

export function JobListPage(props: JobListProps) {
  const { url } = usePage();
  const { options, columns } = props;
  const empty = props.items.length === 0 && !url.search;
  return (
    <Layout title="Jobs" live={{ topics: ["jobs", "progress"] }} actions={<NewJob />} wide>
      <div class="stack">
        {empty ? null : (
          <Filters fragment="job-list" search={{ placeholder: "Search by name, model or ID" }}>
            <FilterSelect name="state" label="State" options={STATES} />
            <FilterSelect name="kind" label="Kind" options={some("Any kind", Object.entries(KIND_WORDS).slice(0, 3))} />
            <FilterSelect
              name="user"
              label="Created by"
              options={some("By anybody", [["me", "By me"], ...options.users])}
            />
            <FilterSelect name="dataset" label="Dataset" options={some("Any dataset", options.datasets)} />
            <FilterSelect name="base" label="Base model" options={some("Any base model", options.bases)} />
            {options.tags.length ? (
              <FilterSelect
                name="tag"
                label="Tag"
                options={some(
                  "Any tag",
                  options.tags.map((tag) => [tag, tag]),
                )}
              />
            ) : null}
            <FilterSelect
              name="archived"
              label="Archive"
              options={[
                ["", "Not archived"],
                ["1", "Archived"],
              ]}
            />
            <Columns columns={columns} />
          </Filters>
        )}
        <Picked archived={url.searchParams.get("archived") === "1"} />
        <JobList {...props} />
      </div>
    </Layout>
  );
}

/** Asks before jobs are deleted. */
export function DeleteJobsPage({ jobs }: { jobs: JobRow[] }) {
  return (
    <Layout title={`Delete ${plural(jobs.length, "job")}?`} crumbs={[{ label: "Jobs", href: "/jobs" }]}>
      <PostForm action="/jobs/bulk" class="panel reading">
        <div class="body stack">
          <p>
            Metrics, log, samples, checkpoints and files of these jobs are deleted. Usage and cost stay in the ledger. A
            job whose model or deployment still exists is kept.
          </p>
          <ul class="lines-list">
            {jobs.map((job) => (
              <li>
                <input type="hidden" name="ids" value={job.id} />
                <span class="grow clip" dir="auto">
                  {job.name}
                </span>
                <StateBadge state={job.state} />
              </li>
            ))}
          </ul>
          <input type="hidden" name="act" value="delete" />
          <div class="row">
            <a class="button" href="/jobs">
              Back
            </a>
            <button type="submit" class="button danger solid" name="confirm" value="yes">
              Delete
            </button>
          </div>
        </div>
      </PostForm>
    </Layout>
  );
}
