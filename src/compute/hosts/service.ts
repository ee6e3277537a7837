/** Hosts: their state, utilization and history, and the administration of hosts and GPUs. */
import { and, asc, eq, gt, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { gpu, gpuAllocation, host, hostSample } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { AppError, notFound } from "../../errors.ts";
import { slotsInUse } from "../providers/registry.ts";
import { HEARTBEAT_TIMEOUT_MS, pollHosts } from "./inventory.ts";
import type { HostView, SamplePoint } from "./model.ts";

const MB = 2 ** 20;
const MAX_HOSTS = 1000;

/** A GPU without work of ours counts as used above these: drivers and displays take some memory. */
const OUTSIDE = { utilization: 10, memoryMb: 1024, memoryShare: 0.05 };

type HostRow = typeof host.$inferSelect;

/** Whether another program uses a GPU that no work of this server holds. */
function usedOutside(one: typeof gpu.$inferSelect, held: boolean): boolean {
  if (held || one.lostAt !== null) return false;
  const memory = one.memoryUsedMb ?? 0;
  const much = Math.max(OUTSIDE.memoryMb, one.memoryMb * OUTSIDE.memoryShare);
  return (one.utilization ?? 0) >= OUTSIDE.utilization || memory > much;
}

async function view(ctx: Ctx, actor: Actor, row: HostRow): Promise<HostView> {
  const gpus = await ctx.db.select().from(gpu).where(eq(gpu.hostId, row.id)).orderBy(asc(gpu.position), asc(gpu.uuid));
  const held = await ctx.db
    .select({ uuid: gpuAllocation.gpuUuid, id: job.id, name: job.name, org: job.org })
    .from(gpuAllocation)
    .innerJoin(gpu, eq(gpu.uuid, gpuAllocation.gpuUuid))
    .innerJoin(job, eq(job.id, gpuAllocation.jobId))
    .where(eq(gpu.hostId, row.id));
  const [running] = await ctx.db
    .select({ n: sql<number>`count(*)` })
    .from(attempt)
    .where(
      and(
        isNull(attempt.goneAt),
        eq(sql`${attempt.provider} || '.' || json_extract(${attempt.offer}, '$.id')`, row.id),
      ),
    );
  const silent = row.seenAt < ctx.clock.now() - HEARTBEAT_TIMEOUT_MS;
  return {
    object: "host",
    id: row.id,
    provider: row.provider,
    name: row.label ?? row.name,
    reported_name: row.name,
    state: silent ? "silent" : row.state,
    note: row.note,
    maintenance:
      row.maintenanceFrom !== null && row.maintenanceUntil !== null
        ? { from: row.maintenanceFrom, until: row.maintenanceUntil }
        : null,
    problem: row.problem ?? (silent ? "The host is unreachable." : null),
    remedy: row.remedy,
    seen_at: row.seenAt,
    driver: row.driver,
    cuda: row.cuda,
    cpu: { cores: row.cpus, load: row.load },
    memory: { total_bytes: row.memoryMb * MB, free_bytes: (row.memoryFreeMb ?? row.memoryMb) * MB },
    disk: { total_bytes: (row.diskMb ?? 0) * MB, free_bytes: (row.diskFreeMb ?? 0) * MB },
    gpus: gpus.map((one) => ({
      uuid: one.uuid,
      position: one.position,
      model: one.model,
      memory_mb: one.memoryMb,
      memory_used_mb: one.memoryUsedMb,
      utilization: one.utilization,
      temperature_c: one.temperatureC,
      power_w: one.powerW,
      power_limit_w: one.powerLimitW,
      ecc_errors: one.eccErrors,
      mig: one.parent === null ? null : { parent: one.parent, profile: one.profile },
      shares: one.shares,
      lost: one.lostAt !== null,
      used_outside: usedOutside(
        one,
        held.some((work) => work.uuid === one.uuid),
      ),
      held_by: held
        .filter((work) => work.uuid === one.uuid)
        .map((work) => (work.org === actor.org ? { id: work.id, name: work.name } : { id: null, name: null })),
    })),
    running: running?.n ?? 0,
    slots: row.provider === "process" ? await localSlots(ctx) : null,
  };
}

async function localSlots(ctx: Ctx): Promise<NonNullable<HostView["slots"]>> {
  const used = await slotsInUse(ctx);
  return {
    train: { used: used.train, total: ctx.config.train_slots },
    serve: { used: used.serve, total: ctx.config.serve_slots },
  };
}

/** All hosts by provider and name. Polls the hosts when none is known. */
export async function listHosts(ctx: Ctx, actor: Actor): Promise<HostView[]> {
  const read = () => ctx.db.select().from(host).orderBy(asc(host.provider), asc(host.name)).limit(MAX_HOSTS);
  let rows = await read();
  if (rows.length === 0) {
    await pollHosts(ctx);
    rows = await read();
  }
  return Promise.all(rows.map((row) => view(ctx, actor, row)));
}

/** @throws AppError `host_not_found` */
export async function getHost(ctx: Ctx, actor: Actor, id: string): Promise<HostView> {
  const [row] = await ctx.db.select().from(host).where(eq(host.id, id));
  if (!row) throw notFound("host", id);
  return view(ctx, actor, row);
}

type HostChange =
  | { state: "ready" | "cordoned" | "draining"; note?: string | null }
  /** Milliseconds since 1970; null cancels the window. */
  | { maintenance: { from: number; until: number } | null; note?: string | null }
  /** Null returns to the name that its provider reports. */
  | { name: string | null };

/**
 * Cordons, drains or resumes a host, sets its maintenance window, or renames it. Administrators only; audited.
 * @throws AppError `window_invalid` for a window that ends before it begins or that is in the past
 */
export async function changeHost(ctx: Ctx, actor: Actor, id: string, change: HostChange): Promise<HostView> {
  requireAdmin(actor);
  const set: Partial<HostRow> = "note" in change && change.note !== undefined ? { note: change.note } : {};
  if ("name" in change) set.label = change.name;
  else if ("state" in change) {
    set.state = change.state;
    // Also cancels the window, which would drain the host again.
    if (change.state === "ready") Object.assign(set, { note: null, maintenanceFrom: null, maintenanceUntil: null });
  } else if (change.maintenance === null) Object.assign(set, { maintenanceFrom: null, maintenanceUntil: null });
  else {
    const { from, until } = change.maintenance;
    if (until <= from || until <= ctx.clock.now())
      throw new AppError(
        "invalid",
        "window_invalid",
        "The maintenance window must end after it starts, and in the future.",
        {
          param: "until",
        },
      );
    Object.assign(set, { maintenanceFrom: from, maintenanceUntil: until });
  }
  await ctx.write(async (tx) => {
    const changed = await tx.update(host).set(set).where(eq(host.id, id)).returning({ id: host.id });
    if (changed.length === 0) throw notFound("host", id);
    await audit(tx, ctx, actor, "host.change", id, { ...change });
  });
  ctx.bus.emit("hosts.changed", { ids: [id] });
  return getHost(ctx, actor, id);
}

/** Sets how many jobs can share a GPU. Administrators only; audited. */
export async function setShares(ctx: Ctx, actor: Actor, uuid: string, shares: number): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const changed = await tx.update(gpu).set({ shares }).where(eq(gpu.uuid, uuid)).returning({ id: gpu.uuid });
    if (changed.length === 0) throw notFound("GPU", uuid);
    await audit(tx, ctx, actor, "gpu.shares", uuid, { shares });
  });
  ctx.bus.emit("hosts.changed", { ids: [] });
}

