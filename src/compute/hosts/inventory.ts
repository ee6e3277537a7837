/**
 * Asks every provider that has machines how they are, keeps what it hears, and moves hosts in and out of their
 * maintenance windows.
 */
import { and, eq, isNull, lt, notInArray, sql } from "drizzle-orm";
import type { HostReport } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { gpu, host, hostSample } from "../../db/schema/hosts.ts";
import { type NvidiaReading, nvidiaFailure, readNvidiaSmi } from "./nvidia.ts";

const LOOK_MS = 15_000;
/** A host that has not answered for so long takes no work. */
export const SILENT_MS = 60_000;
const KEEP_MS = 7 * 86_400_000;
const PRUNE_EVERY_MS = 3_600_000;
const ID = /^[a-zA-Z0-9._-]{1,64}$/;

interface Health {
  reading: NvidiaReading | null;
  problem: string | null;
  remedy: string | null;
}

/** What a report says about GPUs and health. The last problem found stands: one sentence and one remedy. */
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
      problem: `GPU ${worn.index} (${worn.model}) counted ${worn.eccErrors} memory errors that could not be corrected.`,
      remedy:
        "Let its jobs finish, reset it (nvidia-smi --gpu-reset) or restart the machine; if they come back, replace the card.",
    };
  return { reading, problem: reading.problems[0] ?? null, remedy: null };
}

/**
 * Stores one report: host, GPUs, samples. GPUs it no longer tells of are lost; a failing nvidia-smi loses all of them.
 */
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
    // A host that only reports its absence has not been seen.
    ...(report.problem ? {} : { seenAt: now }),
  };
  await ctx.write(
    async (tx) => {
      await tx
        .insert(host)
        .values({ id, provider, createdAt: now, seenAt: report.problem ? 0 : now, ...facts })
        .onConflictDoUpdate({ target: host.id, set: facts });
      if (report.problem) return;
      const samples = [
        {
          source: id,
          at: now,
          utilization: report.load === null ? null : Math.min(100, (report.load / Math.max(1, report.cpus)) * 100),
          memoryUsedMb: report.memoryFreeMb === null ? null : report.memoryMb - report.memoryFreeMb,
        },
        ...(reading?.gpus ?? []).map((one) => ({
          source: one.uuid,
          at: now,
          utilization: one.utilization,
          memoryUsedMb: one.memoryUsedMb,
          temperatureC: one.temperatureC,
          powerW: one.powerW,
        })),
      ];
      await tx.insert(hostSample).values(samples).onConflictDoNothing();
      for (const one of reading?.gpus ?? []) {
        const { uuid, index, ...rest } = one;
        const seen = { ...rest, hostId: id, position: index, seenAt: now, lostAt: null };
        await tx
          .insert(gpu)
          .values({ uuid, createdAt: now, ...seen })
          .onConflictDoUpdate({ target: gpu.uuid, set: seen });
      }
      const told = (reading?.gpus ?? []).map((one) => one.uuid);
      await tx
        .update(gpu)
        .set({ lostAt: now })
        .where(and(eq(gpu.hostId, id), isNull(gpu.lostAt), told.length ? notInArray(gpu.uuid, told) : undefined));
    },
    { relaxed: true },
  );
}

/** Drains hosts whose window has begun and takes up again those whose window is over. */
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

/** One look at every provider with machines. A provider that fails is told in the log; its hosts fall silent. */
export async function lookAtHosts(ctx: Ctx): Promise<void> {
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
      if (!ctx.signal.aborted) ctx.log("warn", "hosts could not be looked at", { provider: plugin.id, cause });
    }
  }
  ctx.bus.emit("hosts.changed", { ids: moved });
}

/** Looks every 15 seconds until the returned function is called. */
export function startInventory(ctx: Ctx): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let stopped = false;
  let prunedAt = Number.NEGATIVE_INFINITY;
  const look = async () => {
    try {
      await lookAtHosts(ctx);
      if (ctx.clock.monotonic() - prunedAt > PRUNE_EVERY_MS) {
        prunedAt = ctx.clock.monotonic();
        await ctx.write((tx) => tx.delete(hostSample).where(lt(hostSample.at, ctx.clock.now() - KEEP_MS)));
      }
    } catch (cause) {
      if (!stopped) ctx.log("error", "hosts could not be kept", { cause });
    }
    if (!stopped) timer = setTimeout(look, LOOK_MS);
  };
  void look();
  return () => {
    stopped = true;
    if (timer) clearTimeout(timer);
  };
}
