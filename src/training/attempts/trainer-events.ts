/**
 * What a trainer's events mean for its job: applied in the transaction that stores them, so that state and history
 * never disagree.
 */

import { and, desc, eq, inArray, isNull } from "drizzle-orm";
import type { Progress } from "../../contract/job.ts";
import type { Command, TrainerEvent } from "../../contract/trainer.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import { checkpoint } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { createModel } from "../../models/tuned/service.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, closeCommands, endAttempt, finishJob, jobIn, move, note } from "../jobs/transitions.ts";

/** Share of the newest value in the running mean of the speed. */
const SPEED_WEIGHT = 0.1;
/** Events that show that work goes forward; a log line or an empty batch is only a sign of life. */
const FORWARD = new Set([
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

/** Progress after an event; events that say nothing of it leave it as it is. */
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

/** An engine has one address for as long as its attempt lasts. */
const movedEngine = (first: string, second: string) => ({
  reason: "engine_address" as const,
  message: `The engine announced a second address: ${second.slice(0, 200)} after ${first.slice(0, 200)}.`,
  retry: false,
});

async function trainSucceeded(tx: Db, ctx: Ctx, row: JobRow, which: AttemptRow): Promise<BusMessage[]> {
  const { spec } = row;
  if (spec.kind !== "train") return (await finishJob(tx, ctx, row, { state: "succeeded" })) ?? [];
  const newestFirst = await tx
    .select({ id: checkpoint.id, step: checkpoint.step })
    .from(checkpoint)
    .where(eq(checkpoint.jobId, row.id))
    .orderBy(desc(checkpoint.step))
    .limit(1000);
  // A run that keeps its best says which one that was.
  const best = row.result?.best_step;
  const kept = newestFirst.find(({ step }) => step === best) ?? newestFirst[0];
  if (!kept)
    return attemptFailed(tx, ctx, row, which, {
      reason: "bad_result",
      message: "The trainer said it succeeded but no complete checkpoint arrived.",
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
  const from = best === undefined ? "" : `, from the checkpoint of step ${kept.step}`;
  await note(tx, ctx, row, `New fine-tuned model created: ${spec.output_model}${from}`);
  return [...done, { name: "model.created", event: { org: row.org, modelId: spec.output_model, jobId: row.id } }];
}

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
    await endAttempt(tx, ctx, row, which, { outcome: "paused" });
    // The scheduler asked: it waits for its turn and goes on from its checkpoint.
    const again = row.yieldFor !== null;
    const message = await move(tx, row, again ? "queued" : "paused", {
      notBefore: 0,
      ...(again ? { queuedAt: ctx.clock.now() } : {}),
    });
    await closeCommands(tx, ctx, row.id);
    await note(tx, ctx, row, again ? "It saved a checkpoint and waits in the queue" : "The job is paused");
    return message ? [message] : [];
  }
  // Nobody asked: the machine told the process to stop (a shutdown, an operator). It goes on elsewhere or later.
  return attemptFailed(tx, ctx, row, which, {
    reason: "interrupted",
    message: "The trainer was told to stop by its machine.",
    retry: true,
  });
}

/**
 * Applies a batch in order. Called by ingestion inside its transaction, with events that are new and of a live attempt.
 * @returns what to emit after the commit
 */
export async function applyTrainerEvents(
  ctx: Ctx,
  tx: Db,
  who: { id: string; jobId: string },
  events: TrainerEvent[],
): Promise<BusMessage[]> {
  let row = await jobIn(tx, who.jobId);
  const [which] = await tx.select().from(attempt).where(eq(attempt.id, who.id)).limit(1);
  if (!row || !which || which.state === "ended" || events.length === 0) return [];
  const messages: BusMessage[] = [{ name: "job.progress", event: { org: row.org, jobId: row.id } }];
  const now = ctx.clock.now();

  if (which.state !== "running")
    await tx
      .update(attempt)
      .set({ state: "running", startedAt: which.startedAt ?? now })
      .where(eq(attempt.id, which.id));
  if (row.state === "starting") {
    const message = await move(tx, row, "running", { startedAt: row.startedAt ?? now });
    if (message) messages.push(message);
    await note(
      tx,
      ctx,
      row,
      row.startedAt === null ? "The job started" : `The job runs again (attempt ${which.number})`,
    );
    row = { ...row, state: "running", startedAt: row.startedAt ?? now };
  }

  let progress = row.progress;
  let { result } = row;
  for (const event of events) {
    const announced = event.type === "ready" ? progress.address : undefined;
    progress = progressAfter(progress, event);
    if (event.type === "result") result = { ...event.result };
    if (event.type === "ready" && announced !== undefined && announced !== event.address)
      return [...messages, ...(await attemptFailed(tx, ctx, row, which, movedEngine(announced, event.address)))];
    if (event.type === "ready")
      messages.push({
        name: "job.ready",
        event: { org: row.org, jobId: row.id, address: event.address, models: event.models },
      });
  }
  const forward = events.some((event) => FORWARD.has(event.type));
  const patch = { progress: { ...progress }, result, ...(forward ? { progressAt: now } : {}) };
  await tx.update(job).set(patch).where(eq(job.id, row.id));
  row = { ...row, ...patch };

  const doneIds = events.flatMap((event) => (event.type === "command_done" ? [event.id] : []));
  if (doneIds.length)
    await tx
      .update(command)
      .set({ doneAt: now })
      .where(and(eq(command.jobId, row.id), inArray(command.id, doneIds)));

  for (const event of events) {
    if (event.type === "finished") messages.push(...(await finished(tx, ctx, row, which, event.outcome)));
    if (event.type === "failed")
      messages.push(
        ...(await attemptFailed(tx, ctx, row, which, {
          reason: event.reason,
          message: event.message,
          advice: event.advice,
          detail: event.detail,
          retry: event.retry,
        })),
      );
  }
  return messages;
}

/** Commands the trainer of a job has not yet reported as done, oldest first. */
export async function pendingCommands(ctx: Ctx, jobId: string): Promise<Command[]> {
  const rows = await ctx.db
    .select({ id: command.id, type: command.type })
    .from(command)
    .where(and(eq(command.jobId, jobId), isNull(command.doneAt)))
    .orderBy(command.createdAt)
    .limit(20);
  return rows;
}
