/** The live head of a job page: badge, actions, progress, metrics and failure. */

import type { VNode } from "preact";
import { isFinal } from "../../../src/contract/job.ts";
import type { TrainSpec } from "../../../src/contract/spec.ts";
import { formatCount, formatInteger, formatMoney, formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { JobCost } from "../../../src/training/jobs/cost.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import type { QueueFacts } from "../../../src/training/queue/service.ts";
import { usePage } from "../../context.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { withCode } from "../../parts/code-spans.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { KeyValue, Progress, Stat, Stats, Time, Took } from "../../parts/value.tsx";
import { exactly, soon } from "../queue/words.ts";
import { activityOf, isLive, methodOf, progressOf, timeLeft } from "./describe.ts";
import { costRange } from "./plan-offers.tsx";

export interface JobStatusProps {
  job: JobRow;
  /** Latest value of every series. */
  latest: Record<string, number | null>;
  /** What it costs so far, and to its end. */
  cost: JobCost;
  /** Position in the queue while it waits. */
  queue: QueueFacts | null;
  /** Id of the fine-tuned model, once it exists. */
  model: string | null;
  modelDeleted: boolean;
  /** Step of the newest checkpoint of a run that ended early; null when there is none. */
  resumable: number | null;
}

const path = (job: JobRow, act = "") => `/jobs/${encodeURIComponent(job.id)}${act}`;

function Cancel({ job }: { job: JobRow }) {
  return (
    <ConfirmForm
      id="cancel"
      action={path(job, "/cancel")}
      owner={job.createdBy}
      label="Cancel"
      icon={<Icon name="x" />}
      title={`Cancel “${job.name}”?`}
      lost={
        job.kind === "train"
          ? "Training stops permanently. Saved checkpoints stay usable; steps after the last one are lost. To continue later, pause the job instead."
          : "The job stops permanently, and unfinished work is lost."
      }
      verb="Cancel this job"
    />
  );
}

/** The buttons for the job's state; the primary action is last. */
export function JobActions({
  job,
  model,
  modelDeleted,
  resumable,
}: Pick<JobStatusProps, "job" | "model" | "modelDeleted" | "resumable">): VNode {
  const { state } = job;
  const train = job.kind === "train";
  const again = (
    <ActionButton action={path(job, "/again")} class="primary">
      <Icon name="repeat" />
      Run again
    </ActionButton>
  );
  const change = train ? (
    <RoleLink class="button" href={`/jobs/new?from=${encodeURIComponent(job.id)}`}>
      <Icon name="settings" />
      Change and run
    </RoleLink>
  ) : null;
  const around = train ? (
    <RoleLink
      class="button"
      href={`/sweeps/new?job=${encodeURIComponent(job.id)}`}
      title="Sweep over its hyperparameters"
    >
      <Icon name="compare" />
      Sweep
    </RoleLink>
  ) : null;
  return (
    <div id="job-actions" class="actions">
      {state === "running" && train ? (
        <>
          <ActionButton action={path(job, "/checkpoint")} title="Save a checkpoint after the current step and continue">
            <Icon name="save" />
            Checkpoint now
          </ActionButton>
          <ActionButton
            action={path(job, "/pause")}
            owner={job.createdBy}
            title="Save a checkpoint and release the machine"
          >
            <Icon name="pause" />
            Pause
          </ActionButton>
        </>
      ) : null}
      {["validating", "queued", "starting", "running", "paused"].includes(state) ? <Cancel job={job} /> : null}
      {state === "paused" ? (
        <ActionButton action={path(job, "/resume")} class="primary">
          <Icon name="play" />
          Resume
        </ActionButton>
      ) : null}
      {state === "succeeded" ? around : null}
      {train && isFinal(state) ? change : null}
      {train && ["failed", "cancelled"].includes(state) && !resumable ? again : null}
      {train && ["failed", "cancelled"].includes(state) && resumable ? (
        <>
          <ActionButton action={path(job, "/again")}>
            <Icon name="repeat" />
            Run again
          </ActionButton>
          <ActionButton action={path(job, "/continue")} class="primary" title="A new job with the same settings">
            <Icon name="play" />
            Resume from step {resumable}
          </ActionButton>
        </>
      ) : null}
      {/* A reward model cannot chat. */}
      {state === "succeeded" && model && !modelDeleted && methodOf(job) !== "reward" ? (
        <>
          <RoleLink class="button" href={`/playground?models=${encodeURIComponent(model)}`}>
            <Icon name="chat" />
            Chat
          </RoleLink>
          <ActionButton action="/deployments" class="primary" fields={{ model }}>
            <Icon name="deploy" />
            Deploy
          </ActionButton>
        </>
      ) : null}
    </div>
  );
}

export function JobBadge({ job }: { job: JobRow }): VNode {
  return (
    <span id="job-badge">
      <StateBadge state={job.state} />
    </span>
  );
}

/** Link to the new-job page with a copy of the job and the suggested change. */
function changeHref(job: JobRow, suggestion: Record<string, unknown>): string {
  const change = new URLSearchParams(Object.entries(suggestion).map(([name, value]) => [name, String(value)]));
  return `/jobs/new?${new URLSearchParams({ from: job.id, change: change.toString() })}`;
}

function Failure({ job }: { job: JobRow }) {
  const { error } = job;
  if (job.state !== "failed" || !error) return null;
  return (
    <Notice kind="bad" title={error.message}>
      {error.advice ? <p>{withCode(error.advice)}</p> : null}
      {error.suggestion ? (
        <p>
          <a class="button" href={changeHref(job, error.suggestion)}>
            <Icon name="settings" />
            Apply change and run
          </a>
        </p>
      ) : null}
      {error.detail ? (
        <details class="more">
          <summary>
            <Icon name="right" />
            Details
          </summary>
          <div class="side">
            <pre>{error.detail}</pre>
          </div>
        </details>
      ) : null}
      <p class="small">
        <a href="#log">Read the log</a>
      </p>
    </Notice>
  );
}

/** What the trainer warns about in the result of a job that succeeded. */
function ResultWarnings({ job }: { job: JobRow }) {
  const warnings: unknown = job.state === "succeeded" ? job.result?.warnings : undefined;
  if (!Array.isArray(warnings)) return null;
  return warnings.filter((one) => typeof one === "string").map((one) => <Notice kind="warn">{one}</Notice>);
}

/** The estimate to the end; nothing where nothing has a price. */
function costNote({ at_end_usd: end, per_hour_usd: hour }: JobCost): string | undefined {
  if (end && end[1] > 0) return `about ${costRange(end)} at the end`;
  return hour ? `${formatMoney(hour)} per hour` : undefined;
}

function TrainStats({ job, latest, cost }: JobStatusProps) {
  const spec = job.spec as TrainSpec;
  const { step, totalSteps, tokensSeen } = progressOf(job);
  // GRPO's loss stays around zero and carries no information.
  const graded = methodOf(job) === "grpo";
  const figure = graded ? "reward" : "loss";
  return (
    <Stats>
      <Stat label={graded ? "Reward" : "Training loss"} big>
        {formatNumber(latest[`train/${figure}`])}
      </Stat>
      <Stat label={graded ? "Validation reward" : "Validation loss"} big>
        {formatNumber(latest[`eval/${figure}`])}
      </Stat>
      <Stat label="Step" note={`of ${formatInteger(totalSteps ?? spec.schedule.total_steps)}`}>
        {formatInteger(step ?? 0)}
      </Stat>
      {graded ? (
        <Stat label="Completion length" note="tokens">
          {formatNumber(latest["train/completion_length"])}
        </Stat>
      ) : latest["train/reward_accuracy"] === undefined ? (
        <Stat label="Token accuracy">{formatPercent(latest["train/token_accuracy"], 1)}</Stat>
      ) : (
        <Stat label="Preference accuracy">{formatPercent(latest["train/reward_accuracy"], 1)}</Stat>
      )}
      <Stat label="Tokens seen">{formatCount(tokensSeen ?? 0)}</Stat>
      <Stat label="Throughput" note="tokens per second">
        {formatCount(latest["perf/tokens_per_second"])}
      </Stat>
      <Stat
        label="Time"
        note={
          <>
            {job.startedAt ? "started" : "created"} <Time at={job.startedAt ?? job.createdAt} />
          </>
        }
      >
        <Took from={job.startedAt} to={job.finishedAt ?? (isLive(job.state) ? null : job.progressAt)} />
      </Stat>
      <Stat label="Cost" note={costNote(cost)}>
        {formatMoney(cost.so_far_usd)}
      </Stat>
    </Stats>
  );
}

/** Predicted start and position of a waiting job. */
function Waiting({ id, queue }: { id: string; queue: QueueFacts }) {
  const { now } = usePage();
  return (
    <div class="panel body-only">
      <KeyValue
        rows={[
          [
            "Predicted start",
            <span title={exactly(queue.start)}>{soon(queue.start, now)}</span>,
            queue.start.why ?? undefined,
          ],
          queue.late ? ["Deadline", <span class="bad-text">The job will miss its deadline.</span>] : null,
          [
            "Position",
            <>
              {queue.position} in the <a href="/queue">queue</a>,{" "}
              <a href={`/queue/${encodeURIComponent(id)}`}>change its scheduling</a>
            </>,
          ],
        ]}
      />
    </div>
  );
}

/** Why the job waits for money, and where to change that. The reason ends with what to do. */
function MoneyNotice({ message }: { message: string }) {
  const [href, label] = message.includes("maximum cost")
    ? ["#cost-limit-title", "Maximum cost"]
    : message.includes("payment")
      ? ["/billing", "Billing"]
      : ["/usage/budgets", "Budgets"];
  return (
    <Notice kind="warn">
      {message}. Its checkpoints are kept, and it starts by itself when it fits. <a href={href}>{label}</a>
    </Notice>
  );
}

/** The live part of the page. */
export function JobStatus(props: JobStatusProps): VNode {
  const { url, now } = usePage();
  const { job } = props;
  const { fraction } = progressOf(job);
  const left = timeLeft(job, now);
  const active = isLive(job.state);
  const waiting = props.queue?.waiting;
  const unpaid = waiting?.code === "budget" ? waiting.message : null;
  return (
    <section
      id="job-status"
      class="stack"
      aria-label="Status"
      data-tab-progress={active && fraction !== null ? formatPercent(fraction) : undefined}
      {...liveOn(url, `job:${job.id}`)}
    >
      <Failure job={job} />
      <ResultWarnings job={job} />
      {unpaid === null ? null : <MoneyNotice message={unpaid} />}
      {active || job.state === "paused" ? (
        <Progress
          label={`Progress of ${job.name}`}
          fraction={job.state === "queued" || job.state === "validating" ? 0 : fraction}
          left={unpaid === null ? (waiting?.message ?? activityOf(job)) : "Waiting"}
          right={[fraction !== null ? formatPercent(fraction) : null, left && `about ${left}`]
            .filter(Boolean)
            .join(", ")}
        />
      ) : null}
      {props.queue ? <Waiting id={job.id} queue={props.queue} /> : null}
      {job.kind === "train" && !props.queue ? <TrainStats {...props} /> : null}
    </section>
  );
}
