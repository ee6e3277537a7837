/**
 * The loop behind deployments: looks at what is wanted and what is so, and takes the next step, again and again;
 * nothing is remembered that cannot be looked up.
 */

import { and, eq, inArray, isNotNull, ne, notInArray, or, sql } from "drizzle-orm";
import { FINAL_STATES } from "../../contract/job.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { cancelJob } from "../../training/jobs/service.ts";
import { createJob } from "../../training/jobs/store.ts";
import { probe } from "./engine.ts";
import type { DeploymentRow } from "./model.ts";
import { announcedAddress } from "./place.ts";
import { forget, type Runtime, runtimeOf } from "./runtime.ts";
import { endDeploymentsOf } from "./service.ts";
import { buildServeSpec } from "./spec.ts";
import { canMove, nextStep } from "./state.ts";

const TICK_MS = 1_000;
const PROBE_EVERY_MS = 3_000;
/** Times in a row nobody may answer before an engine counts as gone. */
const MISSES = 3;
/** Deaths in a row before it gives up, and how long it must have been well for the count to start anew. */
const MAX_RESTARTS = 5;
const WELL_MS = 60_000;
const HEALTH_NOTE_MS = 15_000;
const EVICT_IDLE_MS = 3_000;
/** How long GPUs may take to be given before it is concluded that none is free. */
const GPU_WAIT_MS = 5_000;
/** GPUs a serve job asks for. */
const GPUS = sql<number>`json_extract(${job.spec}, '$.need.gpus')`;
const JOB_OVER = [...FINAL_STATES, "paused"] as const;

/** Runs the loop until the returned function is called. It finds again what ran before a restart of the server. */
export function startDeployments(ctx: Ctx): () => void {
  const runtime = runtimeOf(ctx);
  let timer: ReturnType<typeof setTimeout> | null = null;
  let stopped = false;
  let looking = false;
  const tick = async () => {
    if (stopped || looking) return;
    looking = true;
    try {
      await lookAtAll(ctx, runtime);
    } catch (cause) {
      if (!stopped) ctx.log("error", "deployments could not be looked at", { cause });
    } finally {
      looking = false;
      if (!stopped) arm(TICK_MS);
    }
  };
  const arm = (ms: number) => {
    if (timer) clearTimeout(timer);
    timer = setTimeout(() => void tick(), ms);
  };
  runtime.hint = () => {
    if (!stopped) arm(0);
  };
  const off = [
    ctx.bus.on("job.changed", (change) => change.kind === "serve" && runtime.hint()),
    ctx.bus.on("job.ready", () => runtime.hint()),
    ctx.bus.on("model.deleted", ({ org, modelId }) => {
      endDeploymentsOf(ctx, org, modelId).catch((cause) =>
        ctx.log("error", "deployments of a deleted model not ended", { model: modelId, cause }),
      );
    }),
  ];
  const stop = () => {
    stopped = true;
    if (timer) clearTimeout(timer);
    for (const one of off) one();
    runtime.hint = () => {};
  };
  ctx.signal.addEventListener("abort", stop, { once: true });
  void sweepOrphans(ctx).catch((cause) => ctx.log("error", "orphaned serve jobs not swept", { cause }));
  arm(0);
  return stop;
}

/** Ends serve jobs that no deployment points to: a stop between making the job and noting it leaves such a one. */
async function sweepOrphans(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select({ id: job.id, org: job.org })
    .from(job)
    .leftJoin(deployment, eq(deployment.jobId, job.id))
    .where(
      and(
        eq(job.kind, "serve"),
        notInArray(job.state, [...JOB_OVER, "stopping"]),
        sql`json_extract(${job.metadata}, '$.deployment_id') is not null`,
        sql`${deployment.id} is null`,
      ),
    )
    .limit(100);
  for (const row of rows) await cancelJob(ctx, systemActor(row.org), row.id);
}

async function lookAtAll(ctx: Ctx, runtime: Runtime): Promise<void> {
  const rows = await ctx.db
    .select()
    .from(deployment)
    .where(
      or(
        inArray(deployment.state, ["starting", "ready", "stopping"]),
        and(ne(deployment.wanted, deployment.state), ne(deployment.state, "failed")),
        and(eq(deployment.state, "failed"), or(eq(deployment.wanted, "stopped"), isNotNull(deployment.jobId))),
      ),
    )
    .limit(500);
  for (const row of rows) {
    if (runtime.busy.has(row.id)) continue;
    runtime.busy.add(row.id);
    // Not awaited: an engine that is slow to answer must not hold up the others.
    void lookAt(ctx, row)
      .catch((cause) => ctx.log("error", "deployment could not be looked at", { deployment: row.id, cause }))
      .finally(() => runtime.busy.delete(row.id));
  }
}

