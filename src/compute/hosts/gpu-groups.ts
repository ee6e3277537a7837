/** The GPUs that jobs can use, grouped by host and model. */
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { gpu, host } from "../../db/schema/hosts.ts";

/** NVIDIA GPUs without bfloat16: Turing, Volta and older. */
const NO_BF16 = /\b(T4|T4G|V100|P100|P40|P4|M60|M40|K80|GTX|TITAN|RTX 20[678]0|Quadro)\b/i;

/** GPUs of the same model in one host; `count` of them can work together. */
export interface GpuGroup {
  count: number;
  memoryMb: number;
  /** Multiplies bfloat16 natively. */
  bf16: boolean;
  /** Number of jobs that can share one of the GPUs. */
  shares: number;
  /** True for GPUs of the server's own machine. */
  local: boolean;
}

/** GPUs of ready hosts of `provider`, or of all providers with GPUs. MIG slices cannot work together. */
export async function gpuGroups(ctx: Ctx, provider: string | null): Promise<GpuGroup[]> {
  const plugins = ctx.compute
    .list()
    .filter(({ plugin }) => plugin.capabilities.gpus && (provider === null || plugin.id === provider))
    .map(({ plugin }) => plugin);
  if (plugins.length === 0) return [];
  const rows = await ctx.db
    .select({
      provider: host.provider,
      local: host.local,
      model: gpu.model,
      memoryMb: gpu.memoryMb,
      slice: gpu.parent,
      count: sql<number>`count(*)`,
      shares: sql<number>`max(${gpu.shares})`,
    })
    .from(gpu)
    .innerJoin(host, eq(host.id, gpu.hostId))
    .where(
      and(
        inArray(
          host.provider,
          plugins.map(({ id }) => id),
        ),
        eq(host.state, "ready"),
        isNull(gpu.lostAt),
      ),
    )
    .groupBy(gpu.hostId, gpu.model, gpu.memoryMb, gpu.parent);
  return rows.map(({ provider, local, model, memoryMb, slice, count, shares }) => ({
    count: slice === null ? count : 1,
    memoryMb,
    bf16: !NO_BF16.test(model),
    shares,
    local: local ?? plugins.find(({ id }) => id === provider)?.capabilities.local ?? false,
  }));
}
