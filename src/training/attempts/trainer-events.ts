/**
 * Applies a trainer's events to its job, in the transaction that stores them, so that state and history always agree.
 */

import { and, desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { chargeHold } from "../../billing/budgets/reserve.ts";
import type { Progress } from "../../contract/job.ts";
import type { Command, TrainerEvent } from "../../contract/trainer.ts";
import type { Ctx } from "../../ctx.ts";
import { builtOnce } from "../../db/built.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import { checkpoint } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { createModel } from "../../models/tuned/service.ts";
import { freeReason, isWork, meterAttempt } from "../jobs/metering.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { TAKEN_BACK } from "../jobs/preemptions.ts";
import { attemptFailed, closeCommands, endAttempt, finishJob, jobIn, move, note } from "../jobs/transitions.ts";
import { startOf } from "./first-contact.ts";

/** Weight of the newest value in the moving average of the throughput. */
const SPEED_WEIGHT = 0.1;
/** Events that count as progress; a log line or an empty batch is only a heartbeat. */
const PROGRESS_EVENTS = new Set([
  "phase",
  "plan",
  "canary",
  "first_batch",
  "metrics",
  "progress",
  "sample",
  "answer",
  "result",
  "ready",
  "command_done",
]);

function finite(value: number | string | undefined): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** Progress after an event; events without progress leave it unchanged. */
function progressAfter(before: Progress, event: TrainerEvent): Progress {
  switch (event.type) {
    case "phase":
      return { ...before, phase: event.phase };
    case "plan": {
      const { type: _type, seq: _seq, at: _at, ...plan } = event;
      return { ...before, total_steps: event.total_steps, plan };
    }
    case "canary": {
      const { type: _type, seq: _seq, at: _at, ...canary } = event;
      return { ...before, canary };
    }
    case "first_batch":
      return { ...before, first_batch: { state: "told" } };
    case "progress":
      return {
        ...before,
        step: event.step,
        total_steps: event.total_steps,
        fraction: event.fraction,
        eta_s: event.eta_s,
        epoch: event.epoch ?? before.epoch,
        tokens_seen: event.tokens_seen ?? before.tokens_seen,
      };
    case "metrics": {
      const speed = finite(event.values["perf/tokens_per_second"]);
      const mean = before.tokens_per_second;
      return {
        ...before,
        loss: finite(event.values["train/loss"]) ?? before.loss,
        eval_loss: finite(event.values["eval/loss"]) ?? before.eval_loss,
        tokens_per_second:
          speed === undefined ? mean : mean === undefined ? speed : mean + SPEED_WEIGHT * (speed - mean),
      };
    }
    case "ready":
      return { ...before, address: event.address, models: event.models };
    default:
      return before;
  }
}

/** The failure for an engine that changes its address: it has one address per attempt. */
const changedAddress = (first: string, second: string) => ({
  reason: "engine_address" as const,
  message: `The engine announced a second address: ${second.slice(0, 200)} after ${first.slice(0, 200)}.`,
  retry: false,
});

/** Most warnings of one result, and the longest one. */
const MAX_WARNINGS = 10;
const MAX_WARNING = 1000;

/** The trainer's warnings about its result; it is sent by the trainer, so nothing is taken for granted. */
function warningsOf(result: JobRow["result"]): string[] {
  const given: unknown = result?.warnings;
  if (!Array.isArray(given)) return [];
  const texts = given.filter((one): one is string => typeof one === "string");
  return texts.slice(0, MAX_WARNINGS).map((one) => one.slice(0, MAX_WARNING));
}

/** Finishes a training that reported success: its newest or best checkpoint becomes the fine-tuned model. */
async function trainSucceeded(tx: Db, ctx: Ctx, row: JobRow, which: AttemptRow): Promise<BusMessage[]> {
  const { spec } = row;
  if (spec.kind !== "train") return (await finishJob(tx, ctx, row, { state: "succeeded" })) ?? [];
  const newestFirst = await tx
    .select({ id: checkpoint.id, step: checkpoint.step })
    .from(checkpoint)
    .where(eq(checkpoint.jobId, row.id))
    .orderBy(desc(checkpoint.step))
    .limit(1000);
  // A run that loads the best checkpoint at its end reports which one that is.
  const best = row.result?.best_step;
  const kept = newestFirst.find(({ step }) => step === best) ?? newestFirst[0];
  if (!kept)
    return attemptFailed(tx, ctx, row, which, {
      reason: "bad_result",
      message: "The trainer reported success, but no complete checkpoint arrived.",
      retry: false,
    });
  const done = await finishJob(tx, ctx, row, { state: "succeeded" });
  if (!done) return [];
  await createModel(tx, {
    id: spec.output_model,
    org: row.org,
    name: row.name,
    baseModelId: spec.base_model.id,
    jobId: row.id,
    checkpointId: kept.id,
    createdBy: row.createdBy,
    at: ctx.clock.now(),
  });
  const from = best === undefined ? "" : `, from the checkpoint at step ${kept.step}`;
  await note(tx, ctx, row, `New fine-tuned model created: ${spec.output_model}${from}`);
  for (const warning of warningsOf(row.result)) await note(tx, ctx, row, warning, "warn");
  return [...done, { name: "model.created", event: { org: row.org, modelId: spec.output_model, jobId: row.id } }];
}

/** Applies the end that a trainer reports: success, or the answer to a cancel or pause command. */
async function finished(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
  outcome: "succeeded" | "cancelled" | "paused",
): Promise<BusMessage[]> {
  if (row.state === "stopping") {
    const attemptEnd = { outcome: outcome === "succeeded" ? "cancelled" : outcome };
    return (await finishJob(tx, ctx, row, { state: "cancelled", attempt: attemptEnd })) ?? [];
  }
  if (outcome === "succeeded") return trainSucceeded(tx, ctx, row, which);
  if (row.state === "pausing" && outcome === "paused") {
    const detail = row.yieldFor === "preempted" ? TAKEN_BACK : null;
    await endAttempt(tx, ctx, row, which, { outcome: "paused", detail });
    // The job was preempted: it returns to the queue and resumes from its checkpoint.
    const again = row.yieldFor !== null;
    const message = await move(tx, ctx, row, again ? "queued" : "paused", {
      notBefore: 0,
      ...(again ? { queuedAt: ctx.clock.now() } : {}),
    });
    await closeCommands(tx, ctx, row.id);
    await note(tx, ctx, row, again ? "The job saved a checkpoint and waits in the queue" : "The job is paused");
    return message ? [message] : [];
  }
  // No command: the machine stopped the process (a shutdown, an operator). The job resumes elsewhere or later.
  return attemptFailed(tx, ctx, row, which, {
    reason: "interrupted",
    message: "The machine stopped the trainer's process.",
    retry: true,
  });
}

/** Marks the attempt, and a starting job, as running. @returns the job's row, and messages to emit after the commit */
async function markRunning(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
): Promise<{ row: JobRow; messages: BusMessage[] }> {
  const now = ctx.clock.now();
  if (which.state !== "running")
    await tx
      .update(attempt)
      .set({ state: "running", startedAt: startOf(ctx, which) ?? now })
      .where(eq(attempt.id, which.id));
  if (row.state !== "starting") return { row, messages: [] };
  const startedAt = row.startedAt ?? now;
  const message = await move(tx, ctx, row, "running", { startedAt });
  const again = `The job is running again (attempt ${which.number})`;
  await note(tx, ctx, row, row.startedAt === null ? "The job started" : again);
  return { row: { ...row, state: "running", startedAt }, messages: message ? [message] : [] };
}

/** Events of a trainer that works. */
const WORK_EVENTS = new Set(["metrics", "progress", "sample", "answer", "result", "ready"]);
const works = (event: TrainerEvent): boolean =>
  event.type === "phase" ? isWork(event.phase) : WORK_EVENTS.has(event.type);

/** Begins another interval when a batch changes whether time is charged: loading, the memory test, the work itself. */
async function meterPhase(tx: Db, ctx: Ctx, row: JobRow, which: AttemptRow, events: TrainerEvent[]): Promise<void> {
  const worked = which.worked || events.some(works);
  const phase = events.findLast((event) => event.type === "phase")?.phase ?? row.progress.phase;
  if (freeReason(row.progress.phase, which.worked) !== freeReason(phase, worked))
    await meterAttempt(tx, ctx, row, which.id, { now: ctx.clock.now() });
  if (worked === which.worked) return;
  await tx.update(attempt).set({ worked }).where(eq(attempt.id, which.id));
  // What came before is free, so budgets do not count it either.
  await chargeHold(tx, row.id, ctx.clock.now());
}

/** Stores the progress and result of a batch. @returns the changed row, and the failure of an engine that moved */
async function storeProgress(tx: Db, ctx: Ctx, row: JobRow, events: TrainerEvent[]) {
  let { progress, result } = row;
  const ready: BusMessage[] = [];
  for (const event of events) {
    const announced = event.type === "ready" ? progress.address : undefined;
    progress = progressAfter(progress, event);
    if (event.type === "result") result = { ...event.result };
    if (event.type !== "ready") continue;
    const { address, models } = event;
    if (announced !== undefined && announced !== address)
      return { row, ready, moved: changedAddress(announced, address) };
    ready.push({ name: "job.ready", event: { org: row.org, jobId: row.id, address, models } });
  }
  const progressed = events.some((event) => PROGRESS_EVENTS.has(event.type));
  const patch = { progress: { ...progress }, result, ...(progressed ? { progressAt: ctx.clock.now() } : {}) };
  await tx.update(job).set(patch).where(eq(job.id, row.id));
  return { row: { ...row, ...patch }, ready, moved: null };
}

/** Marks the commands as done that a batch reports as done. */
async function closeReportedCommands(tx: Db, ctx: Ctx, jobId: string, events: TrainerEvent[]): Promise<void> {
  const ids = events.flatMap((event) => (event.type === "command_done" ? [event.id] : []));
  if (ids.length === 0) return;
  await tx
    .update(command)
    .set({ doneAt: ctx.clock.now() })
    .where(and(eq(command.jobId, jobId), inArray(command.id, ids)));
}

/**
 * Applies a batch in order. Called by ingestion inside its transaction, with new events of a live attempt.
 * @returns the messages to emit after the commit
 */
export async function applyTrainerEvents(
  ctx: Ctx,
  tx: Db,
  who: { id: string; jobId: string },
  events: TrainerEvent[],
): Promise<BusMessage[]> {
  const stored = await jobIn(tx, who.jobId);
  const [which] = await tx.select().from(attempt).where(eq(attempt.id, who.id)).limit(1);
  if (!stored || !which || which.state === "ended" || events.length === 0) return [];
  const messages: BusMessage[] = [{ name: "job.progress", event: { org: stored.org, jobId: stored.id } }];
  const running = await markRunning(tx, ctx, stored, which);
  await meterPhase(tx, ctx, running.row, which, events);
  const { row, ready, moved } = await storeProgress(tx, ctx, running.row, events);
  messages.push(...running.messages, ...ready);
  if (moved) return [...messages, ...(await attemptFailed(tx, ctx, row, which, moved))];
  await closeReportedCommands(tx, ctx, row.id, events);
  for (const event of events) {
    if (event.type === "finished") messages.push(...(await finished(tx, ctx, row, which, event.outcome)));
    if (event.type !== "failed") continue;
    const { reason, message, advice, detail, retry } = event;
    messages.push(...(await attemptFailed(tx, ctx, row, which, { reason, message, advice, detail, retry })));
  }
  return messages;
}

const openCommands = builtOnce((db) =>
  db
    .select({ id: command.id, type: command.type })
    .from(command)
    .where(and(eq(command.jobId, sql.placeholder("jobId")), isNull(command.doneAt)))
    .orderBy(command.createdAt)
    .limit(20)
    .prepare(),
);

/** Commands that the trainer has not reported as done yet, oldest first. */
export async function pendingCommands(ctx: Ctx, jobId: string): Promise<Command[]> {
  return openCommands(ctx.db).execute({ jobId });
}
