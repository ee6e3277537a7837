/** One step of one deployment: reads the facts, asks the state machine, and applies its answer. */
import { and, eq, isNull, sql } from "drizzle-orm";
import { heldMessage } from "../../accounts/holds/service.ts";
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { sentence } from "../../billing/budgets/texts.ts";
import { lateWork } from "../../billing/late/state.ts";
import { stoppedBecause } from "../../compute/limits/service.ts";
import { FINAL_STATES } from "../../contract/job.ts";
import { type Ctx, type Hold, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { stopsEndpoints } from "../../notices/maintenance/current.ts";
import { cancelJob } from "../../training/jobs/service.ts";
import { createJob } from "../../training/jobs/store.ts";
import { announcedAddress } from "./address.ts";
import { shortOfBudget } from "./budget.ts";
import { probe } from "./engine.ts";
import { evictIdle } from "./eviction.ts";
import { idleAtCost, lastUseOf } from "./idle.ts";
import type { DeploymentRow } from "./model.ts";
import { move, stopIdle } from "./records.ts";
import { forget, type Runtime, runtimeOf } from "./runtime.ts";
import { isShared, planEngine } from "./sharing.ts";
import { buildServeSpec } from "./spec.ts";
import { type Facts, nextStep } from "./state.ts";

const PROBE_EVERY_MS = 3_000;
/** Consecutive failed probes after which an engine counts as terminated. */
const MISSES = 3;
/** Consecutive failures before the deployment fails; the count restarts after WELL_MS of healthy time. */
const MAX_RESTARTS = 5;
const WELL_MS = 60_000;
const MAX_BACKOFF_MS = 60_000;
const HEALTH_WRITE_MS = 15_000;
/** Time a serve job may wait for GPUs before an idle deployment is put to sleep. */
const GPU_WAIT_MS = 5_000;
/** States in which a serve job has ended. */
export const JOB_OVER = [...FINAL_STATES, "paused"] as const;

const isOver = (state: string) => JOB_OVER.some((one) => one === state);

/** The serve job of a deployment, and what follows from it. */
interface Engine {
  job: Awaited<ReturnType<typeof serveJobOf>>;
  over: boolean;
  address: string | null;
  health: Facts["engine"];
  /** Milliseconds the deployment has been ready. */
  wellMs: number;
}

/**
 * Takes one deployment one step further.
 * @param stops the hold on who created it or on its organization, and why a budget stops it
 */
export async function reconcileOne(
  ctx: Ctx,
  row: DeploymentRow,
  stops: { hold: Hold | null; budget: string | null },
): Promise<void> {
  // A maintenance, or a provider that is stopped, puts endpoints to sleep; what is wanted stays, and they start again.
  const why = stopReason(stops);
  const provider = await stoppedAt(ctx, row.jobId);
  const sleeps = provider !== null || (await stopsEndpoints(ctx));
  const said = why ?? (provider && `${provider}. The endpoint starts again with the next request.`);
  const rests = why ? "stopped" : sleeps ? "asleep" : null;
  const wanted = row.wanted === "running" ? (rests ?? row.wanted) : row.wanted;
  const engine = await engineOf(ctx, { ...row, wanted });
  const step = nextStep(factsOf(ctx, { ...row, wanted }, engine));
  const now = ctx.clock.now();
  switch (step) {
    case "none": {
      const idle = wanted === "running" ? await idleAtCost(ctx, row) : null;
      return idle === null ? rest(ctx, row, engine) : stopIdle(ctx, row, idle);
    }
    case "launch":
      return launch(ctx, row);
    case "ready":
      runtimeOf(ctx).since.set(row.id, now);
      return move(ctx, row, { state: "ready", address: engine.address, error: null, healthyAt: now });
    case "sleep":
      return move(ctx, row, { wanted: "asleep" });
    case "stop":
      if (row.state !== "stopping")
        await move(ctx, row, { state: "stopping", address: null, ...(said ? { error: said } : {}) });
      return endJob(ctx, row, engine.job?.state);
    case "rest":
      if (row.deletedAt) forget(runtimeOf(ctx), row.id);
      return move(ctx, row, {
        state: wanted === "asleep" ? "asleep" : "stopped",
        jobId: null,
        address: null,
        ...(why ? { error: why } : {}),
      });
    case "died":
    case "give_up":
      return recover(ctx, row, engine, step === "give_up");
  }
}

/** That the engine of an endpoint runs at a provider where an administrator stopped everything; null = it does not. */
async function stoppedAt(ctx: Ctx, jobId: string | null): Promise<string | null> {
  if (jobId === null) return null;
  const [on] = await ctx.db
    .select({ provider: attempt.provider })
    .from(attempt)
    .where(and(eq(attempt.jobId, jobId), isNull(attempt.goneAt)))
    .limit(1);
  return on ? stoppedBecause(ctx, on.provider) : null;
}

/** Why an endpoint is stopped although it is wanted, for its page; null = nothing stops it. */
function stopReason({ hold, budget }: { hold: Hold | null; budget: string | null }): string | null {
  if (hold) return `${heldMessage(hold)}. The endpoint starts again when that is lifted.`;
  return budget === null ? null : `${sentence(budget)}. The endpoint starts again when something is left.`;
}

async function serveJobOf(ctx: Ctx, row: DeploymentRow) {
  if (!row.jobId) return null;
  const [found] = await ctx.db
    .select({
      state: job.state,
      error: job.error,
      progress: job.progress,
      gpus: sql<number>`json_extract(${job.spec}, '$.need.gpus')`,
      createdAt: job.createdAt,
    })
    .from(job)
    .where(eq(job.id, row.jobId))
    .limit(1);
  return found ?? null;
}

async function engineOf(ctx: Ctx, row: DeploymentRow): Promise<Engine> {
  const runtime = runtimeOf(ctx);
  const now = ctx.clock.now();
  // A deployment that leaves a shared engine has no job to end.
  const leaves = row.wanted !== "running" && (await isShared(ctx, row));
  const found = leaves ? null : await serveJobOf(ctx, row);
  const over = found !== null && isOver(found.state);
  const address =
    row.address ??
    (row.jobId && found?.state === "running" ? await announcedAddress(ctx, row.jobId, found.progress) : null);
  const health = found && !over && address ? await checkHealth(ctx, runtime, row, address) : "unknown";
  const wellMs = row.state === "ready" ? now - (runtime.since.get(row.id) ?? row.healthyAt ?? now) : 0;
  return { job: found, over, address, health, wellMs };
}

function factsOf(ctx: Ctx, row: DeploymentRow, engine: Engine): Facts {
  const runtime = runtimeOf(ctx);
  const now = ctx.clock.now();
  return {
    wanted: row.wanted,
    state: row.state,
    job: !engine.job ? "none" : engine.over ? "over" : "live",
    engine: engine.health,
    idle: row.idleAfterS !== null && !runtime.active.has(row.id) && now - lastUseOf(ctx, row) > row.idleAfterS * 1000,
    waiting: (runtime.notBefore.get(row.id) ?? 0) > now,
    exhausted: row.restarts >= MAX_RESTARTS && engine.wellMs < WELL_MS,
  };
}

async function checkHealth(ctx: Ctx, runtime: Runtime, row: DeploymentRow, address: string): Promise<Facts["engine"]> {
  const since = ctx.clock.monotonic() - (runtime.probedAt.get(row.id) ?? Number.NEGATIVE_INFINITY);
  if (row.state === "ready" && since < PROBE_EVERY_MS) return "unknown";
  runtime.probedAt.set(row.id, ctx.clock.monotonic());
  const result = await probe(ctx, address);
  if (result === "healthy") {
    runtime.missed.delete(row.id);
    return "healthy";
  }
  // An engine that generates a long answer may respond slowly; one whose address nobody listens on has terminated.
  const weight = result === "absent" ? 1 : runtime.active.has(row.id) ? 0 : 0.25;
  const missed = (runtime.missed.get(row.id) ?? 0) + weight;
  runtime.missed.set(row.id, missed);
  if (missed < MISSES) runtime.probedAt.delete(row.id);
  return missed >= MISSES ? "gone" : "unknown";
}

/** No step is due: stores the health of a ready engine, or frees a slot for one that waits too long. */
async function rest(ctx: Ctx, row: DeploymentRow, engine: Engine): Promise<void> {
  if (row.state === "ready") await storeHealth(ctx, row, engine.health === "healthy");
  if (row.state !== "starting" || engine.job?.state !== "queued") return;
  // Another endpoint that sleeps does not help one that waits for a budget or a payment.
  const unpaid = (await lateWork(ctx)).why.get(row.org);
  const why =
    budgetMarks(ctx).why.get(row.jobId ?? "") ?? (engine.job.progress.waiting === unpaid ? unpaid : undefined);
  if (why !== undefined) return why === row.error ? undefined : move(ctx, row, { error: why });
  const { gpus, createdAt } = engine.job;
  if (ctx.clock.now() - createdAt > (gpus ? GPU_WAIT_MS : 0)) await evictIdle(ctx, gpus > 0);
}

/**
 * Stores from time to time that a ready engine is healthy and when it was last used; not on every probe, to save
 * writes.
 */
async function storeHealth(ctx: Ctx, row: DeploymentRow, healthy: boolean): Promise<void> {
  const now = ctx.clock.now();
  if (!healthy || now - (row.healthyAt ?? 0) < HEALTH_WRITE_MS) return;
  const lastRequestAt = Math.max(row.lastRequestAt ?? 0, runtimeOf(ctx).requested.get(row.id) ?? 0) || null;
  await ctx.write(
    (tx) => tx.update(deployment).set({ healthyAt: now, lastRequestAt }).where(eq(deployment.id, row.id)),
    { relaxed: true },
  );
}

/** Another engine on the same base is starting. */
async function wait(ctx: Ctx, row: DeploymentRow): Promise<void> {
  if (row.state !== "starting") await move(ctx, row, { state: "starting", jobId: null, address: null });
}

/** Nothing is started while its next hour does not fit in a budget; the page says so. */
async function waitStopped(ctx: Ctx, row: DeploymentRow, error: string): Promise<void> {
  if (row.state === "stopped" && row.error === error) return;
  await move(ctx, row, { state: "stopped", jobId: null, address: null, error });
}

async function launch(ctx: Ctx, row: DeploymentRow): Promise<void> {
  try {
    const plan = await planEngine(ctx, row);
    if (plan.step === "wait") return wait(ctx, row);
    if (plan.step === "join") return move(ctx, row, { state: "starting", jobId: plan.jobId, address: null });
    const short = await shortOfBudget(ctx, row);
    if (short !== null) return waitStopped(ctx, row, short);
    const spec = await buildServeSpec(ctx, systemActor(row.org), row.model, row.idleAfterS);
    const created = await createJob(
      ctx,
      { ...systemActor(row.org), userId: row.createdBy },
      {
        kind: "serve",
        name: row.name,
        spec,
        request: { model: row.model, deployment_id: row.id },
        metadata: { deployment_id: row.id },
      },
    );
    const error = row.state === "stopped" ? null : row.error;
    await move(ctx, row, { state: "starting", jobId: created.id, address: null, error });
  } catch (cause) {
    if (!(cause instanceof AppError) || cause.kind === "unavailable" || cause.kind === "internal") throw cause;
    runtimeOf(ctx).since.set(row.id, ctx.clock.now());
    if (row.state === "starting") return move(ctx, row, { state: "failed", error: cause.message });
    await move(ctx, row, { state: "starting", jobId: null });
  }
}

/** Restarts a terminated engine with exponential backoff, or fails the deployment when `final`. */
async function recover(ctx: Ctx, row: DeploymentRow, engine: Engine, final: boolean): Promise<void> {
  const runtime = runtimeOf(ctx);
  const now = ctx.clock.now();
  const error =
    engine.job?.error?.message ?? (engine.over ? "The engine exited by itself." : "The engine stopped responding.");
  const restarts = engine.wellMs >= WELL_MS ? 1 : row.restarts + 1;
  ctx.log("warn", "an engine terminated", { deployment: row.id, job: row.jobId, restarts, error });
  await endJob(ctx, row, engine.job?.state);
  runtime.since.set(row.id, now);
  runtime.missed.delete(row.id);
  if (final) return move(ctx, row, { state: "failed", jobId: null, address: null, error });
  runtime.notBefore.set(row.id, now + Math.min(MAX_BACKOFF_MS, 1000 * 2 ** (restarts - 1)));
  return move(ctx, row, { state: "starting", jobId: null, address: null, restarts, error });
}

async function endJob(ctx: Ctx, row: DeploymentRow, state: string | undefined): Promise<void> {
  const ending = state === "stopping" || (state !== "paused" && isOver(state ?? ""));
  if (!row.jobId || !state || ending) return;
  await cancelJob(ctx, systemActor(row.org), row.jobId).catch((cause) => {
    // The job may have ended by itself in the meantime; the next step sees that.
    if (!(cause instanceof AppError) || cause.code !== "illegal_transition") throw cause;
  });
}
