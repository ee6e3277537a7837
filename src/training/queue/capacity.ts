/** Reads where work can run now: hosts and their GPUs, slots of this machine, and providers of rented machines. */
import { availableParallelism, totalmem } from "node:os";
import { asc, isNull } from "drizzle-orm";
import { HEARTBEAT_TIMEOUT_MS } from "../../compute/hosts/inventory.ts";
import { pausedProviders, pauseText } from "../../compute/limits/pauses.ts";
import type { Ctx } from "../../ctx.ts";
import { gpu, host } from "../../db/schema/hosts.ts";
import type { Capacity, Gpu, Host } from "../scheduler/types.ts";

/** Why nothing may run at a provider now, by provider. */
export type Stopped = ReadonlyMap<string, string>;

/**
 * All capacity: hosts of the inventory, processes of this machine, and providers of rented machines that must be asked
 * for offers. Hosts come before providers.
 */
export async function readCapacity(ctx: Ctx, stopped: Stopped): Promise<Capacity> {
  const now = ctx.clock.now();
  const paused = await pausedProviders(ctx.db, now);
  const rows = await ctx.db.select().from(host).orderBy(asc(host.provider), asc(host.name), asc(host.id));
  const gpus = await ctx.db
    .select({ hostId: gpu.hostId, uuid: gpu.uuid, model: gpu.model, memoryMb: gpu.memoryMb, shares: gpu.shares })
    .from(gpu)
    .where(isNull(gpu.lostAt))
    .orderBy(gpu.hostId, gpu.position, gpu.uuid);
  const byHost: Map<string, Gpu[]> = Map.groupBy(gpus, (one) => one.hostId);
  const own = { train: ctx.config.train_slots, serve: ctx.config.serve_slots };
  const pools: Record<string, typeof own> = { local: own };
  const hosts: Host[] = [];
  for (const { plugin, provider } of ctx.compute.list()) {
    const mine = rows.filter((row) => row.provider === plugin.id);
    const { local } = plugin.capabilities;
    if (plugin.kind === "process") {
      const [row] = mine;
      hosts.push({
        id: `${plugin.id}.local`,
        provider: plugin.id,
        state: row?.state ?? "ready",
        gpus: [],
        ask: false,
        cpus: availableParallelism(),
        memoryMb: Math.floor(totalmem() / 2 ** 20),
        pool: local ? "local" : null,
      });
    } else if (provider.hosts && mine.length > 0)
      for (const row of mine) {
        const pool = (row.local ?? local) ? "local" : row.id;
        pools[pool] ??= own;
        hosts.push({
          id: row.id,
          provider: plugin.id,
          cpus: row.cpus,
          memoryMb: row.memoryMb,
          pool,
          ask: false,
          state: row.seenAt < now - HEARTBEAT_TIMEOUT_MS ? "silent" : row.state,
          gpus: plugin.capabilities.gpus ? (byHost.get(row.id) ?? []) : [],
        });
      }
    else {
      const pause = paused.get(plugin.id);
      const why = stopped.get(plugin.id) ?? (pause && pauseText(plugin.title, pause));
      hosts.push({
        id: plugin.id,
        provider: plugin.id,
        state: why === undefined ? "ready" : "cordoned",
        ...(why === undefined ? {} : { why }),
        cpus: 0,
        memoryMb: 0,
        gpus: [],
        ask: true,
        ...(plugin.capabilities.priced ? { rented: true } : {}),
        pool: local ? "local" : null,
      });
    }
  }
  return { pools, hosts: [...hosts.filter((one) => !one.ask), ...hosts.filter((one) => one.ask)] };
}
