/** The versions of a dataset and the jobs that used it, with the forms that change the dataset. */
import type { VersionView } from "../../../src/data/datasets/model.ts";
import type { DatasetRow, VersionRow } from "../../../src/data/validation/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { formatInteger } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { stateOf } from "./row-type.tsx";
import { StaysForm } from "./stays-local.tsx";

export interface HistoryProps {
  dataset: DatasetRow;
  version: VersionView;
  report: Report | null;
  versions: VersionRow[];
  users: { id: string; name: string; state: string; createdAt: number }[];
  /** Other datasets with rows of the same type, which can be added. */
  others: { id: string; name: string }[];
}

function Versions({ dataset, versions, version }: HistoryProps) {
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
          { key: "state", label: "State", render: (row) => <StateBadge state={stateOf(row)} /> },
          { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
        ]}
      />
    </section>
  );
}

/** Newest jobs shown under "Used by". */
const MAX_JOBS = 8;

function Users({ users }: HistoryProps) {
  return (
    <section class="panel">
      <header>
        <h2>Used by</h2>
        {users.length > MAX_JOBS ? <span class="small muted">The newest {MAX_JOBS} jobs</span> : null}
      </header>
      {users.length === 0 ? (
        <p class="body small muted">No job has used this dataset yet.</p>
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

function SplitForm({ dataset, version }: HistoryProps) {
  return (
    <details class="more in-panel">
      <summary>
        <Icon name="right" />
        Change the validation split
      </summary>
      <PostForm class="form body" action={`/datasets/${dataset.id}/versions`}>
        <div class="fields">
          <TextField
            name="holdout_percent"
            label="Validation split, percent"
            type="number"
            value={String(Math.round(version.holdout_fraction * 100))}
            hint="0 to 50; at most 1,000 rows. Rows with the same or nearly the same prompt stay together."
          />
          <TextField name="seed" label="Seed" type="number" value={String(version.seed)} />
        </div>
        <div class="row">
          <button type="submit" class="button">
            Create version
          </button>
        </div>
      </PostForm>
    </details>
  );
}

function UploadVersion({ dataset }: HistoryProps) {
  return (
    <details class="more in-panel">
      <summary>
        <Icon name="right" />
        Upload a file as a new version
      </summary>
      <PostForm
        class="form body"
        data-upload={`/datasets/${dataset.id}/upload`}
        action={`/datasets/${dataset.id}/upload`}
        encType="multipart/form-data"
      >
        <Field
          id="version-file"
          label="File"
          hint="The split settings stay. Earlier versions do not change."
          render={(ids) => <input type="file" name="file" required {...ids} />}
        />
        <div class="row">
          <button type="submit" class="button only-without-script">
            Upload
          </button>
        </div>
        <ul class="uploads" data-uploads />
      </PostForm>
    </details>
  );
}

/** The form that adds rows. It appears with the first ready version; a form that the user fills in is not refreshed. */
export function MergeForm({ dataset, others }: HistoryProps) {
  if (others.length === 0) return <div id="merge" />;
  return (
    <div id="merge">
      <details class="more in-panel" id="merge-form" hx-morph-skip>
        <summary>
          <Icon name="right" />
          Add the rows of another dataset
        </summary>
        <PostForm class="form body" action={`/datasets/${dataset.id}/merge`}>
          <Field
            id="merge-dataset"
            label="Dataset"
            hint="Creates a new version with the rows of both. The other dataset does not change."
            render={(ids) => (
              <select name="dataset" {...ids}>
                {others.map(({ id, name }) => (
                  <option value={id}>{name}</option>
                ))}
              </select>
            )}
          />
          <div class="row">
            <button type="submit" class="button">
              Add rows
            </button>
          </div>
        </PostForm>
      </details>
    </div>
  );
}

/** The link that downloads the rows of a ready version. */
export function DownloadRows({ dataset, version }: HistoryProps) {
  return (
    <span id="download">
      {version.status === "ready" ? (
        <a class="button small" href={`/v1/datasets/${dataset.id}/content?version=${version.id}`} download>
          <Icon name="download" />
          Download rows (JSONL)
        </a>
      ) : null}
    </span>
  );
}

/** The link to the mapping of a file whose fields were mapped. */
export function ReadingLink({ dataset, report, version }: HistoryProps) {
  if (!report?.mapping || !version.file_id || version.status === "needs_mapping") return <div id="reading" />;
  return (
    <div id="reading" class="body small">
      <a href={`/datasets/${dataset.id}/mapping?version=${version.id}`}>Change how the fields are read</a>
    </div>
  );
}

/** The forms that change a dataset. They stay as they are while the page updates, unlike what depends on the state. */
export function ChangeDataset(props: HistoryProps) {
  const { dataset } = props;
  return (
    <section class="panel" id="change">
      <header>
        <h2>Change this dataset</h2>
        <DownloadRows {...props} />
      </header>
      <details class="more in-panel">
        <summary>
          <Icon name="right" />
          Rename
        </summary>
        <PostForm class="form body" action={`/datasets/${dataset.id}/rename`}>
          <TextField name="name" label="Name" value={dataset.name} required maxlength={200} />
          <div class="row">
            <button type="submit" class="button">
              Rename
            </button>
          </div>
        </PostForm>
      </details>
      <StaysForm id={dataset.id} name={dataset.name} stays={dataset.staysLocal} owner={dataset.createdBy} />
      <UploadVersion {...props} />
      <MergeForm {...props} />
      <SplitForm {...props} />
      <ReadingLink {...props} />
    </section>
  );
}

/** The versions and the jobs that used them. */
export function DatasetHistory(props: HistoryProps) {
  return (
    <div class="columns" id="history">
      <Versions {...props} />
      <Users {...props} />
    </div>
  );
}
