/** The frozen spec of a job, and its attempts. */
import type { Progress } from "../../../src/contract/job.ts";
import type { DatasetRef, EvaluateSpec, ExportSpec, ServeSpec, TrainSpec } from "../../../src/contract/spec.ts";
import type { TrainResult } from "../../../src/contract/trainer.ts";
import type { VersionLabel } from "../../../src/data/datasets/versions.ts";
import { formatBytes, formatInteger, plural } from "../../../src/lib/text/format.ts";
import type { AttemptRow, JobRow } from "../../../src/training/jobs/model.ts";
import type { Reproduction } from "../../../src/training/plan/reproduce.ts";
import { ActionButton } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge, stateWord } from "../../parts/state.tsx";
import { Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Snippet, Time, Took } from "../../parts/value.tsx";
import { lossWords, methodWords, settingsOf, validationWords } from "./describe.ts";

const link = (href: string, text: string) => (
  <a href={href} class="wrap-any">
    {text}
  </a>
);

/** The verification of the first batch, with a link to the rows as tokens. */
function firstBatch(spec: TrainSpec, progress: Progress) {
  const query = new URLSearchParams({
    version: spec.dataset.version_id,
    base: spec.base_model.id,
    length: String(spec.hyperparameters.max_length),
    ...(spec.method.type === "sft" ? { loss: spec.method.loss_on } : {}),
  });
  const { first_batch: found } = progress;
  return [
    "Tokenized rows",
    link(`/datasets/${encodeURIComponent(spec.dataset.dataset_id)}/seen?${query}`, "Inspect the tokens"),
    found?.state === "same"
      ? `First batch verified: ${found.rows} of ${plural(found.rows, "row")} match the dataset`
      : found?.state === "not_compared"
        ? `The first batch was not verified: ${found.why}`
        : undefined,
  ] as const;
}

/** The memory of a run: measured if available, otherwise planned. */
function memoryRow(spec: TrainSpec, { canary }: Progress, result: Partial<TrainResult>) {
  const gpu = spec.need.gpus > 0;
  const mb = (value: number) => formatBytes(value * 1024 ** 2);
  const planned = `${mb(gpu ? spec.need.gpu_memory_mb : spec.need.memory_mb)} planned`;
  const whole = gpu ? result.peak_gpu_reserved_mb : result.peak_memory_mb;
  const first = gpu ? canary?.peak_gpu_reserved_mb : canary?.peak_memory_mb;
  if (whole) return ["Memory", `${mb(whole)} peak`, planned] as const;
  if (canary && first) return ["Memory", mb(first), `in the memory test; ${planned}`] as const;
  return ["Memory", planned] as const;
}

/** The dataset version of a job as a link, or the name it had. */
function dataOf(dataset: DatasetRef, data: VersionLabel | null) {
  if (!data) return `${dataset.dataset_id} (deleted)`;
  const name = `${data.name}, version ${data.version}`;
  if (data.deleted) return `${name} (deleted)`;
  return link(`/datasets/${encodeURIComponent(data.id)}?version=${encodeURIComponent(dataset.version_id)}`, name);
}

/** The model that a training results in: its id before it exists, then a link. */
function modelOf(job: JobRow, spec: TrainSpec, deleted: boolean) {
  if (job.state !== "succeeded") return <CopyId id={spec.output_model} full />;
  if (deleted) return `${spec.output_model} (deleted)`;
  return link(`/models/${encodeURIComponent(spec.output_model)}`, spec.output_model);
}

function trainRows(
  job: JobRow,
  spec: TrainSpec,
  data: VersionLabel | null,
  modelDeleted: boolean,
): Parameters<typeof KeyValue>[0]["rows"] {
  const h = spec.hyperparameters;
  const { progress } = job;
  const result = job.result ?? {};
  return [
    ["Base model", link(`/models/${encodeURIComponent(spec.base_model.id)}`, spec.base_model.id)],
    [
      "Data",
      dataOf(spec.dataset, data),
      `${formatInteger(spec.dataset.train_rows)} training rows, ${validationWords(spec)}`,
    ],
    ["Method", methodWords(spec), `trained on ${lossWords(spec.method)}`],
    ["Epochs", String(h.n_epochs), `${formatInteger(spec.schedule.total_steps)} steps of ${h.batch_size} rows`],
    ["Learning rate", String(h.learning_rate), `${h.scheduler}, warm-up ${h.warmup_ratio}`],
    ["Max sequence length", `${formatInteger(h.max_length)} tokens`],
    [...firstBatch(spec, progress)],
    [...memoryRow(spec, progress, result)],
    ["Seed", String(h.seed)],
    ["Model", modelOf(job, spec, modelDeleted)],
  ];
}

