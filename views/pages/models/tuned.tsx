/** The page of a fine-tuned model or checkpoint: scores, lineage, files, exports and use. */
import type { EvaluateResult } from "../../../src/contract/spec.ts";
import { formatBytes, formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { LineageView } from "../../../src/models/tuned/model.ts";
import type { ExportView, Format } from "../../../src/training/exports/model.ts";
import { Layout } from "../../layout.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName, Table } from "../../parts/table.tsx";
import { CopyId, Snippet, Stat, Stats, Time } from "../../parts/value.tsx";

import { Exports } from "./exports.tsx";

type Checkpoint = LineageView["checkpoints"][number];

function LineageSteps({ lineage }: { lineage: LineageView }) {
  const steps = [
    lineage.dataset
      ? {
          what: "Data",
          name: `${lineage.dataset.name}, version ${lineage.dataset.number}`,
          href: `/datasets/${lineage.dataset.dataset_id}?version=${lineage.dataset.version_id}`,
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
            </strong>
          )}
        </li>
      ))}
    </ol>
  );
}

/** Whether a side is a reward model's: it writes no answers, so it has no tokens. */
const scoresOnly = (side: NonNullable<EvaluateResult["tuned"]>) => side.tokens === 0;

function Headline({ base, tuned }: EvaluateResult) {
  if (!tuned) return null;
  return (
    <Stats>
      {tuned.preference ? (
        <Stat label="Better answer preferred" big note={`base: ${formatPercent(base.preference?.mean)}`}>
          {formatPercent(tuned.preference.mean)}
        </Stat>
      ) : (
        <Stat label="Exact match on validation rows" big note={`base: ${formatPercent(base.exact_match.mean)}`}>
          {formatPercent(tuned.exact_match.mean)}
        </Stat>
      )}
      <Stat label="Loss" note={scoresOnly(tuned) ? "pairwise loss" : `base: ${formatNumber(base.loss.mean)}`}>
        {formatNumber(tuned.loss.mean)}
      </Stat>
      {scoresOnly(tuned) ? null : (
        <Stat label="Token accuracy" note={`base: ${formatPercent(base.token_accuracy.mean)}`}>
          {formatPercent(tuned.token_accuracy.mean)}
        </Stat>
      )}
    </Stats>
  );
}

