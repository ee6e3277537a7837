/**
 * Supervises attempts: finds them again after a restart, detects exits without a report, enforces timeouts, and
 * terminates work until its provider confirms it.
 */
import { and, eq, isNull, ne, sql } from "drizzle-orm";
import { releaseGpus } from "../../compute/hosts/allocations.ts";
import { endMachines, followMachine } from "../../compute/machines/record.ts";
import type { Handle, WorkStatus } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { builtOnce } from "../../db/built.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import { emitAll } from "../../lib/bus.ts";
import { exitMessage, preemptedMessage, reasonOfExit } from "../jobs/failures.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, endAttempt, finishJob, jobError, jobIn } from "../jobs/transitions.ts";
import {
  type Contact,
  contactOf,
  heardWithin,
  isElsewhere,
  lateMessage,
  neverCalled,
  startOf,
} from "./first-contact.ts";
import { keyOf, launchAttempt } from "./launch.ts";
import { followNotice, followPrice, wasTakenBack } from "./taken-back.ts";
import { newToken } from "./tokens.ts";

/** How long to wait for events of a process that has exited. */
const LATE_EVENTS_MS = 2000;
/** How long a trainer may take to follow a cancel command before its process is terminated. */
const CANCEL_GRACE_MS = 30_000;
/** How long a process that reported its end may take to exit by itself before it is terminated. */
const EXIT_GRACE_MS = 3000;
const TERMINATE_GRACE_S = 20;
/** The same for a hanging process: its token is refused already, and it has nothing to save. */
const HUNG_GRACE_S = 5;
const LOG_TAIL = 40;
/** How long a vendor's list may lag behind a launch, and a trainer be silent, until a machine counts as not there. */
const UNSEEN_MS = 90_000;
/** A trainer that called within this time runs, whatever its vendor says. */
const HEARD_MS = 30_000;

/** What the supervisor remembers between passes; may be lost in a restart. */
export interface SupervisorState {
  startedAt: number;
  /** Attempts that this process is launching now. */
  launching: Set<string>;
  /** When an attempt's process was first seen to be absent, by attempt id. */
  goneSince: Map<string, number>;
  /** Attempts that exceeded a time limit in the last pass. */
  late: Set<string>;
  /** Jobs that exceeded their time in the queue in the last look. */
  lateQueued: Set<string>;
  /** Earliest time of the next terminate call, by attempt id. */
  askAgainAt: Map<string, number>;
  /** When work without a live attempt was first seen, by provider, kind of resource and key. */
  orphanSince: Map<string, number>;
}

const handleOf = (row: AttemptRow): Handle => row.handle ?? { provider: row.provider, key: keyOf(row.id) };

const allLive = builtOnce((db) =>
  db
    .select()
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(isNull(attempt.goneAt))
    .limit(1000)
    .prepare(),
);

/** Attempts whose work is not confirmed as terminated, with their jobs. */
export async function liveAttempts(ctx: Ctx): Promise<{ attempt: AttemptRow; job: JobRow }[]> {
  return allLive(ctx.db).execute();
}

/**
 * Whether a machine that its vendor does not list may be there: its trainer called a moment ago, or the launch is so
 * recent that the list may lag. A second machine is not started then. Work that calls is charged from its launch.
 */
async function mayBeThere(ctx: Ctx, supervisor: SupervisorState, which: AttemptRow): Promise<boolean> {
  if (!isElsewhere(ctx, which)) return false;
  const isHeard = heardWithin(ctx, which, supervisor.startedAt, UNSEEN_MS);
  if (isHeard && which.startedAt === null)
    await ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ startedAt: startOf(ctx, which) })
        .where(and(eq(attempt.id, which.id), isNull(attempt.startedAt))),
    );
  return isHeard || ctx.clock.now() - Math.max(which.createdAt, supervisor.startedAt) < UNSEEN_MS;
}

/**
 * Recovers an attempt without a handle: the server stopped during its launch. Its work is adopted, or launched again
 * with a new token.
 */
