/**
 * Polls the hosts of every provider, stores their reports, and starts and ends their maintenance windows.
 */
import { and, eq, isNull, lt, notInArray, sql } from "drizzle-orm";
import type { HostReport } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { gpu, host, hostSample } from "../../db/schema/hosts.ts";
import type { Db } from "../../db/types.ts";
import { type NvidiaReading, nvidiaFailure, readNvidiaSmi } from "./nvidia.ts";

const POLL_MS = 15_000;
/** A host without a heartbeat for this long gets no jobs. */
export const HEARTBEAT_TIMEOUT_MS = 60_000;
const KEEP_MS = 7 * 86_400_000;
const PRUNE_EVERY_MS = 3_600_000;
const ID = /^[a-zA-Z0-9._-]{1,64}$/;

interface Health {
  reading: NvidiaReading | null;
  problem: string | null;
  remedy: string | null;
}

/** The GPU reading of a report and at most one problem, as a sentence with a remedy. */
function healthOf(report: HostReport): Health {
  if (report.problem) return { reading: null, problem: report.problem, remedy: null };
  const { nvidia } = report;
  if (!nvidia) return { reading: null, problem: null, remedy: null };
  const reading = "xml" in nvidia ? readNvidiaSmi(nvidia.xml, nvidia.list) : null;
  if (!reading) {
    const failure = nvidiaFailure("failure" in nvidia ? nvidia.failure : nvidia.xml);
    return { reading: null, problem: failure.message, remedy: failure.remedy };
  }
  const worn = reading.gpus.find((one) => (one.eccErrors ?? 0) > 0);
  if (worn)
    return {
      reading,
      problem: `GPU ${worn.index} (${worn.model}) reports ${worn.eccErrors} uncorrectable memory errors.`,
      remedy:
        "Let its jobs finish, then reset it (nvidia-smi --gpu-reset) or restart the machine. If the errors return, replace the GPU.",
    };
  return { reading, problem: reading.problems[0] ?? null, remedy: null };
}

/** The samples of a host and its GPUs. */
function samplesOf(id: string, at: number, report: HostReport, reading: NvidiaReading | null) {
  return [
    {
      source: id,
      at,
      utilization: report.load === null ? null : Math.min(100, (report.load / Math.max(1, report.cpus)) * 100),
      memoryUsedMb: report.memoryFreeMb === null ? null : report.memoryMb - report.memoryFreeMb,
    },
    ...(reading?.gpus ?? []).map((one) => ({
      source: one.uuid,
      at,
      utilization: one.utilization,
      memoryUsedMb: one.memoryUsedMb,
      temperatureC: one.temperatureC,
      powerW: one.powerW,
    })),
  ];
}

/** Stores the GPUs of a host. GPUs without a reading are marked as lost. */
async function storeGpus(tx: Db, hostId: string, now: number, readings: NvidiaReading["gpus"]): Promise<void> {
  for (const { uuid, index, ...rest } of readings) {
    const seen = { ...rest, hostId, position: index, seenAt: now, lostAt: null };
    await tx
      .insert(gpu)
      .values({ uuid, createdAt: now, ...seen })
      .onConflictDoUpdate({ target: gpu.uuid, set: seen });
  }
  const present = readings.map((one) => one.uuid);
  await tx
    .update(gpu)
    .set({ lostAt: now })
    .where(and(eq(gpu.hostId, hostId), isNull(gpu.lostAt), present.length ? notInArray(gpu.uuid, present) : undefined));
}

/** Stores one report: host, GPUs, samples. GPUs that are not in it are lost; without nvidia-smi, all are lost. */
export async function storeReport(ctx: Ctx, provider: string, report: HostReport): Promise<void> {
  const id = `${provider}.${report.id}`;
  const now = ctx.clock.now();
  const { reading, problem, remedy } = healthOf(report);
  const facts = {
    name: report.name.slice(0, 200),
    local: report.local ?? null,
    cpus: report.cpus,
    memoryMb: report.memoryMb,
    memoryFreeMb: report.memoryFreeMb,
    load: report.load,
    diskMb: report.diskMb,
    diskFreeMb: report.diskFreeMb,
    driver: reading?.driver ?? null,
    cuda: reading?.cuda ?? null,
    problem: problem?.slice(0, 500) ?? null,
    remedy,
    // A report with a problem is not a heartbeat.
    ...(report.problem ? {} : { seenAt: now }),
  };
  await ctx.write(
    async (tx) => {
      await tx
        .insert(host)
        .values({ id, provider, createdAt: now, seenAt: report.problem ? 0 : now, ...facts })
        .onConflictDoUpdate({ target: host.id, set: facts });
      if (report.problem) return;
      await tx
        .insert(hostSample)
        .values(samplesOf(id, now, report, reading))
        .onConflictDoNothing();
      await storeGpus(tx, id, now, reading?.gpus ?? []);
    },
    { relaxed: true },
  );
}

/** Drains hosts at the start of their maintenance window, and resumes them at its end. */
async function keepWindows(ctx: Ctx): Promise<string[]> {
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    const begun = await tx
      .update(host)
      .set({ state: "draining" })
      .where(
        sql`${host.maintenanceFrom} <= ${now} and ${host.maintenanceUntil} > ${now} and ${host.state} <> 'draining'`,
      )
      .returning({ id: host.id });
    const over = await tx
      .update(host)
      .set({ state: "ready", note: null, maintenanceFrom: null, maintenanceUntil: null })
      .where(sql`${host.maintenanceUntil} <= ${now}`)
      .returning({ id: host.id });
    return [...begun, ...over].map((row) => row.id);
  });
}

/** Polls every provider with hosts once. A failure is logged; the hosts of that provider become unreachable. */
export async function pollHosts(ctx: Ctx): Promise<void> {
  const due = await ctx.db.select({ id: host.id }).from(host).where(sql`${host.maintenanceUntil} is not null`).limit(1);
  const moved = due.length > 0 ? await keepWindows(ctx) : [];
  for (const { plugin, provider } of ctx.compute.list()) {
    if (!provider.hosts) continue;
    try {
      for (const report of await provider.hosts()) {
        if (!ID.test(report.id)) throw new Error(`a host has the id ${JSON.stringify(report.id).slice(0, 80)}`);
        await storeReport(ctx, plugin.id, report);
      }
    } catch (cause) {
      if (!ctx.signal.aborted) ctx.log("warn", "could not poll the hosts", { provider: plugin.id, cause });
    }
  }
  ctx.bus.emit("hosts.changed", { ids: moved });
}

/** Polls every 15 seconds until the returned function is called. */
export function startInventory(ctx: Ctx): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let stopped = false;
  let prunedAt = Number.NEGATIVE_INFINITY;
  const poll = async () => {
    try {
      await pollHosts(ctx);
      if (ctx.clock.monotonic() - prunedAt > PRUNE_EVERY_MS) {
        prunedAt = ctx.clock.monotonic();
        await ctx.write((tx) => tx.delete(hostSample).where(lt(hostSample.at, ctx.clock.now() - KEEP_MS)));
      }
    } catch (cause) {
      if (!stopped) ctx.log("error", "could not update the host inventory", { cause });
    }
    if (!stopped) timer = setTimeout(poll, POLL_MS);
  };
  void poll();
  return () => {
    stopped = true;
    if (timer) clearTimeout(timer);
  };
}
