/**
 * Results of a run so far: outputs of the model at checkpoints beside the expected answers, and the checkpoints.
 */
import type { VNode } from "preact";
import type { checkpoint } from "../../../src/db/schema/models.ts";
import { formatInteger, formatNumber, plural } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import type { Sample } from "../../../src/training/metrics/model.ts";
import { usePage } from "../../context.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { Conversation } from "../../parts/conversation.tsx";
import { ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Diff, Sides } from "../../parts/sides.tsx";
import { liveOn } from "../../parts/table.tsx";
import { CopyId, Time } from "../../parts/value.tsx";
import { methodOf } from "./describe.ts";

export type CheckpointRow = typeof checkpoint.$inferSelect;

interface SamplesProps {
  job: JobRow;
  samples: Sample[];
  active: boolean;
}

interface CheckpointsProps {
  job: JobRow;
  checkpoints: CheckpointRow[];
  active: boolean;
}

interface RowSamples {
  rowId: number;
  /** Newest first. */
  samples: Sample[];
}

function byRow(samples: Sample[]): RowSamples[] {
  const rows = new Map<number, Sample[]>();
  for (const sample of samples) rows.set(sample.row_id, [sample, ...(rows.get(sample.row_id) ?? [])]);
  return [...rows].map(([rowId, list]) => ({ rowId, samples: list }));
}

const rewardOf = ({ reward }: Sample) => Number((reward ?? 0).toPrecision(3));

/** Completions with a reward and no expected answer. */
function GradedRow({ rowId, samples }: RowSamples) {
  const [newest, ...older] = samples;
  if (!newest) return null;
  const question = String(newest.prompt.findLast((message) => message.role === "user")?.content ?? "");
  return (
    <li id={`sample-${rowId}`} class="sample">
      <div class="row between fixed">
        <p class="clip" dir="auto" title={question}>
          {question}
        </p>
        <span class="xs muted nowrap">reward {rewardOf(newest)}</span>
      </div>
      <Sides
        sides={[newest, ...older.slice(0, 3)].map((sample) => ({
          title: `Step ${formatInteger(sample.step)}, reward ${rewardOf(sample)}`,
          body: sample.output,
        }))}
      />
    </li>
  );
}

function SampleRow({ rowId, samples }: RowSamples) {
  const [newest, ...older] = samples;
  if (!newest) return null;
  if (newest.reward !== undefined) return <GradedRow rowId={rowId} samples={samples} />;
  const right = newest.output.trim() === newest.expected.trim();
  const question = newest.prompt.findLast((message) => message.role === "user");
  return (
    <li id={`sample-${rowId}`} class="sample">
      <div class="row between fixed">
        <p class="clip" dir="auto" title={String(question?.content ?? "")}>
          {String(question?.content ?? "")}
        </p>
        <span class={right ? "xs ok-text nowrap" : "xs muted nowrap"}>{right ? "as expected" : "differs"}</span>
      </div>
      <Sides
        sides={[
          { title: "Expected", body: newest.expected },
          {
            title: `Output at step ${formatInteger(newest.step)}`,
            body: <Diff expected={newest.expected} text={newest.output} />,
          },
        ]}
      />
      <details class="more">
        <summary>
          <Icon name="right" />
          Full conversation{older.length ? ` and ${plural(older.length, "earlier output")}` : ""}
        </summary>
        <div class="stack">
          <Conversation messages={newest.prompt} />
          {older.length ? (
            <Sides
              sides={older.slice(0, 12).map((sample) => ({
                title: `Step ${formatInteger(sample.step)}`,
                body: <Diff expected={sample.expected} text={sample.output} />,
              }))}
            />
          ) : null}
        </div>
      </details>
    </li>
  );
}

