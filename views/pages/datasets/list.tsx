/** The list of datasets with the upload form. */
import type { RestrictionRow } from "../../../src/accounts/restrictions/service.ts";
import type { RowType } from "../../../src/contract/spec.ts";
import type { DatasetView } from "../../../src/data/datasets/model.ts";
import type { ImportView } from "../../../src/data/imports/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatCount, formatInteger, plural } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { Removed } from "../../parts/barred.tsx";
import { ActionButton, CreatorFilter } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind, ListPage } from "../../parts/list.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, CREATED_BY, RowName } from "../../parts/table.tsx";
import { Progress, Time } from "../../parts/value.tsx";
import { ImportForm, ImportList } from "./imports.tsx";
import { methodsFor, stateOf, TYPE_WORDS } from "./row-type.tsx";
import { StaysChoice } from "./stays-local.tsx";

/**
 * A dataset of the list. `tokens`: of its newest version, null while not counted. `jobs`: those that used it.
 * `creator`: null for an account that was erased.
 */
type ListedDataset = DatasetView & { tokens: number | null; jobs: number; creator: string | null };

const COLUMNS: Column<ListedDataset>[] = [
  {
    key: "name",
    label: "Dataset",
    name: true,
    render: (row) => (
      <RowName
        href={`/datasets/${row.id}`}
        name={row.name}
        sub={
          row.version ? (
            <>
              {row.version.rows ? <span class="narrow">{plural(row.version.rows, "row")} · </span> : null}
              version {row.version.number}
              {row.version.status === "ready" ? ` · ${TYPE_WORDS[row.version.row_type].toLowerCase()}` : null}
              {row.stays_local ? " · stays here" : null}
            </>
          ) : null
        }
      />
    ),
  },
  {
    key: "rows",
    label: "Rows",
    end: true,
    wide: true,
    render: (row) => (row.version?.rows ? formatInteger(row.version.rows) : "–"),
  },
  {
    key: "tokens",
    label: "Tokens",
    end: true,
    wide: true,
    render: (row) => (row.tokens === null ? "–" : formatCount(row.tokens)),
  },
  {
    key: "format",
    label: "Format",
    wide: true,
    render: (row) => row.version?.format?.replaceAll("_", " ") ?? "–",
  },
  {
    key: "bad",
    label: "Bad rows",
    end: true,
    wide: true,
    render: (row) => (row.version ? formatInteger(row.version.bad_rows) : "–"),
  },
  {
    key: "state",
    label: "State",
    render: (row) =>
      row.version?.status === "validating" ? (
        <Progress label={`Validating ${row.name}`} fraction={row.version.progress || null} left="Validating" />
      ) : (
        <StateBadge state={row.version ? stateOf(row.version) : "failed"} />
      ),
  },
  {
    key: "used",
    label: "Used by",
    wide: true,
    tight: true,
    render: (row) => (row.jobs ? <a href={`/jobs?kind=train&dataset=${row.id}`}>{plural(row.jobs, "job")}</a> : "–"),
  },
  CREATED_BY,
  { key: "at", label: "Added", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
];

const LIST: ListKind<ListedDataset> = {
  id: "datasets",
  label: "Datasets",
  columns: COLUMNS,
  rowId: (row) => row.id,
  topics: ["datasets"],
  search: "Search by name",
  empty: () => (
    <Empty
      icon="data"
      title="No datasets yet"
      action={<ActionButton action="/datasets/sample">Add the sample dataset</ActionButton>}
    >
      A dataset is a file of examples: prompts, and the answers you want. Upload your file above, or start with the
      sample: bank messages answered in strict JSON.
    </Empty>
  ),
};

export const DatasetList = (rows: Listed<ListedDataset>) => <List of={LIST} {...rows} />;

interface Format {
  type: RowType;
  title: string;
  example: string;
}

/** All accepted formats by row type, with the methods that use them. */
function Formats({ formats }: { formats: readonly Format[] }) {
  const types = Object.keys(TYPE_WORDS) as RowType[];
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        Accepted formats
      </summary>
      <dl class="formats">
        {types.map((type) => (
          <>
            <dt>
              {TYPE_WORDS[type]} <span class="small muted">for {methodsFor(type)}</span>
            </dt>
            {formats
              .filter((format) => format.type === type)
              .map((format) => (
                <dd>
                  <span class="small">{format.title}</span>
                  <code class="wrap-any">{format.example}</code>
                </dd>
              ))}
            {type === "chat" ? (
              <dd>
                <span class="small">
                  CSV with a header line: you choose the columns of the prompt and the completion
                </span>
              </dd>
            ) : null}
          </>
        ))}
      </dl>
    </details>
  );
}

/** The form to drop or choose files; one strip once there are datasets. */
function UploadForm({ strip }: { strip: boolean }) {
  return (
    <PostForm
      class={strip ? "drop one-line" : "drop"}
      data-upload="/datasets/upload"
      action="/datasets/upload"
      encType="multipart/form-data"
      id="upload"
    >
      <Icon name="upload" />
      <label for="upload-file">
        <strong>Drop a file here, or choose one</strong>
      </label>
      {strip ? null : (
        <p class="small muted">
          Conversations as OpenAI chat JSONL, prompt and completion, Alpaca, ShareGPT or CSV. For other methods:
          preference pairs, labeled preference data, prompts and plain text. Also as Parquet, Arrow or Excel, and
          packed. Every row is checked, and all problems are reported.
        </p>
      )}
      <StaysChoice />
      <input
        id="upload-file"
        type="file"
        name="file"
        multiple
        required
        accept=".jsonl,.json,.csv,.tsv,.ndjson,.txt,.gz,.zst,.xz,.zip,.parquet,.arrow,.feather,.xlsx,application/json,text/csv"
      />
      <button type="submit" class="button only-without-script">
        Upload
      </button>
      <ul class="uploads" data-uploads />
    </PostForm>
  );
}

export function DatasetsPage({
  formats,
  imports,
  removed,
  ...rows
}: Listed<ListedDataset> & { formats: readonly Format[]; imports: ImportView[]; removed: RestrictionRow[] }) {
  return (
    <ListPage
      title="Datasets"
      of={LIST}
      {...rows}
      filters={<CreatorFilter />}
      below={<Removed rows={removed} />}
      actions={
        <div class="row">
          <ImportForm />
          <a class="button primary" href="#upload" data-new>
            <Icon name="upload" />
            Upload
          </a>
        </div>
      }
    >
      <UploadForm strip={rows.items.length > 0} />
      <Formats formats={formats} />
      <ImportList imports={imports} />
    </ListPage>
  );
}
