/** Hosts for people: what they are, how they do, and the switches an administrator has. */
import { and, asc, eq, gt, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { gpu, gpuAllocation, host, hostSample } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { AppError, notFound } from "../../errors.ts";
import { slotsInUse } from "../providers/registry.ts";
import { lookAtHosts, SILENT_MS } from "./inventory.ts";

const MB = 2 ** 20;
const MAX_HOSTS = 1000;

export interface GpuView {
  uuid: string;
  position: number;
  model: string;
  memory_mb: number;
  memory_used_mb: number | null;
  /** Percent. */
  utilization: number | null;
  temperature_c: number | null;
  power_w: number | null;
  power_limit_w: number | null;
  ecc_errors: number | null;
  mig: { parent: string; profile: string | null } | null;
  shares: number;
  lost: boolean;
  /** Work that holds it; `id` and `name` only of the asker's own organization. */
  held_by: { id: string | null; name: string | null }[];
}

export interface HostView {
  object: "host";
  id: string;
  provider: string;
  name: string;
  state: "ready" | "cordoned" | "draining" | "silent";
  note: string | null;
  /** Milliseconds since 1970. */
  maintenance: { from: number; until: number } | null;
  problem: string | null;
  remedy: string | null;
  seen_at: number;
  driver: string | null;
  cuda: string | null;
  cpu: { cores: number; load: number | null };
  memory: { total_bytes: number; free_bytes: number };
  disk: { total_bytes: number; free_bytes: number };
  gpus: GpuView[];
  /** Work that runs there, of any organization. */
  running: number;
  /** Room for work on the processor of this machine; null where another rule holds. */
  slots: { train: { used: number; total: number }; serve: { used: number; total: number } } | null;
}

type HostRow = typeof host.$inferSelect;

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
  const silent = row.seenAt < ctx.clock.now() - SILENT_MS;
  return {
    object: "host",
    id: row.id,
    provider: row.provider,
    name: row.name,
    state: silent ? "silent" : row.state,
    note: row.note,
    maintenance:
      row.maintenanceFrom !== null && row.maintenanceUntil !== null
        ? { from: row.maintenanceFrom, until: row.maintenanceUntil }
        : null,
    problem: row.problem ?? (silent ? "It does not answer." : null),
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

/** Every host, by provider and name; the first call ever looks at them. */
export async function listHosts(ctx: Ctx, actor: Actor): Promise<HostView[]> {
  const read = () => ctx.db.select().from(host).orderBy(asc(host.provider), asc(host.name)).limit(MAX_HOSTS);
  let rows = await read();
  if (rows.length === 0) {
    await lookAtHosts(ctx);
    rows = await read();
  }
  return Promise.all(rows.map((row) => view(ctx, actor, row)));
}

/** @throws AppError when there is no such host */
export async function getHost(ctx: Ctx, actor: Actor, id: string): Promise<HostView> {
  const [row] = await ctx.db.select().from(host).where(eq(host.id, id));
  if (!row) throw notFound("host", id);
  return view(ctx, actor, row);
}

type HostChange =
  | { state: "ready" | "cordoned" | "draining"; note?: string | null }
  /** Milliseconds since 1970; null takes the window back. */
  | { maintenance: { from: number; until: number } | null; note?: string | null };

/**
 * Cordons, drains, takes up again, or sets a maintenance window. Administrators only; audited.
 * @throws AppError for a window that ends before it begins or lies in the past
 */
export async function changeHost(ctx: Ctx, actor: Actor, id: string, change: HostChange): Promise<HostView> {
  requireAdmin(actor);
  const set: Partial<HostRow> = change.note === undefined ? {} : { note: change.note };
  if ("state" in change) {
    set.state = change.state;
    // Taken up by hand, it must not be drained again by the window it was drained for.
    if (change.state === "ready") Object.assign(set, { note: null, maintenanceFrom: null, maintenanceUntil: null });
  } else if (change.maintenance === null) Object.assign(set, { maintenanceFrom: null, maintenanceUntil: null });
  else {
    const { from, until } = change.maintenance;
    if (until <= from || until <= ctx.clock.now())
      throw new AppError(
        "invalid",
        "window_invalid",
        "The maintenance window must end after it begins, and in the future.",
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

/** Says how many jobs may hold one GPU at once. Administrators only; audited. */
export async function setShares(ctx: Ctx, actor: Actor, uuid: string, shares: number): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const changed = await tx.update(gpu).set({ shares }).where(eq(gpu.uuid, uuid)).returning({ id: gpu.uuid });
    if (changed.length === 0) throw notFound("GPU", uuid);
    await audit(tx, ctx, actor, "gpu.shares", uuid, { shares });
  });
  ctx.bus.emit("hosts.changed", { ids: [] });
}

/** Removes a host that is no more (it comes back by itself when its provider reports it again). */
export async function forgetHost(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  const found = await getHost(ctx, actor, id);
  if (found.running > 0 || found.gpus.some((one) => one.held_by.length > 0))
    throw new AppError("conflict", "host_in_use", "Work still runs on this host. Drain it first, then remove it.");
  await ctx.write(async (tx) => {
    await tx.delete(gpu).where(eq(gpu.hostId, id));
    await tx.delete(host).where(eq(host.id, id));
    await audit(tx, ctx, actor, "host.forget", id);
  });
  ctx.bus.emit("hosts.changed", { ids: [id] });
}

interface SamplePoint {
  /** Milliseconds since 1970: begin of the bucket. */
  at: number;
  utilization: number | null;
  memory_used_mb: number | null;
  temperature_c: number | null;
  power_w: number | null;
}

const MAX_POINTS = 300;

/**
 * Samples of a host, or of one of its GPUs, over the last `hours`, the highest value of each of 300 buckets at most:
 * peaks stay.
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
