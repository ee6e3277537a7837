/** The GPUs work could be given, by host and kind, as hosts told of them. */
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { gpu, host } from "../../db/schema/hosts.ts";

/** NVIDIA's cards from before bfloat16: Turing, Volta and older. */
const NO_BF16 = /\b(T4|T4G|V100|P100|P40|P4|M60|M40|K80|GTX|TITAN|RTX 20[678]0|Quadro)\b/i;

/** Cards of one kind in one host: so many can work together. */
export interface CardGroup {
  count: number;
  memoryMb: number;
  /** Multiplies bfloat16 natively. */
  bf16: boolean;
  /** Jobs that may hold one of them at once. */
  shares: number;
  /** In the server's own machine. */
  local: boolean;
}

/** GPUs of ready hosts of `provider`, or of every provider that gives GPUs; a slice of a card works alone. */
export async function cardsOf(ctx: Ctx, provider: string | null): Promise<CardGroup[]> {
  const giving = ctx.compute
    .list()
    .filter(({ plugin }) => plugin.capabilities.gpus && (provider === null || plugin.id === provider))
    .map(({ plugin }) => plugin);
  if (giving.length === 0) return [];
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
          giving.map(({ id }) => id),
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
    local: local ?? giving.find(({ id }) => id === provider)?.capabilities.local ?? false,
  }));
}
