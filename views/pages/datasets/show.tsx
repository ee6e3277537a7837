/** The page of one dataset: validation result, rows, versions, and the jobs that use it. */
import type { VersionView } from "../../../src/data/datasets/model.ts";
import type { DatasetRow, VersionRow } from "../../../src/data/validation/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { ConfirmForm, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, RowName, Table } from "../../parts/table.tsx";
import { CopyId, Progress, Stat, Stats, Time } from "../../parts/value.tsx";
import { MappingPanel, type MappingProps } from "./mapping.tsx";
import { Offers } from "./offers.tsx";
import { BaseFindings, type CountedTokens, Facts, Histogram, Problems, Tokens } from "./report.tsx";
import { methodsFor, TypeBadge } from "./row-type.tsx";
import { DatasetRows, type RowsShown } from "./rows.tsx";
import { SkipBad } from "./skip-bad.tsx";

export interface DatasetProps {
  dataset: DatasetRow;
  version: VersionView;
  report: Report | null;
  versions: VersionRow[];
  tokens: CountedTokens | null;
  /** The reason for missing token counts: a sentence, or `no_base_model`. */
  uncounted: string | null;
  rows: RowsShown | null;
  users: { id: string; name: string; state: string; createdAt: number }[];
  /** The form, when the version waits for its mapping. */
  mapping: MappingProps | null;
}

function verdict({
  version,
  report,
}: Pick<DatasetProps, "version" | "report">): ["ok" | "warn" | "bad" | "info", string, string] {
  if (version.status === "validating")
    return ["info", "Validating", "Every row is checked. All problems appear here at the end."];
  if (version.status === "needs_mapping")
    return ["warn", "Mapping needed", report?.mapping?.reason || "Choose below what the fields are used for."];
  if (version.status === "failed") {
    const bad = version.bad_rows;
    if (!bad) return ["bad", "This file cannot be used", version.error ?? ""];
    const all = bad + (report?.rows ?? 0);
    return [
      "bad",
      `Needs attention: ${formatInteger(bad)} of ${plural(all, "row")}`,
      "Fix the rows listed below and upload the file again, or leave them out.",
    ];
  }
  const warnings = report?.problems.filter((problem) => problem.severity === "warning").length ?? 0;
  const rows = `${plural(version.train_rows, "training row")}, ${plural(version.holdout_rows, "validation row")}.`;
  const fit = `Supports ${methodsFor(version.row_type)}.`;
  return ["ok", warnings ? `Ready, with ${plural(warnings, "warning")}` : "Ready", `${rows} ${fit}`];
}

export function DatasetState(props: DatasetProps) {
  const { url } = usePage();
  const { version, report, tokens } = props;
  const [kind, title, words] = verdict(props);
  return (
    <div id="state" class="stack" {...liveOn(url, "datasets")}>
      <Notice kind={kind} title={title}>
        {words ? <span class="wrap-any">{words}</span> : null}
      </Notice>
      {version.status === "validating" ? (
        <Progress
          label="Validating the file"
          fraction={version.progress}
          left="Validating"
          right="Continues when you leave this page"
        />
      ) : null}
      <SkipBad version={version} report={report} />
      {report && version.status !== "needs_mapping" ? (
        <Stats>
          <Stat label={version.status === "ready" ? "Rows" : "Good rows"} big>
            {formatInteger(version.rows || report.rows)}
          </Stat>
          {version.status === "ready" ? (
            <>
              <Stat label={tokens?.stats.exact === false ? "Tokens, estimated" : "Tokens"} note={tokens?.baseModel}>
                {tokens ? formatInteger(tokens.stats.tokens) : "–"}
              </Stat>
              <Stat label="Training rows">{formatInteger(version.train_rows)}</Stat>
              <Stat label="Validation rows">{formatInteger(version.holdout_rows)}</Stat>
            </>
          ) : null}
          <Stat label="Bad rows">{formatInteger(report.bad_rows)}</Stat>
          <Stat label="Duplicate rows">{formatInteger(report.duplicates.rows)}</Stat>
        </Stats>
      ) : null}
    </div>
  );
}

