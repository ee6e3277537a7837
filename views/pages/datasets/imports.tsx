/** Imports on the page of datasets: the form that starts one, and those that are running or have failed. */
import { type ImportView, SECRETS_OF, type Source } from "../../../src/data/imports/model.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { ActionButton, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Table } from "../../parts/table.tsx";
import { Progress } from "../../parts/value.tsx";
import { StaysChoice } from "./stays-local.tsx";

const SOURCES = [
  ["huggingface", "Hugging Face hub"],
  ["url", "Web address (HTTPS)"],
  ["s3", "S3 bucket"],
  ["path", "Directory of the server"],
] as const;

/** The form over the page. Only the fields of the chosen source are shown. */
export function ImportForm() {
  return (
    <SheetForm
      id="import"
      action="/datasets/imports"
      label="Import"
      icon="download"
      title="Import a dataset"
      verb="Import"
      buttonClass="button"
    >
      <Field
        id="import-type"
        label="Where the data is"
        render={(ids) => (
          <select name="type" {...ids}>
            {SOURCES.map(([value, label]) => (
              <option value={value}>{label}</option>
            ))}
          </select>
        )}
      />
      <div class="of-source huggingface">
        <TextField name="repo" label="Dataset" placeholder="name/dataset" />
        <div class="fields">
          <TextField name="revision" label="Revision" placeholder="main" />
          <TextField name="config" label="Configuration" />
          <TextField name="split" label="Split" placeholder="train" />
        </div>
        <TextField name="file" label="File" hint="One file of the repository, instead of a split." />
        <TextField name="token" label="Access token" type="password" autocomplete="off" hint="For gated datasets." />
      </div>
      <div class="of-source url">
        <TextField name="url" label="Address" type="url" placeholder="https://…" />
        <TextField
          name="authorization"
          label="Authorization"
          type="password"
          autocomplete="off"
          hint="A header for this address only, such as Bearer …"
        />
      </div>
      <div class="of-source s3">
        <TextField name="endpoint" label="Endpoint" type="url" placeholder="https://s3.eu-central-1.amazonaws.com" />
        <div class="fields">
          <TextField name="bucket" label="Bucket" />
          <TextField name="region" label="Region" placeholder="us-east-1" />
        </div>
        <TextField name="key" label="Key" placeholder="data/train.jsonl" />
        <div class="fields">
          <TextField name="access_key_id" label="Access key" autocomplete="off" />
          <TextField name="secret_access_key" label="Secret key" type="password" autocomplete="off" />
        </div>
      </div>
      <div class="of-source path">
        <TextField name="path" label="Path" placeholder="/data/train.jsonl" />
      </div>
      <TextField name="name" label="Name of the dataset" placeholder="the name of the file" />
      <StaysChoice hint />
      <p class="small muted">
        Credentials are stored encrypted. They are deleted when the import is done, or a day after it failed.
      </p>
    </SheetForm>
  );
}

/** What an import copies, in a few words. */
function placeOf({ source, filename }: ImportView): string {
  const place = source.repo ?? source.url ?? source.path ?? `${source.bucket}/${source.key}`;
  return filename && !place.endsWith(filename) ? `${place}, ${filename}` : place;
}

/** Labels of credentials by their name in the request. */
const CREDENTIALS: Record<string, string> = {
  token: "Access token",
  url: "Address",
  authorization: "Authorization",
  access_key_id: "Access key",
  secret_access_key: "Secret key",
  session_token: "Session token",
};
/** Asked for only when a retry needs them. */
const RARE = ["url", "session_token"];

/** Runs a failed import again, as it was given or with other credentials. */
function Retry({ row }: { row: ImportView }) {
  const action = `/datasets/imports/${row.id}/retry`;
  const names = SECRETS_OF[row.source.type as Source["type"]].filter(
    (name) => !RARE.includes(name) || row.missing_credentials.includes(name),
  );
  const missing = row.missing_credentials.length > 0;
  return (
    <div class="row">
      {names.length > 0 ? (
        <SheetForm
          id={`retry-${row.id}`}
          action={action}
          label={missing ? "Retry" : "Other credentials"}
          title="Retry the import"
          verb="Retry"
          buttonClass={missing ? "button small" : "button small plain"}
        >
          {missing ? <p class="small muted">The credentials of this import were deleted. Enter them again.</p> : null}
          {names.map((name) => (
            <Field
              id={`retry-${row.id}-${name}`}
              label={CREDENTIALS[name] ?? name}
              render={(ids) => (
                <input
                  name={name}
                  type="password"
                  autocomplete="off"
                  required={row.missing_credentials.includes(name)}
                  {...ids}
                />
              )}
            />
          ))}
        </SheetForm>
      ) : null}
      {missing ? null : (
        <ActionButton action={action} class="small">
          Retry
        </ActionButton>
      )}
    </div>
  );
}

/** Imports that run, wait or have failed; nothing when there are none. */
export function ImportList({ imports }: { imports: ImportView[] }) {
  const { url } = usePage();
  return (
    <div id="imports" {...liveOn(url, "datasets")}>
      {imports.length > 0 ? (
        <section class="panel" aria-label="Imports">
          <Table
            label="Imports"
            rows={imports}
            rowId={(row) => row.id}
            columns={[
              {
                key: "place",
                label: "Import",
                render: (row) => (
                  <>
                    <span class="wrap-any">{placeOf(row)}</span>
                    {row.error ? <span class="sub wrap-any">{row.error}</span> : null}
                  </>
                ),
              },
              {
                key: "state",
                label: "State",
                render: (row) =>
                  row.status === "running" ? (
                    <Progress
                      label={`Importing ${placeOf(row)}`}
                      fraction={row.bytes ? row.bytes_done / row.bytes : null}
                      left={`${formatBytes(row.bytes_done)}${row.bytes ? ` of ${formatBytes(row.bytes)}` : ""}`}
                    />
                  ) : (
                    <StateBadge state={row.status} />
                  ),
              },
              {
                key: "action",
                label: "Next step",
                hideLabel: true,
                act: true,
                render: (row) =>
                  row.status === "failed" ? (
                    <Retry row={row} />
                  ) : (
                    <ActionButton action={`/datasets/imports/${row.id}/cancel`} owner={row.created_by} class="small">
                      Cancel
                    </ActionButton>
                  ),
              },
            ]}
          />
        </section>
      ) : null}
    </div>
  );
}