function otherRows(
  spec: EvaluateSpec | ServeSpec | ExportSpec,
  data: VersionLabel | null,
): Parameters<typeof KeyValue>[0]["rows"] {
  const base: Parameters<typeof KeyValue>[0]["rows"] = [
    ["Base model", link(`/models/${encodeURIComponent(spec.base_model.id)}`, spec.base_model.id)],
  ];
  if (spec.kind === "export")
    return [
      ...base,
      ["Fine-tuned model", link(`/models/${encodeURIComponent(spec.tuned.model)}#exports`, spec.tuned.model)],
      ["Format", spec.format, spec.dataset ? "compared on validation rows" : "compared on general questions"],
    ];
  if (spec.kind === "serve" && spec.whole) return [...base, ["Full model", <CopyId id={spec.whole.name} full />]];
  if (spec.kind === "serve") return [...base, ["Adapters", spec.adapters.map((one) => one.name).join(", ") || "none"]];
  return [
    ...base,
    ["Fine-tuned model", spec.tuned ? <CopyId id={spec.tuned.model} full /> : "none, only the base model"],
    spec.against ? ["Compared with", <CopyId id={spec.against.model} full />] : null,
    ["Data", dataOf(spec.dataset, data)],
    ["Rows", `at most ${formatInteger(spec.max_rows)} of ${spec.split}`],
  ];
}

/** The result of a reproduction, for users. */
function verdict({ steps, same, first_difference: other, differences }: Reproduction): string {
  const known = differences.length ? `; ${differences.join(", ")}` : "";
  if (!steps) return `no steps to compare yet${known}`;
  if (same) return `same loss at all of ${plural(steps, "step")} compared${known}`;
  return `losses differ from step ${other?.step} on: ${other?.original}, now ${other?.again}${known}`;
}

export interface JobSpecProps {
  job: JobRow;
  /** Its dataset version, also a deleted one. */
  data: VersionLabel | null;
  modelDeleted: boolean;
  reproduction: Reproduction | null;
  /** Names of the jobs that it refers to, by ID; a deleted one is absent. */
  names: Map<string, string>;
}

export function JobSpecPanel({ job, data, modelDeleted, reproduction, names }: JobSpecProps) {
  const { spec } = job;
  const linkTo = (id: string) => {
    const name = names.get(id);
    return name === undefined ? `${id} (deleted)` : link(`/jobs/${encodeURIComponent(id)}`, name);
  };
  return (
    <section id="job-spec" class="panel" aria-labelledby="spec-title">
      <header>
        <h2 id="spec-title">Settings</h2>
        <CopyId id={job.id} />
      </header>
      <div class="body stack">
        <KeyValue
          rows={[
            ...(spec.kind === "train" ? trainRows(job, spec, data, modelDeleted) : otherRows(spec, data)),
            reproduction ? ["Reproduces", linkTo(reproduction.original), verdict(reproduction)] : null,
            ["Requires", `${formatBytes(spec.need.memory_mb * 1024 ** 2)} memory, ${spec.need.gpus || "no"} GPU`],
            ["Created", <Time at={job.createdAt} />],
            job.metadata.continues ? ["Continues", linkTo(job.metadata.continues)] : null,
            job.parentId ? ["Created from", linkTo(job.parentId)] : null,
          ]}
        />
        <details class="more">
          <summary>
            <Icon name="right" />
            Exact spec
          </summary>
          <div class="stack">
            {spec.kind === "train" ? (
              <KeyValue rows={settingsOf(spec).map(([, name, value]): [string, string] => [name, value])} />
            ) : null}
            {spec.kind === "train" ? (
              <div class="row">
                <ActionButton action={`/jobs/${encodeURIComponent(job.id)}/reproduce`} class="small">
                  Reproduce
                </ActionButton>
                <span class="xs muted">Runs the same spec again and compares the losses step by step.</span>
              </div>
            ) : null}
            <Snippet label="Spec as JSON" text={JSON.stringify(spec, null, 2)} />
          </div>
        </details>
      </div>
    </section>
  );
}

export interface AttemptsProps {
  attempts: AttemptRow[];
}

export function Attempts({ attempts }: AttemptsProps) {
  if (!attempts.length) return <div id="job-attempts" hidden />;
  return (
    <section id="job-attempts" class="panel" aria-labelledby="attempts-title">
      <header>
        <h2 id="attempts-title">Attempts</h2>
      </header>
      <Table
        label="Attempts"
        still
        rows={attempts}
        rowId={(one) => one.id}
        columns={[
          { key: "number", label: "Number", render: (one) => <span class="num">{one.number}</span> },
          {
            key: "outcome",
            label: "Outcome",
            render: (one) => (
              <div class="stack tight">
                {one.outcome ? <span>{stateWord(one.outcome)}</span> : <StateBadge state={one.state} />}
                {one.detail ? <span class="xs muted wrap-any">{one.detail}</span> : null}
              </div>
            ),
          },
          {
            key: "where",
            label: "Where",
            wide: true,
            render: (one) => (
              <span class="muted">
                {one.provider}, {one.offer.gpuName ?? one.offer.location}
              </span>
            ),
          },
          {
            key: "took",
            label: "Duration",
            end: true,
            render: (one) => <Took from={one.startedAt ?? one.createdAt} to={one.endedAt} />,
          },
        ]}
      />
    </section>
  );
}