/** Removes a host that no longer exists. It is added again when its provider reports it. */
export async function forgetHost(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  const found = await getHost(ctx, actor, id);
  if (found.running > 0 || found.gpus.some((one) => one.held_by.length > 0))
    throw new AppError("conflict", "host_in_use", "Jobs still run on this host. Drain it first, then remove it.");
  await ctx.write(async (tx) => {
    await tx.delete(gpu).where(eq(gpu.hostId, id));
    await tx.delete(host).where(eq(host.id, id));
    await audit(tx, ctx, actor, "host.forget", id);
  });
  ctx.bus.emit("hosts.changed", { ids: [id] });
}

const MAX_POINTS = 300;

/**
 * Samples of a host, or of one of its GPUs, over the last `hours`: the highest value in each of at most 300 buckets, so
 * that peaks stay visible.
 */
export async function readSamples(
  ctx: Ctx,
  actor: Actor,
  hostId: string,
  gpuUuid: string | null,
  hours: number,
): Promise<SamplePoint[]> {
  const found = await getHost(ctx, actor, hostId);
  if (gpuUuid !== null && !found.gpus.some((one) => one.uuid === gpuUuid)) throw notFound("GPU", gpuUuid);
  const source = gpuUuid ?? hostId;
  const since = ctx.clock.now() - hours * 3_600_000;
  const width = Math.max(15_000, Math.ceil((hours * 3_600_000) / MAX_POINTS));
  const highest = (column: unknown) => sql<number | null>`max(${column})`;
  return ctx.db
    .select({
      at: sql<number>`cast(${hostSample.at} / ${width} as integer) * ${width}`.as("bucket"),
      utilization: highest(hostSample.utilization),
      memory_used_mb: highest(hostSample.memoryUsedMb),
      temperature_c: highest(hostSample.temperatureC),
      power_w: highest(hostSample.powerW),
    })
    .from(hostSample)
    .where(and(eq(hostSample.source, source), gt(hostSample.at, since)))
    .groupBy(sql`bucket`)
    .orderBy(sql`bucket`);
}
