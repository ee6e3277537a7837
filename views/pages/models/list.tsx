/** The models page: fine-tuned models, and base models that are installed or can be installed. */

import type { RestrictionRow } from "../../../src/accounts/restrictions/service.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { plural } from "../../../src/lib/text/format.ts";
import type { TunedModelItem } from "../../../src/models/tuned/list.ts";
import type { FittedModel } from "../../../src/training/plan/fits.ts";
import { Layout } from "../../layout.tsx";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { Removed } from "../../parts/barred.tsx";
import { CreatorFilter, Field, Filters, Tabs, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind } from "../../parts/list.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, CREATED_BY, RowName } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { BaseFilters, BaseList, type BaseShow } from "./base-list.tsx";

/** `creator`: null for an account that was erased. */
type ListedModel = TunedModelItem & { creator: string | null };

export interface ModelsProps {
  tab: "tuned" | "base";
  tuned: Listed<ListedModel>;
  removed: RestrictionRow[];
  bases: FittedModel[];
  /** Which of the base models are listed. */
  show: BaseShow;
  admin: boolean;
  /** Values of the import form and its error. */
  importForm?: { source: string; value: string; id: string; error: string; field: string };
}

const modelHref = (id: string) => `/models/${encodeURIComponent(id)}`;

const TUNED_COLUMNS: Column<ListedModel>[] = [
  {
    key: "name",
    label: "Model",
    name: true,
    render: (row) => (
      <RowName
        href={modelHref(row.id)}
        name={row.name}
        sub={
          <>
            <span class="mono">{row.id}</span>
            {row.staysLocal ? " · stays here" : null}
          </>
        }
      />
    ),
  },
  { key: "base", label: "Base model", wide: true, render: (row) => row.base },
  { key: "loss", label: "Validation loss", end: true, wide: true, render: (row) => row.evalLoss?.toFixed(3) ?? "–" },
  {
    key: "deployment",
    label: "Endpoint",
    render: (row) => (row.deployment ? <StateBadge state={row.deployment} /> : <span class="muted">None</span>),
  },
  CREATED_BY,
  { key: "created", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
];

const TUNED: ListKind<ListedModel> = {
  id: "tuned",
  label: "Fine-tuned models",
  columns: TUNED_COLUMNS,
  rowId: (row) => row.jobId,
  topics: ["jobs", "deployments"],
  search: "Search fine-tuned models",
  empty: () => (
    <Empty
      icon="models"
      title="No fine-tuned models yet"
      action={
        <RoleLink class="button primary" href="/jobs/new">
          Fine-tune a model
        </RoleLink>
      }
    >
      When a training job succeeds, its model appears here.
    </Empty>
  ),
};

export const TunedList = ({ tuned }: Pick<ModelsProps, "tuned">) => <List of={TUNED} {...tuned} />;

const SOURCES = [
  ["local", "Directory on the server"],
  ["hub", "Hugging Face Hub"],
  ["tuned", "Fine-tuned model"],
] as const;

function ImportForm({ form }: { form: ModelsProps["importForm"] }) {
  const error = (field: string) => (form?.field === field ? form.error : null);
  return (
    <details class="more panel padded" open={Boolean(form)} id="import">
      <summary>
        <Icon name="right" />
        Import a model
      </summary>
      <PostForm class="form" action="/models/import">
        {form && !form.field ? (
          <Notice kind="bad" alert>
            {form.error}
          </Notice>
        ) : null}
        <div class="fields few">
          <Field
            id="import-source"
            label="Source"
            render={(ids) => (
              <select name="source" {...ids}>
                {SOURCES.map(([value, label]) => (
                  <option value={value} selected={form?.source === value}>
                    {label}
                  </option>
                ))}
              </select>
            )}
          />
          <TextField
            name="value"
            label="Directory, repository or model"
            required
            hint="/srv/models/mine, owner/name[@revision] or ft:…"
            value={form?.value ?? ""}
            error={error("directory") ?? error("repo") ?? error("revision") ?? error("model")}
          />
          <TextField
            name="id"
            label="ID"
            hint="Derived from the source when empty"
            value={form?.id ?? ""}
            error={error("id")}
          />
        </div>
        <p class="small muted">
          Only safetensors and tokenizer files are imported; pickles and models with their own code are refused. A hub
          revision is pinned to its commit. A fine-tuned model must be a full model or have an export as merged
          safetensors; as a base model, everyone on this installation can use it.
        </p>
        <div class="row">
          <button type="submit" class="button primary">
            Import
          </button>
        </div>
      </PostForm>
    </details>
  );
}

export function ModelsPage(props: ModelsProps) {
  const ready = props.bases.filter((row) => row.status === "ready").length;
  return (
    <Layout
      title="Models"
      actions={
        <RoleLink class="button primary" href="/jobs/new" data-new>
          Fine-tune
        </RoleLink>
      }
      live={{ topics: ["jobs", "deployments", "models"] }}
    >
      <div class="stack">
        <Tabs
          label="Type of model"
          tabs={[
            { key: "tuned", label: "Fine-tuned" },
            { key: "base", label: "Base models", count: ready },
          ]}
        />
        {props.tab === "tuned" ? (
          <>
            <Filters fragment={TUNED.id} search={{ placeholder: TUNED.search ?? "" }}>
              <CreatorFilter />
            </Filters>
            <TunedList tuned={props.tuned} />
            <Removed rows={props.removed} />
          </>
        ) : (
          <>
            <p class="muted">
              {plural(ready, "base model")} ready. The included model installs from a Python package; the others are
              downloaded from the hub or imported from a directory.
            </p>
            <BaseFilters />
            <BaseList bases={props.bases} show={props.show} />
            {props.admin ? <ImportForm form={props.importForm} /> : null}
          </>
        )}
      </div>
    </Layout>
  );
}