function Versions({ dataset, versions, version, report }: DatasetProps) {
  return (
    <section class="panel">
      <header>
        <h2>Versions</h2>
      </header>
      <Table
        label="Versions"
        rows={versions}
        rowId={(row) => row.id}
        columns={[
          {
            key: "number",
            label: "Version",
            name: true,
            render: (row) => (
              <RowName
                href={`/datasets/${dataset.id}?version=${row.id}`}
                name={`Version ${row.number}${row.id === version.id ? " (shown)" : ""}`}
                sub={row.hash ? `content ${row.hash.slice(0, 12)}` : null}
              />
            ),
          },
          { key: "rows", label: "Rows", end: true, render: (row) => formatInteger(row.rows) },
          { key: "state", label: "State", render: (row) => <StateBadge state={row.status} /> },
          { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
        ]}
      />
      <details class="more body">
        <summary>
          <Icon name="right" />
          Change the validation split
        </summary>
        <form class="form" method="post" action={`/datasets/${dataset.id}/versions`}>
          <div class="fields">
            <TextField
              name="holdout_percent"
              label="Validation split, percent"
              type="number"
              value={String(Math.round(version.holdout_fraction * 100))}
              hint="0 to 50; at most 1,000 rows"
            />
            <TextField name="seed" label="Seed" type="number" value={String(version.seed)} />
          </div>
          <div class="row">
            <button type="submit" class="button">
              Create version
            </button>
          </div>
        </form>
      </details>
      {report?.mapping && version.file_id && version.status !== "needs_mapping" ? (
        <p class="body small">
          <a href={`/datasets/${dataset.id}/mapping?version=${version.id}`}>Change how the fields are read</a>
        </p>
      ) : null}
    </section>
  );
}

/** Newest jobs shown under "Used by". */
const MAX_JOBS = 8;

function Users({ users }: Pick<DatasetProps, "users">) {
  return (
    <section class="panel">
      <header>
        <h2>Used by</h2>
        {users.length > MAX_JOBS ? <span class="small muted">The newest {MAX_JOBS} jobs</span> : null}
      </header>
      {users.length === 0 ? (
        <Empty slim icon="jobs" title="No jobs yet">
          Jobs that train on this dataset are listed here.
        </Empty>
      ) : (
        <Table
          label="Jobs that used this dataset"
          rows={users.slice(0, MAX_JOBS)}
          rowId={(row) => row.id}
          columns={[
            {
              key: "name",
              label: "Job",
              name: true,
              render: (row) => <RowName href={`/jobs/${row.id}`} name={row.name} />,
            },
            { key: "state", label: "State", render: (row) => <StateBadge state={row.state} /> },
            { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
          ]}
        />
      )}
    </section>
  );
}

/** The badge next to the title. It is updated when validation ends. */
export function DatasetBadge({ version }: Pick<DatasetProps, "version">) {
  const { url } = usePage();
  return (
    <span id="badge" class="row" {...liveOn(url, "datasets")}>
      <StateBadge state={version.status} />
      {version.status === "ready" ? <TypeBadge type={version.row_type} /> : null}
    </span>
  );
}

/** The next steps for a ready version. */
export function DatasetNext({ version }: Pick<DatasetProps, "version">) {
  const { url } = usePage();
  return (
    <div id="next" {...liveOn(url, "datasets")}>
      {version.status === "ready" ? (
        <div class="row">
          <a class="button" href={`/datasets/${version.dataset_id}/seen?version=${version.id}`}>
            What the model sees
          </a>
          <a class="button primary" href={`/jobs/new?data=${version.id}`}>
            Fine-tune
          </a>
        </div>
      ) : null}
    </div>
  );
}

/** Explains why tokens are not counted, and what to do about it. */
function Uncounted({ reason }: { reason: string }) {
  const none = reason === "no_base_model";
  return (
    <Notice kind={none ? "info" : "warn"} title="Tokens are not counted">
      <p>
        {none
          ? "Counting needs the tokenizer of a base model, and none is installed."
          : reason.replace(/[^.!?]$/, "$&.")}{" "}
        Lengths are shown in characters.
      </p>
      <p>
        <a href="/models?tab=base">{none ? "Install a base model" : "See the base models"}</a>
      </p>
    </Notice>
  );
}

/** The validation report. It appears when validation ends. */
export function DatasetFindings(props: DatasetProps) {
  const { url } = usePage();
  const { report, tokens, uncounted, version } = props;
  return (
    // A form that the user fills in is not refreshed.
    <div id="findings" class="stack loose" {...(props.mapping ? {} : liveOn(url, "datasets"))}>
      {version.status === "validating" ? null : <Offers {...props} />}
      {props.mapping ? <MappingPanel {...props.mapping} /> : null}
      {report && report.problems.length > 0 ? <Problems report={report} /> : null}
      {tokens ? <BaseFindings {...tokens} /> : null}
      {report && report.rows > 0 ? (
        <div class="columns">
          <section class="panel">
            <header>
              <h2>Contents</h2>
            </header>
            <div class="body">
              <Facts report={report} />
            </div>
          </section>
          <section class="panel">
            <header>
              <h2>{tokens ? "Tokens" : "Length"}</h2>
            </header>
            <div class="body">
              {tokens ? (
                <Tokens stats={tokens.stats} baseModel={tokens.baseModel} type={version.row_type} />
              ) : (
                <div class="stack">
                  {uncounted ? <Uncounted reason={uncounted} /> : null}
                  <Histogram title="Characters" unit="characters" buckets={report.characters.histogram} />
                </div>
              )}
            </div>
          </section>
        </div>
      ) : null}
      <DatasetRows {...props} />
    </div>
  );
}

export function DatasetPage(props: DatasetProps) {
  const { dataset, version } = props;
  return (
    <Layout
      title={dataset.name}
      crumbs={[{ label: "Datasets", href: "/datasets" }]}
      beside={<DatasetBadge {...props} />}
      actions={<DatasetNext {...props} />}
      live={{ topics: ["datasets"] }}
    >
      <div class="stack loose">
        <DatasetState {...props} />
        <DatasetFindings {...props} />
        <div class="columns">
          <Versions {...props} />
          <Users {...props} />
        </div>
        <div class="row between">
          <span class="small muted">
            Id <CopyId id={dataset.id} full /> · version <CopyId id={version.id} full />
            {version.file_id ? (
              <>
                {" · "}file <CopyId id={version.file_id} full />
              </>
            ) : null}
          </span>
          <ConfirmForm
            id="delete-dataset"
            action={`/datasets/${dataset.id}/delete`}
            label="Delete this dataset"
            buttonClass="button danger"
            title="Delete this dataset?"
            lost="The file and all versions are deleted. Jobs that used the dataset keep their models and metrics, but cannot run again."
            verb="Delete the dataset"
            typeName={dataset.name}
          />
        </div>
      </div>
    </Layout>
  );
}