async function recover(ctx: Ctx, supervisor: SupervisorState, row: JobRow, which: AttemptRow): Promise<void> {
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const owned = (await entry.provider.listOwned(ctx.installation)).find(
    (work) => work.handle.key === keyOf(which.id) && (work.resource ?? "machine") === "machine",
  );
  if (owned?.state === "starting") return;
  if (owned) {
    const startedAt = startOf(ctx, which);
    await ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ handle: owned.handle, startedAt, state: which.state === "launching" ? "starting" : which.state })
        .where(and(eq(attempt.id, which.id), ne(attempt.state, "ended"))),
    );
    return;
  }
  if (await mayBeThere(ctx, supervisor, which)) return;
  if (row.state !== "starting") {
    const messages = await ctx.write(async (tx) => {
      const current = await jobIn(tx, row.id);
      if (!current) return [];
      return attemptFailed(tx, ctx, current, which, {
        reason: "lost",
        message: "The attempt was never launched.",
        retry: true,
      });
    });
    return emitAll(ctx.bus, messages);
  }
  // The token of the first launch is lost: only its hash was stored.
  const { token, stored } = newToken(ctx, isElsewhere(ctx, which), which.offer.startsInS);
  const renewed = await ctx.write((tx) =>
    tx
      .update(attempt)
      .set({ ...stored, bootstrapNonceHash: null })
      .where(and(eq(attempt.id, which.id), eq(attempt.state, "launching")))
      .returning({ id: attempt.id }),
  );
  if (renewed.length) await launchAttempt(ctx, row, which, token);
}

/** The time limit that an attempt exceeded, or null. Progress counts once the trainer has called home. */
function timedOut(
  ctx: Ctx,
  supervisor: SupervisorState,
  row: JobRow,
  which: AttemptRow,
  contact: Contact,
): "no_progress" | "total_timeout" | "never_called_home" | null {
  const now = ctx.clock.now();
  const { limits } = row.spec;
  if (row.kind !== "serve" && now - which.createdAt > limits.total_s * 1000) return "total_timeout";
  if (contact !== "made") return contact === "late" ? "never_called_home" : null;
  const reportedAt = row.kind === "serve" && row.progress.address ? which.heartbeatAt : row.progressAt;
  // The trainer cannot report while this server is down, so the limit counts from the server's start at the earliest.
  const since = Math.max(reportedAt ?? 0, which.createdAt, which.contactAt ?? 0, supervisor.startedAt);
  return now - since > limits.no_progress_s * 1000 ? "no_progress" : null;
}

const TIMEOUT_MESSAGES = {
  no_progress: (row: JobRow) => `The trainer reported no progress for ${row.spec.limits.no_progress_s} seconds.`,
  total_timeout: (row: JobRow) => `The attempt exceeded its time limit of ${row.spec.limits.total_s} seconds.`,
};

/**
 * Ends an attempt of a canceled job whose trainer does not stop in time. The job ends once the work is terminated.
 */
async function stopOverdue(ctx: Ctx, row: JobRow, which: AttemptRow): Promise<void> {
  const [asked] = await ctx.db
    .select({ at: command.createdAt })
    .from(command)
    .where(and(eq(command.jobId, row.id), eq(command.type, "cancel"), isNull(command.doneAt)))
    .limit(1);
  // Before its first event a trainer has nothing to save, and an endpoint never has.
  const patience = which.lastSeq === 0 || row.kind === "serve" ? 0 : CANCEL_GRACE_MS;
  if (asked && ctx.clock.now() - asked.at < patience) return;
  await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state === "stopping") await endAttempt(tx, ctx, current, which, { outcome: "cancelled" });
  });
}

/** The last lines of output; null without any. */
async function logTail(ctx: Ctx, which: AttemptRow): Promise<string | null> {
  const provider = ctx.compute.get(which.provider)?.provider;
  const tail = await provider?.logs?.(handleOf(which), { tail: LOG_TAIL }).catch(() => []);
  return tail?.join("\n") || null;
}

/** Records an exit that no event explained, after waiting for late events. */
async function recordExit(
  ctx: Ctx,
  supervisor: SupervisorState,
  row: JobRow,
  which: AttemptRow,
  status: WorkStatus,
): Promise<void> {
  const now = ctx.clock.monotonic();
  const since = supervisor.goneSince.get(which.id) ?? now;
  supervisor.goneSince.set(which.id, since);
  if (now - since < LATE_EVENTS_MS) return;
  const tail = await logTail(ctx, which);
  const code = status.state === "exited" ? status.exitCode : null;
  const takenBack = wasTakenBack(which, status);
  ctx.failPoint("exit.seen");
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (!current) return [];
    return attemptFailed(tx, ctx, current, which, {
      reason: takenBack ? "preempted" : reasonOfExit(row.kind, code, status.reason),
      message: takenBack ? preemptedMessage(status.reason) : exitMessage(code, status.reason),
      retry: true,
      exitCode: code,
      detail: tail,
    });
  });
  ctx.failPoint("exit.stored");
  emitAll(ctx.bus, messages);
}

