/** The head of a job page that moves: badge, actions, what it is doing, how far it is, and why it failed. */

import type { VNode } from "preact";
import { isFinal } from "../../../src/contract/job.ts";
import type { TrainSpec } from "../../../src/contract/spec.ts";
import { formatCount, formatInteger, formatMoney, formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import type { QueueFacts } from "../../../src/training/queue/service.ts";
import { usePage } from "../../context.ts";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { KeyValue, Progress, Stat, Stats, Time, Took } from "../../parts/value.tsx";
import { exactly, soon } from "../queue/words.ts";
import { doing, isLive, methodOf, progressOf, timeLeft } from "./describe.ts";

export interface JobStatusProps {
  job: JobRow;
  /** Last value of every series. */
  latest: Record<string, number | null>;
  /** USD so far; null when nothing was metered. */
  costUsd: number | null;
  /** Where it stands in the queue while it waits. */
  queue: QueueFacts | null;
  /** The tuned model, once there is one. */
  model: string | null;
}

const path = (job: JobRow, act = "") => `/jobs/${encodeURIComponent(job.id)}${act}`;

function Cancel({ job }: { job: JobRow }) {
  return (
    <ConfirmForm
      id="cancel"
      action={path(job, "/cancel")}
      label="Cancel"
      icon={<Icon name="x" />}
      title={`Cancel “${job.name}”?`}
      lost={
        job.kind === "train"
          ? "Training stops for good. Checkpoints saved so far stay and can still be used; steps after the last one are lost. To go on later, pause instead."
          : "The work stops for good; what it has not finished is lost."
      }
      verb="Cancel this job"
    />
  );
}

/** Buttons for the state the job is in; the one obvious step last and filled. */
export function JobActions({ job, model }: Pick<JobStatusProps, "job" | "model">): VNode {
  const { state } = job;
  const train = job.kind === "train";
  const again = (
    <ActionButton action={path(job, "/again")} class="primary">
      <Icon name="repeat" />
      Run again
    </ActionButton>
  );
  const change = train ? (
    <a class="button" href={`/jobs/new?from=${encodeURIComponent(job.id)}`}>
      <Icon name="settings" />
      Change and run
    </a>
  ) : null;
  const around = train ? (
    <a
      class="button"
      href={`/sweeps/new?job=${encodeURIComponent(job.id)}`}
      title="Train like this with several values"
    >
      <Icon name="compare" />
      Sweep around it
    </a>
  ) : null;
  return (
    <div id="job-actions" class="actions">
      {state === "running" && train ? (
        <>
          <ActionButton action={path(job, "/checkpoint")} title="Save after the current step and go on">
            <Icon name="save" />
            Checkpoint now
          </ActionButton>
          <ActionButton action={path(job, "/pause")} title="Save a checkpoint and free the machine">
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
      {train && ["failed", "cancelled"].includes(state) ? again : null}
      {/* A reward model scores answers and cannot give any. */}
      {state === "succeeded" && model && methodOf(job) !== "reward" ? (
        <>
          <a class="button" href={`/playground?models=${encodeURIComponent(model)}`}>
            <Icon name="chat" />
            Try it
          </a>
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

/** The new-job page with a copy of the job and a change that was found for it. */
function changeHref(job: JobRow, suggestion: Record<string, unknown>): string {
  const change = new URLSearchParams(Object.entries(suggestion).map(([name, value]) => [name, String(value)]));
  return `/jobs/new?${new URLSearchParams({ from: job.id, change: change.toString() })}`;
}

function Failure({ job }: { job: JobRow }) {
  const { error } = job;
  if (job.state !== "failed" || !error) return null;
  return (
    <Notice kind="bad" title={error.message}>
      {error.advice ? <p>{error.advice}</p> : null}
      {error.suggestion ? (
        <p>
          <a class="button" href={changeHref(job, error.suggestion)}>
            <Icon name="settings" />
            Change it and run
          </a>
        </p>
      ) : null}
      {error.detail ? (
        <details class="more">
          <summary>
            <Icon name="right" />
            Evidence
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

function TrainStats({ job, latest, costUsd }: JobStatusProps) {
  const spec = job.spec as TrainSpec;
  const { step, totalSteps, tokensSeen } = progressOf(job);
  // GRPO's loss lies around zero and says nothing.
  const graded = methodOf(job) === "grpo";
  const figure = graded ? "reward" : "loss";
  return (
    <Stats>
      <Stat label={graded ? "Reward" : "Training loss"} big>
        {formatNumber(latest[`train/${figure}`])}
      </Stat>
      <Stat label={`Held-out ${figure}`} big>
        {formatNumber(latest[`eval/${figure}`])}
      </Stat>
      <Stat label="Step" note={`of ${formatInteger(totalSteps ?? spec.schedule.total_steps)}`}>
        {formatInteger(step ?? 0)}
      </Stat>
      {graded ? (
        <Stat label="Length of answers" note="tokens">
          {formatNumber(latest["train/completion_length"])}
        </Stat>
      ) : latest["train/reward_accuracy"] === undefined ? (
        <Stat label="Token accuracy">{formatPercent(latest["train/token_accuracy"], 1)}</Stat>
      ) : (
        <Stat label="Better answer preferred">{formatPercent(latest["train/reward_accuracy"], 1)}</Stat>
      )}
      <Stat label="Tokens seen">{formatCount(tokensSeen ?? 0)}</Stat>
      <Stat label="Speed" note="tokens a second">
        {formatCount(latest["perf/tokens_per_second"])}
      </Stat>
      <Stat
        label="Time"
        note={
          <>
            {job.startedAt ? "started" : "made"} <Time at={job.startedAt ?? job.createdAt} />
          </>
        }
      >
        <Took from={job.startedAt} to={job.finishedAt ?? (isLive(job.state) ? null : job.progressAt)} />
      </Stat>
      <Stat label="Cost">{formatMoney(costUsd)}</Stat>
    </Stats>
  );
}

/** What a waiting job waits for, and when it should begin. */
function Waiting({ id, queue }: { id: string; queue: QueueFacts }) {
  const { now } = usePage();
  return (
    <div class="panel body-only">
      <KeyValue
        rows={[
          [
            "Should begin",
            <span title={exactly(queue.start)}>{soon(queue.start, now)}</span>,
            queue.start.why ?? undefined,
          ],
          queue.late ? ["Deadline", <span class="bad-text">It will be over later than that.</span>] : null,
          [
            "Position",
            <>
              {queue.position} in the <a href="/queue">queue</a>,{" "}
              <a href={`/queue/${encodeURIComponent(id)}`}>change its place</a>
            </>,
          ],
        ]}
      />
    </div>
  );
}

/** The live part of the page; its answer also carries badge and actions of the title row. */
export function JobStatus(props: JobStatusProps): VNode {
  const { url } = usePage();
  const { job } = props;
  const { fraction } = progressOf(job);
  const active = isLive(job.state);
  return (
    <section id="job-status" class="stack" aria-label="Status" {...liveOn(url, `job:${job.id}`)}>
      <Failure job={job} />
      {active || job.state === "paused" ? (
        <Progress
          label={`Progress of ${job.name}`}
          fraction={job.state === "queued" || job.state === "validating" ? 0 : fraction}
          left={props.queue?.waiting.message ?? doing(job)}
          right={[fraction !== null ? formatPercent(fraction) : null, timeLeft(job)].filter(Boolean).join(", ")}
        />
      ) : null}
      {props.queue ? <Waiting id={job.id} queue={props.queue} /> : null}
      {job.kind === "train" && !props.queue ? <TrainStats {...props} /> : null}
    </section>
  );
}

/** Answer to a refresh: the status and, beside it, the moving parts of the title row. */
export function JobStatusUpdate(props: JobStatusProps): VNode {
  return (
    <>
      <JobStatus {...props} />
      <hx-partial hx-target="#job-badge" hx-swap="outerMorph">
        <JobBadge job={props.job} />
      </hx-partial>
      <hx-partial hx-target="#job-actions" hx-swap="outerMorph">
        <JobActions job={props.job} model={props.model} />
      </hx-partial>
    </>
  );
}
