/** The hub section of a fine-tuned model's page: a form that pushes its files, and the pushes with their progress. */
import { formatBytes } from "../../../src/lib/text/format.ts";
import type { ExportView } from "../../../src/training/exports/model.ts";
import type { PushView } from "../../../src/training/pushes/model.ts";
import { usePage } from "../../context.ts";
import { Beta } from "../../parts/beta.tsx";
import { ConfirmForm, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, Table } from "../../parts/table.tsx";
import { Progress, Time } from "../../parts/value.tsx";
import { FORMAT_NAMES } from "./export-files.tsx";

export interface PushesProps {
  model: string;
  whole: boolean;
  exports: ExportView[];
  pushes: PushView[];
  hub: {
    /** Host of the hub. */
    name: string;
    /** Why nothing can be pushed; null when it can. */
    refused: string | null;
    /** Whether this person can leave out the token. */
    hasToken: boolean;
  };
  license: { name: string; url: string | null };
  /** The form as it was sent and refused. */
  form?: { values: Record<string, string>; error: string; field: string };
}

const PHASES = { checking: "Checking files", uploading: "Uploading", committing: "Committing" };

function StateCell({ row }: { row: PushView }) {
  if (row.status !== "running") return <StateBadge state={row.status} />;
  const phase = PHASES[row.phase ?? "checking"];
  return (
    <Progress
      label={`${phase}: ${row.repository}`}
      fraction={row.bytes && row.phase !== "checking" ? row.bytes_done / row.bytes : null}
      left={phase}
      right={row.bytes === null ? null : `${formatBytes(row.bytes_done)} of ${formatBytes(row.bytes)}`}
    />
  );
}

const isOpen = ({ status }: PushView) => status === "waiting" || status === "running";

const columnsOf = ({ whole }: PushesProps, path: string): Column<PushView>[] => [
  {
    key: "repository",
    label: "Repository",
    name: true,
    render: (row) => (
      <>
        {row.url ? (
          <a class="wrap-any" href={row.url} rel="noreferrer" target="_blank">
            {row.repository}
          </a>
        ) : (
          <span class="wrap-any">{row.repository}</span>
        )}
        <span class="sub wrap-any">
          {row.format ? FORMAT_NAMES[row.format][0] : whole ? "Model files" : "Adapter"}
          {row.branch === "main" ? null : `, branch ${row.branch}`}
        </span>
        {row.error ? <span class="sub wrap-any">{row.error}</span> : null}
      </>
    ),
  },
  { key: "state", label: "State", render: (row) => <StateCell row={row} /> },
  { key: "at", label: "Started", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
  {
    key: "action",
    label: "Next step",
    hideLabel: true,
    act: true,
    render: (row) =>
      isOpen(row) ? (
        <ConfirmForm
          id={`push-${row.id}`}
          action={`${path}/pushes/${row.id}/cancel`}
          owner={row.created_by}
          label="Cancel"
          buttonClass="button small"
          title="Cancel this push?"
          lost="Files that were sent stay in the storage of the hub, but no commit is made. A new push continues from there."
          verb="Cancel push"
        />
      ) : null,
  },
];

/** The pushes of the model; replaced while the page is open. */
export function PushList(props: PushesProps) {
  const { url } = usePage();
  const path = `/models/${encodeURIComponent(props.model)}`;
  return (
    <div id="push-list" {...liveOn(new URL(path, url), "pushes")}>
      {props.pushes.length > 0 ? (
        <Table label="Pushes" columns={columnsOf(props, path)} rows={props.pushes} rowId={(row) => row.id} />
      ) : props.hub.refused ? null : (
        <Empty slim icon="file" title="Not pushed yet">
          The files are sent with the model card and the provenance.
        </Empty>
      )}
    </div>
  );
}

function PushForm({ model, whole, exports, hub, license, form }: PushesProps) {
  const value = (name: string) => form?.values[name] ?? "";
  const error = (name: string) => (form?.field === name ? form.error : null);
  const finished = exports.filter((row) => row.state === "succeeded");
  return (
    <SheetForm
      id="push"
      action={`/models/${encodeURIComponent(model)}/pushes`}
      label="Push to a hub"
      title={`Push to ${hub.name}`}
      verb="Push"
      buttonClass="button small"
      error={form?.error}
    >
      <TextField
        name="repository"
        label="Repository"
        placeholder="owner/name"
        required
        maxlength={193}
        value={value("repository")}
        error={error("repository")}
        hint="It is created when it does not exist."
      />
      <div class="fields">
        <Field
          id="push-format"
          label="Files"
          error={error("format")}
          render={(ids) => (
            <select name="format" {...ids}>
              <option value="">{whole ? "Model files" : "Adapter"}</option>
              {finished.map(({ format }) => (
                <option value={format} selected={value("format") === format}>
                  {FORMAT_NAMES[format][0]}
                </option>
              ))}
            </select>
          )}
        />
        <Field
          id="push-visibility"
          label="Visibility of a new repository"
          render={(ids) => (
            <select name="visibility" {...ids}>
              <option value="private">Private</option>
              <option value="public" selected={value("visibility") === "public"}>
                Public
              </option>
            </select>
          )}
        />
      </div>
      <TextField
        name="token"
        label="Access token"
        type="password"
        autocomplete="off"
        required={!hub.hasToken}
        maxlength={500}
        error={error("token")}
        hint={`With write access. Stored encrypted, and deleted when the push ends.${hub.hasToken ? " Empty: the token of this installation." : ""}`}
      />
      <div class="fields">
        <TextField
          name="branch"
          label="Branch"
          placeholder="main"
          maxlength={100}
          value={value("branch")}
          error={error("branch")}
        />
        <TextField
          name="message"
          label="Commit message"
          placeholder={`Upload ${model}`}
          maxlength={200}
          value={value("message")}
          error={error("message")}
        />
      </div>
      <Notice kind="info" title="The license of the base model applies to what you push">
        {license.url ? (
          <a href={license.url} rel="noreferrer" target="_blank">
            {license.name}
          </a>
        ) : (
          <span>{license.name}</span>
        )}
      </Notice>
    </SheetForm>
  );
}

export function Pushes(props: PushesProps) {
  return (
    <section class="panel" id="pushes" aria-labelledby="pushes-title">
      <header>
        <h2 id="pushes-title">
          Push to a hub <Beta feature="model_pushes" />
        </h2>
        {props.hub.refused ? null : <PushForm {...props} />}
      </header>
      {props.hub.refused ? (
        <div class="body">
          <p class="muted small">{props.hub.refused}</p>
        </div>
      ) : null}
      <PushList {...props} />
    </section>
  );
}
