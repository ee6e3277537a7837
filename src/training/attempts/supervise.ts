/**
 * Looks after attempts: finds them again after a restart, notices ends no event explained, keeps the timeouts, and
 * terminates until gone.
 */
import { and, eq, isNull, ne, sql } from "drizzle-orm";
import { reconcileAllocations, releaseGpus } from "../../compute/hosts/allocations.ts";
import type { Handle, WorkStatus } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import { emitAll } from "../../lib/bus.ts";
import { newSecret, sha256Hex } from "../../lib/ids.ts";
import { exitMessage, reasonOfExit } from "../jobs/failures.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, endAttempt, finishJob, jobError, jobIn } from "../jobs/transitions.ts";
import { keyOf, launchAttempt } from "./launch.ts";

/** A process that is gone may have events on their way in: this long is waited for them. */
const LAST_WORDS_MS = 2000;
/** How long a trainer may take to obey a cancel before its process is ended. */
const CANCEL_GRACE_MS = 30_000;
/** How long a process that said its last word may take to exit by itself before it is told to. */
const EXIT_GRACE_MS = 3000;
const TERMINATE_GRACE_S = 20;
/** The same for one that was given up because it hung: it is refused already and has nothing to save. */
const HUNG_GRACE_S = 5;
const LOG_TAIL = 40;

/** What the supervisor of attempts remembers between looks; lost at a restart without harm. */
export interface SupervisorState {
  startedAt: number;
  /** Attempts being launched by this process right now. */
  launching: Set<string>;
  /** When an attempt's process was first seen gone, by attempt id. */
  goneSince: Map<string, number>;
  /** Not before this time is it terminated again, by attempt id. */
  askAgainAt: Map<string, number>;
  /** When work that belongs to nobody was first seen, by provider and key. */
  orphanSince: Map<string, number>;
}

const handleOf = (row: AttemptRow): Handle => row.handle ?? { provider: row.provider, key: keyOf(row.id) };

/** Attempts whose work is not known to be gone, with their jobs. */
export async function liveAttempts(ctx: Ctx): Promise<{ attempt: AttemptRow; job: JobRow }[]> {
  return ctx.db
    .select()
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(isNull(attempt.goneAt))
    .limit(1000);
}

/**
 * An attempt stored but without a handle: the server stopped between the two. Its work is adopted, or launched with a
 * new token.
 */
async function recover(ctx: Ctx, row: JobRow, which: AttemptRow): Promise<void> {
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const owned = (await entry.provider.listOwned(ctx.installation)).find((work) => work.handle.key === keyOf(which.id));
  if (owned?.state === "starting") return;
  if (owned) {
    await ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ handle: owned.handle, state: which.state === "launching" ? "starting" : which.state })
        .where(and(eq(attempt.id, which.id), ne(attempt.state, "ended"))),
    );
    return;
  }
  if (row.state !== "starting") {
    const messages = await ctx.write(async (tx) => {
      const current = await jobIn(tx, row.id);
      if (!current) return [];
      return attemptFailed(tx, ctx, current, which, { reason: "lost", message: "It was never launched.", retry: true });
    });
    return emitAll(ctx.bus, messages);
  }
  // The token of the first try is lost with the server that made it: only its hash was stored.
  const token = newSecret("fta-");
  const renewed = await ctx.write((tx) =>
    tx
      .update(attempt)
      .set({ tokenHash: sha256Hex(token) })
      .where(and(eq(attempt.id, which.id), eq(attempt.state, "launching")))
      .returning({ id: attempt.id }),
  );
  if (renewed.length) await launchAttempt(ctx, row, which, token);
}

/** Milliseconds of silence and of age after which an attempt is given up; null while all is well. */
function timedOut(
  ctx: Ctx,
  supervisor: SupervisorState,
  row: JobRow,
  which: AttemptRow,
): "no_progress" | "total_timeout" | null {
  const now = ctx.clock.now();
  const { limits } = row.spec;
  if (row.kind !== "serve" && now - which.createdAt > limits.total_s * 1000) return "total_timeout";
  const sign = row.kind === "serve" && row.progress.address ? which.heartbeatAt : row.progressAt;
  // The trainer cannot report while this server is down: silence counts from when it could be heard.
  const since = Math.max(sign ?? 0, which.createdAt, supervisor.startedAt);
  return now - since > limits.no_progress_s * 1000 ? "no_progress" : null;
}