/** Reward or loss of a checkpoint on the validation rows, otherwise on the training rows. */
function Worth({ metrics }: CheckpointRow) {
  const reward = metrics["eval/reward"] ?? metrics["train/reward"];
  if (typeof reward === "number") return <span class="num muted small">reward {formatNumber(reward)}</span>;
  const loss = metrics["eval/loss"] ?? metrics["train/loss"];
  return typeof loss === "number" ? <span class="num muted small">loss {formatNumber(loss)}</span> : null;
}

function CheckpointRows({ job, checkpoints, active }: CheckpointsProps) {
  if (!checkpoints.length)
    return (
      <Empty icon="save" title="No checkpoints" slim>
        {active
          ? "Checkpoints appear here during training. Each can be used like a model."
          : "This run ended before its first checkpoint, or the files were deleted."}
      </Empty>
    );
  return (
    <ul class="lines-list">
      {checkpoints.map((one) => (
        <li id={one.id}>
          <div class="grow">
            <div class="row fixed">
              <strong class="nowrap">Step {formatInteger(one.step)}</strong>
              <span class="xs muted">
                <Time at={one.createdAt} />
              </span>
            </div>
            <div class="xs muted">
              <CopyId id={one.model} />
            </div>
          </div>
          <Worth {...one} />
          {methodOf(job) === "reward" ? null : (
            <RoleLink class="button small" href={`/playground?models=${encodeURIComponent(one.model)}`}>
              Try
            </RoleLink>
          )}
        </li>
      ))}
    </ul>
  );
}

const SHOWN = 3;

/** Why there are no samples. */
function noSamples({ job, active }: SamplesProps): string {
  const method = methodOf(job);
  if (method === "reward") return "A reward model scores answers and does not generate any.";
  if (method === "pretrain") return "Plain text has no prompts to answer.";
  return active
    ? "At every checkpoint the model answers a few validation rows, which shows its progress."
    : "The run reached no checkpoint, or its data has no validation rows.";
}

export function JobSamples(props: SamplesProps): VNode {
  const { url } = usePage();
  const { job, samples } = props;
  const rows = byRow(samples);
  return (
    <section id="job-samples" class="panel" aria-labelledby="samples-title" {...liveOn(url, `evidence:${job.id}`)}>
      <header>
        <h2 id="samples-title">Sample outputs</h2>
        <span class="xs muted">Validation rows, not used for training</span>
      </header>
      {rows.length ? (
        <ul class="samples">
          {rows.slice(0, SHOWN).map((row) => (
            <SampleRow {...row} />
          ))}
        </ul>
      ) : (
        <Empty icon="chat" title="No sample outputs" slim>
          {noSamples(props)}
        </Empty>
      )}
      {rows.length > SHOWN ? (
        <details class="more in-panel">
          <summary>
            <Icon name="right" />
            {plural(rows.length - SHOWN, "more row")}
          </summary>
          <ul class="samples">
            {rows.slice(SHOWN, 12).map((row) => (
              <SampleRow {...row} />
            ))}
          </ul>
        </details>
      ) : null}
    </section>
  );
}

export function JobCheckpoints(props: CheckpointsProps): VNode {
  const { url } = usePage();
  return (
    <section
      id="job-checkpoints"
      class="panel"
      aria-labelledby="checkpoints-title"
      {...liveOn(url, `evidence:${props.job.id}`)}
    >
      <header>
        <h2 id="checkpoints-title">Checkpoints</h2>
        {props.checkpoints.length && !props.active ? (
          <ConfirmForm
            id="clear"
            action={`/jobs/${encodeURIComponent(props.job.id)}/clear`}
            owner={props.job.createdBy}
            label="Delete files"
            buttonClass="button small"
            title="Delete the files of this run?"
            lost="Checkpoints and their exports are deleted. Files in use by a model, an endpoint or another job are kept, and so are metrics and log. To free the space of the model too, delete the model first."
            verb="Delete the files"
          />
        ) : null}
      </header>
      <CheckpointRows {...props} />
    </section>
  );
}
