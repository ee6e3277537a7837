/** The page of a fine-tuned model or checkpoint: scores, lineage, files, exports and use. */
import type { RestrictionRow } from "../../../src/accounts/restrictions/service.ts";
import { formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { LineageView } from "../../../src/models/tuned/model.ts";
import type { DeploymentPlan } from "../../../src/serving/deployments/plan.ts";
import type { ExportView, Format } from "../../../src/training/exports/model.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Barred, ReportLink } from "../../parts/barred.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName, Table } from "../../parts/table.tsx";
import { CopyId, Snippet, Time } from "../../parts/value.tsx";
import { EndpointPrice } from "../deployments/price.tsx";
import { ArtifactFiles } from "./export-files.tsx";
import { Exports } from "./exports.tsx";
import { Pushes, type PushesProps } from "./pushes.tsx";
import { Headline, ownOf, Scores } from "./scores.tsx";
import { ModelStays, ModelStaysBadge } from "./stays-local.tsx";

type Checkpoint = LineageView["checkpoints"][number];

function LineageSteps({ lineage }: { lineage: LineageView }) {
  const steps = [
    lineage.dataset
      ? {
          what: "Data",
          name: `${lineage.dataset.name}, version ${lineage.dataset.number}`,
          href: lineage.dataset.deleted
            ? null
            : `/datasets/${lineage.dataset.dataset_id}?version=${lineage.dataset.version_id}`,
          deleted: lineage.dataset.deleted,
        }
      : null,
    { what: "Base model", name: lineage.base_model.id, href: `/models/${encodeURIComponent(lineage.base_model.id)}` },
    lineage.job ? { what: "Job", name: lineage.job.name, href: `/jobs/${lineage.job.id}` } : null,
    { what: "Model", name: lineage.model, href: null },
    ...lineage.deployments.map((row) => ({ what: "Endpoint", name: row.name, href: `/deployments/${row.id}` })),
  ].filter((step) => step !== null);
  return (
    <ol class="lineage" aria-label="Lineage">
      {steps.map((step) => (
        <li>
          <span class="small muted">{step.what}</span>
          {step.href ? (
            <a href={step.href} class="clip" title={step.name} dir="auto">
              {step.name}
            </a>
          ) : (
            <strong class="clip" title={step.name}>
              {step.name}
              {"deleted" in step && step.deleted ? " (deleted)" : null}
            </strong>
          )}
        </li>
      ))}
    </ol>
  );
}

const metric = (row: Checkpoint, key: string) => {
  const value = row.metrics[key];
  return typeof value === "number" ? formatNumber(value) : "–";
};
const CHECKPOINTS: Column<Checkpoint>[] = [
  {
    key: "step",
    label: "Checkpoint",
    name: true,
    render: (row) => (
      <RowName href={`/models/${encodeURIComponent(row.model)}`} name={`Step ${row.step}`} sub={row.model} />
    ),
  },
  { key: "train", label: "Train loss", end: true, render: (row) => metric(row, "train/loss") },
  { key: "eval", label: "Validation loss", end: true, render: (row) => metric(row, "eval/loss") },
  {
    key: "at",
    label: "Saved",
    wide: true,
    render: (row) => <Time at={row.created_at ? row.created_at * 1000 : null} />,
  },
];

const GRADED: Column<Checkpoint>[] = CHECKPOINTS.map((column) =>
  column.key === "train"
    ? { ...column, label: "Reward", render: (row) => metric(row, "train/reward") }
    : column.key === "eval"
      ? { ...column, label: "Validation reward", render: (row) => metric(row, "eval/reward") }
      : column,
);

function Files({ lineage }: { lineage: LineageView }) {
  const shown = lineage.artifacts.find((row) => row.kind === "adapter" || row.kind === "model") ?? lineage.artifacts[0];
  if (!shown?.files.length)
    return (
      <Empty slim icon="file" title="No files">
        The files appear when they are uploaded to this server.
      </Empty>
    );
  return <ArtifactFiles id={shown.id} files={shown.files} />;
}