/** One pass over an attempt that has not ended. */
async function superviseRunning(ctx: Ctx, supervisor: SupervisorState, row: JobRow, which: AttemptRow): Promise<void> {
  if (row.state === "stopping") await stopOverdue(ctx, row, which);
  if (supervisor.launching.has(which.id)) return;
  if (!which.handle) return recover(ctx, supervisor, row, which);
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const asOf = ctx.clock.now();
  const status = await entry.provider.describe(which.handle);
  await followMachine(ctx, which, which.handle, status, asOf);
  const unsaid = status.state === "absent" && !status.preempted && status.endedAt === null;
  if (unsaid && isElsewhere(ctx, which) && heardWithin(ctx, which, 0, HEARD_MS)) return;
  if (status.state === "exited" || status.state === "absent") return recordExit(ctx, supervisor, row, which, status);
  supervisor.goneSince.delete(which.id);
  await followPrice(ctx, row, which, status);
  await followNotice(ctx, row, status);
  const late = timedOut(ctx, supervisor, row, which, await contactOf(ctx, which, status));
  const wasLate = supervisor.late.delete(which.id);
  if (!late) return;
  // The machine's clock may just have been set: the next pass corrects the stored times before it looks again.
  if (!wasLate) {
    supervisor.late.add(which.id);
    return;
  }
  const silent = late === "never_called_home";
  const message = silent ? lateMessage(ctx, which, status) : TIMEOUT_MESSAGES[late](row);
  const tail = silent ? await logTail(ctx, which) : null;
  // One other machine may have better luck; a second one means that the address is at fault.
  const retry = !silent || (await neverCalled(ctx, row.id)).length === 0;
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (!current) return [];
    return attemptFailed(tx, ctx, current, which, { reason: late, message, retry, detail: tail });
  });
  emitAll(ctx.bus, messages);
}

/** Terminates the work of an ended attempt; repeated until the provider confirms it. */
async function terminateWork(ctx: Ctx, supervisor: SupervisorState, which: AttemptRow): Promise<void> {
  const now = ctx.clock.now();
  if (supervisor.launching.has(which.id) || now < (supervisor.askAgainAt.get(which.id) ?? 0)) return;
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const handle = handleOf(which);
  // A process that reported its end may exit by itself first; a signal would change its exit code.
  const byItself = which.lastSeq > 0 && ["succeeded", "cancelled", "paused"].includes(which.outcome ?? "");
  const status = await entry.provider.describe(handle);
  await followMachine(ctx, which, handle, status, now);
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
    await endMachines(tx, ctx, which);
    const current = await jobIn(tx, which.jobId);
    if (current?.state !== "stopping") return [];
    return (await finishJob(tx, ctx, current, { state: "cancelled" })) ?? [];
  });
  emitAll(ctx.bus, messages);
}

/** One pass over a live attempt of any state. */
export function superviseAttempt(ctx: Ctx, supervisor: SupervisorState, row: JobRow, which: AttemptRow): Promise<void> {
  return which.state === "ended"
    ? terminateWork(ctx, supervisor, which)
    : superviseRunning(ctx, supervisor, row, which);
}

/**
 * Fails jobs that waited in the queue longer than their limit in two looks: a clock that was set is corrected between.
 */
export async function expireQueued(ctx: Ctx, supervisor: SupervisorState): Promise<void> {
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
  const before = supervisor.lateQueued;
  supervisor.lateQueued = new Set(rows.map(({ id }) => id));
  for (const row of rows) {
    if (!before.has(row.id)) continue;
    const message = `No suitable machine became free within ${row.spec.limits.queued_s} seconds.`;
    const messages = await ctx.write(async (tx) => {
      const current = await jobIn(tx, row.id);
      if (current?.state !== "queued") return [];
      return (await finishJob(tx, ctx, current, { state: "failed", error: jobError("queued_timeout", message) })) ?? [];
    });
    emitAll(ctx.bus, messages);
  }
}