const TIMEOUT_WORDS = {
  no_progress: (row: JobRow) => `The trainer made no progress for ${row.spec.limits.no_progress_s} seconds.`,
  total_timeout: (row: JobRow) => `The attempt took longer than its limit of ${row.spec.limits.total_s} seconds.`,
};

/**
 * Ends an attempt of a job that is being cancelled, when its trainer does not obey. The job ends once the work is gone.
 */
async function stopOverdue(ctx: Ctx, row: JobRow, which: AttemptRow): Promise<void> {
  const [asked] = await ctx.db
    .select({ at: command.createdAt })
    .from(command)
    .where(and(eq(command.jobId, row.id), eq(command.type, "cancel"), isNull(command.doneAt)))
    .limit(1);
  // Before its first word there is nothing to save; an endpoint has nothing to save ever.
  const patience = which.lastSeq === 0 || row.kind === "serve" ? 0 : CANCEL_GRACE_MS;
  if (asked && ctx.clock.now() - asked.at < patience) return;
  await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state === "stopping") await endAttempt(tx, ctx, current, which, { outcome: "cancelled" });
  });
}

async function concludeExit(
  ctx: Ctx,
  supervisor: SupervisorState,
  row: JobRow,
  which: AttemptRow,
  status: WorkStatus,
): Promise<void> {
  const now = ctx.clock.monotonic();
  const since = supervisor.goneSince.get(which.id) ?? now;
  supervisor.goneSince.set(which.id, since);
  if (now - since < LAST_WORDS_MS) return;
  const provider = ctx.compute.get(which.provider)?.provider;
  const tail = await provider?.logs?.(handleOf(which), { tail: LOG_TAIL }).catch(() => []);
  const code = status.state === "exited" ? status.exitCode : null;
  ctx.failPoint("exit.seen");
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (!current) return [];
    return attemptFailed(tx, ctx, current, which, {
      reason: reasonOfExit(row.kind, code, status.reason),
      message: exitMessage(code, status.reason),
      retry: true,
      exitCode: code,
      detail: tail?.join("\n") || null,
    });
  });
  ctx.failPoint("exit.stored");
  emitAll(ctx.bus, messages);
}

/** One look at an attempt that has not ended. */
async function lookAfter(ctx: Ctx, supervisor: SupervisorState, row: JobRow, which: AttemptRow): Promise<void> {
  if (row.state === "stopping") await stopOverdue(ctx, row, which);
  if (supervisor.launching.has(which.id)) return;
  if (!which.handle) return recover(ctx, row, which);
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const status = await entry.provider.describe(which.handle);
  if (status.state === "exited" || status.state === "absent") return concludeExit(ctx, supervisor, row, which, status);
  supervisor.goneSince.delete(which.id);
  const late = timedOut(ctx, supervisor, row, which);
  if (!late) return;
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (!current) return [];
    return attemptFailed(tx, ctx, current, which, { reason: late, message: TIMEOUT_WORDS[late](row), retry: true });
  });
  emitAll(ctx.bus, messages);
}

/** Ends the work of an attempt that is over, asked again and again until the provider says it is gone. */
async function endWork(ctx: Ctx, supervisor: SupervisorState, which: AttemptRow): Promise<void> {
  const now = ctx.clock.now();
  if (supervisor.launching.has(which.id) || now < (supervisor.askAgainAt.get(which.id) ?? 0)) return;
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const handle = handleOf(which);
  // One that said its own last word gets a moment to leave; a signal would only blur its exit code.
  const byItself = which.lastSeq > 0 && ["succeeded", "cancelled", "paused"].includes(which.outcome ?? "");
  const status = await entry.provider.describe(handle);
  const alive = status.state === "running" || status.state === "starting";
  if (alive && byItself && now - (which.endedAt ?? 0) < EXIT_GRACE_MS) return;
  ctx.failPoint("terminate.before");
  const result = await entry.provider.terminate(handle, {
    graceS: which.outcome === "no_progress" ? HUNG_GRACE_S : TERMINATE_GRACE_S,
  });
  if (!result.gone) {
    supervisor.askAgainAt.set(which.id, now + result.againAfterS * 1000);
    return;
  }
  ctx.failPoint("terminate.gone");
  supervisor.askAgainAt.delete(which.id);
  supervisor.goneSince.delete(which.id);
  const exitCode = which.exitCode ?? status.exitCode;
  const messages = await ctx.write(async (tx) => {
    await tx.update(attempt).set({ goneAt: ctx.clock.now(), exitCode }).where(eq(attempt.id, which.id));
    await releaseGpus(tx, which.id);
    const current = await jobIn(tx, which.jobId);
    if (current?.state !== "stopping") return [];
    return (await finishJob(tx, ctx, current, { state: "cancelled" })) ?? [];
  });
  emitAll(ctx.bus, messages);
}