type Evaluation = LineageView["evaluations"][number];
const EVALUATIONS: Column<Evaluation>[] = [
  {
    key: "name",
    label: "Evaluation",
    name: true,
    render: (row) => (
      <RowName
        href={`/evaluations/${row.id}`}
        name={row.name}
        sub={row.against ? `against ${row.against}` : row.own ? "validation rows of its training" : null}
      />
    ),
  },
  {
    key: "exact",
    label: "Exact match",
    end: true,
    render: (row) => (row.result ? formatPercent((row.result.tuned ?? row.result.base).exact_match.mean) : "–"),
  },
  { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
];

const chatSnippet = (model: string, baseUrl: string) =>
  `from openai import OpenAI

client = OpenAI(base_url="${baseUrl}/v1", api_key="ftl-…")
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`;

/** How to score with a reward model from a directory with its files. */
const scoreSnippet = ({ whole, base_model: base }: LineageView) =>
  `from transformers import AutoModelForSequenceClassification, AutoTokenizer
${
  whole
    ? `
tokenizer = AutoTokenizer.from_pretrained("files-of-this-page")
model = AutoModelForSequenceClassification.from_pretrained("files-of-this-page")`
    : `from peft import PeftModel

tokenizer = AutoTokenizer.from_pretrained("${base.id}")  # the directory of the base model
model = AutoModelForSequenceClassification.from_pretrained("${base.id}", num_labels=1)
model = PeftModel.from_pretrained(model, "files-of-this-page")`
}
chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi! How can I help?"}]
tokens = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
print(model(**tokens).logits.item())  # higher is better`;

/** The page where this model is evaluated on any data. */
const evaluateHref = ({ model, dataset }: LineageView) =>
  `/evaluations/new?${new URLSearchParams({
    model,
    ...(dataset && !dataset.deleted ? { dataset: dataset.version_id } : {}),
  })}`;

function UseIt({ lineage, baseUrl }: { lineage: LineageView; baseUrl: string }) {
  const scores = lineage.method === "reward";
  return (
    <section class="panel">
      <header>
        <h2>Use it</h2>
      </header>
      <div class="body stack tight">
        <p class="muted small">
          {scores
            ? "A reward model scores answers and cannot chat, so it has no endpoint. Download its files and use transformers."
            : "Use its ID with any OpenAI client. The endpoint starts with the first request."}
        </p>
        <Snippet label="Python" text={scores ? scoreSnippet(lineage) : chatSnippet(lineage.model, baseUrl)} />
      </div>
    </section>
  );
}

function ModelActions({ lineage }: { lineage: LineageView }) {
  if (lineage.method === "reward")
    return (
      <RoleLink class="button" href={evaluateHref(lineage)}>
        Evaluate
      </RoleLink>
    );
  const live = liveOf(lineage);
  const models = encodeURIComponent(`${lineage.base_model.id},${lineage.model}`);
  return (
    <>
      <RoleLink class="button" href={`/playground?models=${models}`}>
        Compare with base
      </RoleLink>
      <RoleLink class="button" href={evaluateHref(lineage)}>
        Evaluate
      </RoleLink>
      {live ? (
        <a class="button primary" href={`/deployments/${live.id}`}>
          Open endpoint
        </a>
      ) : (
        <ActionButton action="/deployments" class="primary" fields={{ model: lineage.model }}>
          Deploy
        </ActionButton>
      )}
    </>
  );
}

const liveOf = ({ deployments, model }: LineageView) => {
  const own = deployments.filter((row) => row.model === model);
  return own.find((row) => row.state === "ready") ?? own[0];
};

export function TunedModelPage(props: {
  lineage: LineageView;
  exports: ExportView[];
  formats: readonly Format[];
  pushes: PushesProps;
  baseUrl: string;
  barred: RestrictionRow | null;
  isCheckpoint: boolean;
  creator: string | null;
  /** What an endpoint of it costs; null when nothing has a price. */
  price: DeploymentPlan | null;
}) {
  const { lineage } = props;
  const own = ownOf(lineage);
  const graded = lineage.method === "grpo";
  const live = liveOf(lineage);
  const path = `/models/${encodeURIComponent(lineage.model)}`;
  const step = /:ckpt-step-(\d+)$/.exec(lineage.model)?.[1];
  const name = lineage.job ? `${lineage.job.name}${step ? `, step ${step}` : ""}` : lineage.model;
  return (
    <Layout
      title={name}
      crumbs={[{ label: "Models", href: "/models" }]}
      live={{ topics: ["jobs", "pushes"] }}
      beside={
        <>
          {live ? <StateBadge state={live.state} note="endpoint" /> : null}
          <ModelStaysBadge stays={lineage.stays_local} />
        </>
      }
      creator={props.creator}
      actions={<ModelActions lineage={lineage} />}
    >
      <div class="stack">
        <p class="small">
          <CopyId id={lineage.model} full />
        </p>
        {props.price && !live ? (
          <p class="small muted" id="deploy-price">
            An endpoint costs <EndpointPrice plan={props.price} />.
          </p>
        ) : null}
        <Barred of={props.barred} />
        <LineageSteps lineage={lineage} />
        {own?.result ? <Headline {...own.result} /> : null}
        <div class="columns">
          <Scores lineage={lineage} />
          <UseIt lineage={lineage} baseUrl={props.baseUrl} />
        </div>
        {lineage.evaluations.length ? (
          <section class="panel">
            <header>
              <h2>Evaluations</h2>
              <RoleLink class="button small" href={evaluateHref(lineage)}>
                Evaluate
              </RoleLink>
            </header>
            <Table label="Evaluations" columns={EVALUATIONS} rows={lineage.evaluations} rowId={(row) => row.id} />
          </section>
        ) : null}
        {lineage.checkpoints.length ? (
          <section class="panel">
            <header>
              <h2>Checkpoints</h2>
            </header>
            <Table
              label="Checkpoints"
              columns={graded ? GRADED : CHECKPOINTS}
              rows={lineage.checkpoints}
              rowId={(row) => row.id}
            />
          </section>
        ) : null}
        <div class="columns">
          {lineage.method === "reward" ? null : (
            <Exports model={lineage.model} whole={lineage.whole} exports={props.exports} formats={props.formats} />
          )}
          <section class="panel">
            <header>
              <h2>{lineage.whole ? "Model files" : "Adapter files"}</h2>
            </header>
            <div class="body">
              <Files lineage={lineage} />
            </div>
          </section>
        </div>
        <Pushes {...props.pushes} />
        {props.isCheckpoint ? null : (
          <ModelStays model={lineage.model} stays={lineage.stays_local} owner={lineage.job?.created_by} />
        )}
        <ReportLink type="model" id={lineage.model} />
        {props.isCheckpoint ? null : (
          <details class="more">
            <summary>
              <Icon name="right" />
              Danger zone
            </summary>
            <ConfirmForm
              id="delete-model"
              action={`${path}/delete`}
              owner={lineage.job?.created_by}
              label="Delete model"
              buttonClass="button danger"
              title="Delete this model?"
              lost="Requests with its ID or that of one of its checkpoints fail, and their endpoints stop. The job, its metrics and all files stay; the files can be deleted on the job's page."
              verb="Delete model"
              typeName={lineage.model}
            />
          </details>
        )}
      </div>
    </Layout>
  );
}