/** Takes one deployment one step further. */
async function lookAt(ctx: Ctx, row: DeploymentRow): Promise<void> {
  const runtime = runtimeOf(ctx);
  const now = ctx.clock.now();
  const [work] = row.jobId
    ? await ctx.db
        .select({ state: job.state, error: job.error, progress: job.progress, gpus: GPUS, createdAt: job.createdAt })
        .from(job)
        .where(eq(job.id, row.jobId))
        .limit(1)
    : [];
  const over = work !== undefined && (JOB_OVER as readonly string[]).includes(work.state);
  const address =
    row.address ??
    (row.jobId && work?.state === "running" ? await announcedAddress(ctx, row.jobId, work.progress) : null);
  const engine = work && !over && address ? await ask(ctx, runtime, row, address) : "unknown";
  const lastUse = Math.max(row.lastRequestAt ?? 0, runtime.used.get(row.id) ?? 0, runtime.since.get(row.id) ?? 0);
  const wellFor = row.state === "ready" ? now - (runtime.since.get(row.id) ?? row.healthyAt ?? now) : 0;
  const step = nextStep({
    wanted: row.wanted,
    state: row.state,
    job: !work ? "none" : over ? "over" : "live",
    engine,
    idle:
      row.idleAfterS !== null &&
      !runtime.active.has(row.id) &&
      now - (lastUse || row.createdAt) > row.idleAfterS * 1000,
    waiting: (runtime.notBefore.get(row.id) ?? 0) > now,
    exhausted: row.restarts >= MAX_RESTARTS && wellFor < WELL_MS,
  });
  switch (step) {
    case "none":
      if (row.state === "ready") await noteHealth(ctx, runtime, row, engine === "healthy");
      if (row.state === "starting" && work?.state === "queued" && now - work.createdAt > (work.gpus ? GPU_WAIT_MS : 0))
        await makeRoom(ctx, runtime, work.gpus > 0);
      return;
    case "launch":
      return launch(ctx, row);
    case "ready":
      runtime.since.set(row.id, now);
      return move(ctx, row, { state: "ready", address, error: null, healthyAt: now });
    case "sleep":
      return move(ctx, row, { wanted: "asleep" });
    case "stop":
      if (row.state !== "stopping") await move(ctx, row, { state: "stopping", address: null });
      return endJob(ctx, row, work?.state);
    case "rest":
      if (row.deletedAt) forget(runtime, row.id);
      return move(ctx, row, { state: row.wanted === "asleep" ? "asleep" : "stopped", jobId: null, address: null });
    case "died":
    case "give_up": {
      const error = work?.error?.message ?? (over ? "The engine ended by itself." : "The engine stopped answering.");
      const restarts = wellFor >= WELL_MS ? 1 : row.restarts + 1;
      ctx.log("warn", "an engine died", { deployment: row.id, job: row.jobId, restarts, error });
      await endJob(ctx, row, work?.state);
      runtime.since.set(row.id, now);
      runtime.missed.delete(row.id);
      if (step === "give_up") return move(ctx, row, { state: "failed", jobId: null, address: null, error });
      runtime.notBefore.set(row.id, now + Math.min(60_000, 1000 * 2 ** (restarts - 1)));
      return move(ctx, row, { state: "starting", jobId: null, address: null, restarts, error });
    }
  }
}

async function ask(
  ctx: Ctx,
  runtime: Runtime,
  row: DeploymentRow,
  address: string,
): Promise<"healthy" | "gone" | "unknown"> {
  const since = ctx.clock.monotonic() - (runtime.probedAt.get(row.id) ?? Number.NEGATIVE_INFINITY);
  if (row.state === "ready" && since < PROBE_EVERY_MS) return "unknown";
  runtime.probedAt.set(row.id, ctx.clock.monotonic());
  const result = await probe(ctx, address);
  if (result === "healthy") {
    runtime.missed.delete(row.id);
    return "healthy";
  }
  // An engine busy with a long answer may be slow to say so; one that nobody listens for is gone.
  const weight = result === "absent" ? 1 : runtime.active.has(row.id) ? 0 : 0.25;
  const missed = (runtime.missed.get(row.id) ?? 0) + weight;
  runtime.missed.set(row.id, missed);
  if (missed < MISSES) runtime.probedAt.delete(row.id);
  return missed >= MISSES ? "gone" : "unknown";
}

