/** The energy of a part of an attempt: sampled power of its GPUs, and an estimate for its CPU cores. */
import { and, eq, gte, lt, sql } from "drizzle-orm";
import { billingSettings } from "../../billing/settings/service.ts";
import type { Ctx } from "../../ctx.ts";
import { gpu, gpuAllocation, hostSample } from "../../db/schema/hosts.ts";
import type { Db } from "../../db/types.ts";

/** Mean watts of the GPUs that an attempt holds; a GPU that several attempts share is divided among them. */
async function gpuWatts(tx: Db, attemptId: string, from: number, to: number): Promise<number> {
  const held = await tx
    .select({
      uuid: gpuAllocation.gpuUuid,
      last: gpu.powerW,
      users: sql<number>`(select count(*) from ${gpuAllocation} o where o.gpu_uuid = ${gpuAllocation}.gpu_uuid)`,
    })
    .from(gpuAllocation)
    .leftJoin(gpu, eq(gpu.uuid, gpuAllocation.gpuUuid))
    .where(eq(gpuAllocation.attemptId, attemptId));
  let watts = 0;
  for (const { uuid, last, users } of held) {
    const [sampled] = await tx
      .select({ mean: sql<number | null>`avg(${hostSample.powerW})` })
      .from(hostSample)
      .where(and(eq(hostSample.source, uuid), gte(hostSample.at, from), lt(hostSample.at, to)));
    watts += (sampled?.mean ?? last ?? 0) / Math.max(1, users);
  }
  return watts;
}

/**
 * Whole joules of an attempt between two times in milliseconds since 1970. A GPU whose driver reports no power, as a
 * slice of one, counts nothing.
 */
export async function joulesOf(
  tx: Db,
  ctx: Ctx,
  of: { attemptId: string; gpus: number; cores: number },
  { from, to }: { from: number; to: number },
): Promise<number> {
  const { cpu_watts_per_core: perCore } = await billingSettings(ctx);
  const watts = perCore * of.cores + (of.gpus > 0 ? await gpuWatts(tx, of.attemptId, from, to) : 0);
  return Math.round((watts * (to - from)) / 1000);
}