/** One look at one live attempt, whatever its state. */
export function tend(ctx: Ctx, supervisor: SupervisorState, row: JobRow, which: AttemptRow): Promise<void> {
  return which.state === "ended" ? endWork(ctx, supervisor, which) : lookAfter(ctx, supervisor, row, which);
}

/** Fails jobs that waited in the queue for longer than their limit. */
export async function expireQueued(ctx: Ctx): Promise<void> {
  const now = ctx.clock.now();
  const rows = await ctx.db
    .select()
    .from(job)
    .where(
      and(
        eq(job.state, "queued"),
        sql`max(${job.queuedAt}, coalesce(${job.startAfter}, 0)) + json_extract(${job.spec}, '$.limits.queued_s') * 1000 < ${now}`,
      ),
    )
    .limit(100);
  for (const row of rows) {
    const message = `No machine became free within ${row.spec.limits.queued_s} seconds.`;
    const messages = await ctx.write(async (tx) => {
      const current = await jobIn(tx, row.id);
      if (current?.state !== "queued") return [];
      return (await finishJob(tx, ctx, current, { state: "failed", error: jobError("queued_timeout", message) })) ?? [];
    });
    emitAll(ctx.bus, messages);
  }
}

const attemptIdOf = (handle: Handle) => handle.key.replace(/^att-/, "att_");

/**
 * Compares what providers run with what the database knows: work that bears this installation's mark but belongs to no
 * live attempt (a lost row, an old backup) is terminated after a grace, again and again until it is gone, and the table
 * of GPUs follows the labels of what lives. What a provider that is away runs keeps its first sighting.
 */
export async function sweepOrphans(ctx: Ctx, supervisor: SupervisorState, graceMs: number): Promise<void> {
  const now = ctx.clock.monotonic();
  const living: { attemptId: string; gpus: readonly string[] }[] = [];
  for (const { plugin, provider } of ctx.compute.list()) {
    try {
      const owned = await provider.listOwned(ctx.installation);
      const mark = (key: string) => `${plugin.id} ${key}`;
      const there = new Set(owned.map((work) => mark(work.handle.key)));
      for (const known of supervisor.orphanSince.keys())
        if (known.startsWith(mark("")) && !there.has(known)) supervisor.orphanSince.delete(known);
      for (const work of owned) {
        const attemptId = attemptIdOf(work.handle);
        const [row] = await ctx.db
          .select({ goneAt: attempt.goneAt })
          .from(attempt)
          .where(eq(attempt.id, attemptId))
          .limit(1);
        if (row && row.goneAt === null) {
          living.push({ attemptId, gpus: work.gpus ?? [] });
          continue;
        }
        const { key } = work.handle;
        const since = supervisor.orphanSince.get(mark(key)) ?? now;
        supervisor.orphanSince.set(mark(key), since);
        if (now - since < graceMs) continue;
        ctx.log("warn", "orphaned work is terminated", { provider: plugin.id, key });
        await provider.terminate(work.handle, { graceS: TERMINATE_GRACE_S });
      }
    } catch (cause) {
      // An engine that is away keeps what it has; the others are swept all the same.
      if (!ctx.signal.aborted) ctx.log("warn", "a provider could not be swept", { provider: plugin.id, cause });
    }
  }
  const { entered } = await reconcileAllocations(ctx, living);
  if (entered > 0) ctx.log("warn", "GPUs in use were missing in the table and are entered", { gpus: entered });
}