/** Changes the row unless it was changed meanwhile, and tells. */
async function move(ctx: Ctx, row: DeploymentRow, values: Partial<typeof deployment.$inferInsert>): Promise<void> {
  if (values.state && values.state !== row.state && !canMove(row.state, values.state))
    throw new Error(`illegal move of ${row.id}: ${row.state} -> ${values.state}`);
  const [updated] = await ctx.write((tx) =>
    tx
      .update(deployment)
      .set(values)
      .where(and(eq(deployment.id, row.id), eq(deployment.state, row.state), eq(deployment.wanted, row.wanted)))
      .returning(),
  );
  if (!updated) return;
  ctx.bus.emit("deployment.changed", { org: updated.org, deploymentId: updated.id, state: updated.state });
  runtimeOf(ctx).hint();
}

async function launch(ctx: Ctx, row: DeploymentRow): Promise<void> {
  try {
    const spec = await buildServeSpec(ctx, systemActor(row.org), row.model);
    const made = await createJob(
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
    await move(ctx, row, { state: "starting", jobId: made.id, address: null });
  } catch (cause) {
    if (!(cause instanceof AppError) || cause.kind === "unavailable" || cause.kind === "internal") throw cause;
    runtimeOf(ctx).since.set(row.id, ctx.clock.now());
    if (row.state === "starting") return move(ctx, row, { state: "failed", error: cause.message });
    await move(ctx, row, { state: "starting", jobId: null });
  }
}

async function endJob(ctx: Ctx, row: DeploymentRow, state: string | undefined): Promise<void> {
  const ending = state === "stopping" || (state !== "paused" && (JOB_OVER as readonly string[]).includes(state ?? ""));
  if (!row.jobId || !state || ending) return;
  await cancelJob(ctx, systemActor(row.org), row.jobId).catch((cause) => {
    // It may have ended by itself since the look at it; the next look sees that.
    if (!(cause instanceof AppError) || cause.code !== "illegal_transition") throw cause;
  });
}

/**
 * Notes now and then that a ready engine is well and when it was used last; each note is a write, so not at every look.
 */
async function noteHealth(ctx: Ctx, runtime: Runtime, row: DeploymentRow, healthy: boolean): Promise<void> {
  const now = ctx.clock.now();
  if (!healthy || now - (row.healthyAt ?? 0) < HEALTH_NOTE_MS) return;
  const lastRequestAt = Math.max(row.lastRequestAt ?? 0, runtime.used.get(row.id) ?? 0) || null;
  await ctx.write(
    (tx) => tx.update(deployment).set({ healthyAt: now, lastRequestAt }).where(eq(deployment.id, row.id)),
    { relaxed: true },
  );
}

/**
 * All places are taken and one deployment waits: the one unused for longest goes to sleep, if it may. GPUs are places
 * of their own.
 */
async function makeRoom(ctx: Ctx, runtime: Runtime, onGpus: boolean): Promise<void> {
  const found = await ctx.db
    .select({ row: deployment, gpus: GPUS })
    .from(deployment)
    .leftJoin(job, eq(job.id, deployment.jobId))
    .where(inArray(deployment.state, ["ready", "stopping"]))
    .limit(500);
  const rows = found.filter(({ gpus }) => (gpus ?? 0) > 0 === onGpus).map(({ row }) => row);
  if (rows.some((row) => row.state === "stopping" || row.wanted !== "running")) return;
  if (!onGpus && rows.length < ctx.config.serve_slots) return;
  const lastUse = (row: DeploymentRow) => Math.max(row.lastRequestAt ?? 0, runtime.used.get(row.id) ?? 0);
  const [longest] = rows
    .filter((row) => row.idleAfterS !== null && !runtime.active.has(row.id))
    .filter((row) => ctx.clock.now() - lastUse(row) > EVICT_IDLE_MS)
    .sort((a, b) => lastUse(a) - lastUse(b));
  if (longest) await move(ctx, longest, { wanted: "asleep" });
}