function BeforeAfter({ result }: { result: EvaluateResult }) {
  const { base, tuned } = result;
  if (!tuned) return null;
  const rows = [
    tuned.preference
      ? {
          name: "Better answer preferred",
          base: formatPercent(base.preference?.mean),
          tuned: formatPercent(tuned.preference.mean),
        }
      : null,
    ...(scoresOnly(tuned)
      ? [{ name: "Pairwise loss", base: "–", tuned: formatNumber(tuned.loss.mean) }]
      : [
          {
            name: "Exact match",
            base: formatPercent(base.exact_match.mean),
            tuned: formatPercent(tuned.exact_match.mean),
          },
          {
            name: "Token accuracy",
            base: formatPercent(base.token_accuracy.mean),
            tuned: formatPercent(tuned.token_accuracy.mean),
          },
          { name: "Loss", base: formatNumber(base.loss.mean), tuned: formatNumber(tuned.loss.mean) },
          { name: "Perplexity", base: formatNumber(base.perplexity), tuned: formatNumber(tuned.perplexity) },
        ]),
  ].filter((row) => row !== null);
  return (
    <Table
      still
      label="Before and after"
      rows={rows}
      rowId={(row) => row.name}
      columns={[
        { key: "name", label: "On validation rows", name: true, render: (row) => row.name },
        { key: "base", label: "Base", end: true, render: (row) => row.base },
        { key: "tuned", label: "Fine-tuned", end: true, render: (row) => <strong>{row.tuned}</strong> },
      ]}
    />
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
  return (
    <ul class="lines-list">
      {shown.files.map((file) => (
        <li>
          <Icon name="file" />
          <a class="grow clip" href={`/v1/artifacts/${shown.id}/content/${file.path}`} download>
            {file.path}
          </a>
          <span class="num muted">{formatBytes(file.size)}</span>
        </li>
      ))}
    </ul>
  );
}

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

export function TunedModelPage(props: {
  lineage: LineageView;
  exports: ExportView[];
  formats: readonly Format[];
  baseUrl: string;
  isCheckpoint: boolean;
}) {
  const { lineage } = props;
  const evaluation = lineage.evaluations.find((row) => row.result) ?? lineage.evaluations[0];
  const scores = lineage.method === "reward";
  const graded = lineage.method === "grpo";
  const live = lineage.deployments.find((row) => row.state === "ready") ?? lineage.deployments[0];
  const path = `/models/${encodeURIComponent(lineage.model)}`;
  return (
    <Layout
      title={lineage.model}
      crumbs={[{ label: "Models", href: "/models" }]}
      beside={live ? <StateBadge state={live.state} note="endpoint" /> : null}
      actions={
        scores ? null : (
          <>
            <a
              class="button"
              href={`/playground?models=${encodeURIComponent(`${lineage.base_model.id},${lineage.model}`)}`}
            >
              Compare with base
            </a>
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
        )
      }
    >
      <div class="stack">
        <LineageSteps lineage={lineage} />
        {evaluation?.result ? <Headline {...evaluation.result} /> : null}
        <div class="columns">
          <section class="panel">
            <header>
              <h2>Before and after</h2>
              {evaluation ? (
                <a class="button small" href={`/evaluations/${evaluation.id}`}>
                  View answers
                </a>
              ) : null}
            </header>
            {evaluation?.result ? (
              <BeforeAfter result={evaluation.result} />
            ) : (
              <Empty
                slim
                icon="scale"
                title={evaluation ? "Evaluation is running" : graded ? "Scored by its grader" : "Not evaluated yet"}
                action={
                  evaluation ? (
                    <a class="button" href={`/evaluations/${evaluation.id}`}>
                      View evaluation
                    </a>
                  ) : graded ? (
                    lineage.job && (
                      <a class="button" href={`/jobs/${lineage.job.id}`}>
                        View rewards
                      </a>
                    )
                  ) : (
                    <ActionButton action="/evaluations" fields={{ model: lineage.model }}>
                      Evaluate
                    </ActionButton>
                  )
                }
              >
                {graded
                  ? "Prompts have no expected answers to compare with. The job's page shows the rewards on validation rows."
                  : "The base model and the fine-tuned model answer the validation rows side by side."}
              </Empty>
            )}
          </section>
          <section class="panel">
            <header>
              <h2>{lineage.whole ? "Model files" : "Adapter files"}</h2>
            </header>
            <Files lineage={lineage} />
          </section>
        </div>
        {lineage.checkpoints.length ? (
          <section class="stack tight">
            <h2>Checkpoints</h2>
            <Table
              label="Checkpoints"
              columns={graded ? GRADED : CHECKPOINTS}
              rows={lineage.checkpoints}
              rowId={(row) => row.id}
            />
          </section>
        ) : null}
        <section class="stack tight">
          <h2>Use it</h2>
          <p class="muted small">
            {scores
              ? "A reward model scores answers and cannot chat, so it has no endpoint. Download its files and use transformers."
              : "Use this id with any OpenAI client. The endpoint starts with the first request."}{" "}
            <CopyId id={lineage.model} full />
          </p>
          <Snippet label="Python" text={scores ? scoreSnippet(lineage) : chatSnippet(lineage.model, props.baseUrl)} />
        </section>
        {scores ? null : (
          <Exports model={lineage.model} whole={lineage.whole} exports={props.exports} formats={props.formats} />
        )}
        {props.isCheckpoint ? null : (
          <div class="row">
            <ConfirmForm
              id="delete-model"
              action={`${path}/delete`}
              label="Delete model"
              buttonClass="button danger"
              title="Delete this model?"
              lost="Requests with its id or that of one of its checkpoints fail, and their endpoints stop. The job, its metrics and all files stay; the files can be deleted on the job's page."
              verb="Delete model"
              typeName={lineage.model}
            />
          </div>
        )}
      </div>
    </Layout>
  );
}
