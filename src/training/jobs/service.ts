/**
 * Actions of users on a job of any kind (cancel, pause, resume, save a checkpoint), and its attempts and output.
 */
import { and, eq, isNull } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireUsableVersion } from "../../accounts/restrictions/service.ts";
import type { CommandType } from "../../contract/trainer.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { randomChars } from "../../lib/ids.ts";
import { requireOwner } from "../../roles.ts";
import type { AttemptRow, JobRow } from "./model.ts";
import { type Action, actionTarget } from "./state.ts";
import { getJob } from "./store.ts";
import { finishJob, jobIn, move, note } from "./transitions.ts";

/** Attempts of a job, oldest first. */
export async function listAttempts(ctx: Ctx, actor: Actor, jobId: string): Promise<AttemptRow[]> {
  await getJob(ctx, actor, jobId);
  return ctx.db.select().from(attempt).where(eq(attempt.jobId, jobId)).orderBy(attempt.number).limit(200);
}

/** Last lines of output of the newest attempt's process, as its provider keeps them; empty when it keeps none. */
export async function processOutput(ctx: Ctx, actor: Actor, jobId: string, tail = 200): Promise<string[]> {
  const last = (await listAttempts(ctx, actor, jobId)).at(-1);
  const provider = last && ctx.compute.get(last.provider)?.provider;
  if (!last?.handle || !provider?.logs) return [];
  return provider.logs(last.handle, { tail }).catch(() => []);
}

const ACTION_WORDS: Record<Action, string> = {
  cancel: "canceled",
  pause: "paused",
  resume: "resumed",
  checkpoint: "asked to save a checkpoint",
};

/** The error for an action the job's state does not allow: a 400, because clients retry a 409. */
function illegal(row: JobRow, action: Action): AppError {
  const hints: Record<Action, string> = {
    cancel: "Only jobs that have not ended can be canceled.",
    pause: "Only queued and running jobs can be paused.",
    resume: "Only paused jobs can be resumed.",
    checkpoint: "Only running jobs can save a checkpoint.",
  };
  return new AppError(
    "invalid",
    "illegal_transition",
    `Job ${row.id} is ${row.state} and cannot be ${ACTION_WORDS[action]}. ${hints[action]}`,
  );
}

async function addCommand(tx: Db, ctx: Ctx, actor: Actor, jobId: string, type: CommandType): Promise<void> {
  const [waiting] = await tx
    .select({ id: command.id })
    .from(command)
    .where(and(eq(command.jobId, jobId), eq(command.type, type), isNull(command.doneAt)))
    .limit(1);
  if (waiting) return;
  await tx.insert(command).values({
    id: `cmd_${randomChars(20)}`,
    jobId,
    type,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
  });
}

/**
 * An action on a job that already pauses or stops: it changes what follows, and a repeated one changes nothing.
 * @returns false when the action is another one
 */
async function changesEnding(tx: Db, ctx: Ctx, actor: Actor, row: JobRow, action: Action): Promise<boolean> {
  if (action === "cancel" && row.state === "stopping") return true;
  if (row.state !== "pausing" || (action !== "pause" && action !== "resume")) return false;
  const resumes = action === "resume";
  // It pauses, and the wish is known: the scheduler's, or a user's.
  if (resumes === (row.yieldFor !== null)) return true;
  await tx
    .update(job)
    .set({ yieldFor: resumes ? "resume" : null })
    .where(eq(job.id, row.id));
  await audit(tx, ctx, actor, `job.${action}`, row.id);
  const then = resumes
    ? "resumed by a user and is queued again once its checkpoint is saved"
    : "paused by a user and stays paused once its checkpoint is saved";
  await note(tx, ctx, row, `The job was ${then}`);
  return true;
}

/** Performs a user's action in one transaction. The trainer gets the command with its next response. */
async function performAction(ctx: Ctx, actor: Actor, id: string, action: Action): Promise<JobRow> {
  const { createdBy, spec } = await getJob(ctx, actor, id);
  if (action === "cancel" || action === "pause") requireOwner(actor, createdBy);
  if (action === "resume" && spec.kind === "train" && spec.dataset)
    await requireUsableVersion(ctx, spec.dataset.version_id, "id");
  const messages = await ctx.write(async (tx) => {
    const row = await jobIn(tx, id);
    if (!row) throw notFound("job", id);
    if (await changesEnding(tx, ctx, actor, row, action)) return [];
    const target = actionTarget(row.state, action);
    if (!target || (row.kind === "serve" && (action === "pause" || action === "checkpoint")))
      throw illegal(row, action);
    if (target === "cancelled") return (await finishJob(tx, ctx, row, { state: "cancelled", actor })) ?? [];
    if (action !== "resume") await addCommand(tx, ctx, actor, id, action);
    await audit(tx, ctx, actor, `job.${action}`, id);
    await note(
      tx,
      ctx,
      row,
      `The job was ${ACTION_WORDS[action]}${target === "stopping" ? "; its process is stopping" : ""}`,
    );
    if (target === row.state) return [];
    const now = ctx.clock.now();
    const message = await move(tx, ctx, row, target, action === "resume" ? { queuedAt: now, notBefore: 0 } : {});
    if (!message) throw illegal(row, action);
    if (row.state === "queued" && target === "paused")
      await tx
        .update(command)
        .set({ doneAt: now })
        .where(and(eq(command.jobId, id), isNull(command.doneAt)));
    return [message];
  });
  emitAll(ctx.bus, messages);
  return getJob(ctx, actor, id);
}

/**
 * Stops a job permanently: immediately when nothing runs, otherwise `stopping` until its process is terminated.
 * @throws AppError `illegal_transition`
 */
export const cancelJob = (ctx: Ctx, actor: Actor, id: string) => performAction(ctx, actor, id, "cancel");
/** Saves a checkpoint and releases the machine. @throws AppError `illegal_transition` */
export const pauseJob = (ctx: Ctx, actor: Actor, id: string) => performAction(ctx, actor, id, "pause");
/** Queues a paused job again; it resumes from its newest valid checkpoint. @throws AppError `illegal_transition` */
export const resumeJob = (ctx: Ctx, actor: Actor, id: string) => performAction(ctx, actor, id, "resume");
/** Saves a checkpoint after the current step and continues. @throws AppError `illegal_transition` */
export const checkpointNow = (ctx: Ctx, actor: Actor, id: string) => performAction(ctx, actor, id, "checkpoint");
