/**
 * Allocations of GPUs to attempts, in a table by UUID, because Docker does not track them. The table's key prevents two
 * jobs on one share.
 */
import { and, eq, inArray, isNotNull, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { gpu, gpuAllocation, host } from "../../db/schema/hosts.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { HEARTBEAT_TIMEOUT_MS } from "./inventory.ts";

interface FreeGpu {
  uuid: string;
  model: string;
  memoryMb: number;
  /** Free shares. */
  free: number;
}

/** GPUs with free shares by host id: present GPUs of ready hosts with a recent heartbeat. */
export async function freeGpus(ctx: Ctx, db: Db = ctx.db): Promise<Map<string, FreeGpu[]>> {
  const rows = await db
    .select({
      hostId: gpu.hostId,
      uuid: gpu.uuid,
      model: gpu.model,
      memoryMb: gpu.memoryMb,
      free: sql<number>`${gpu.shares} - (select count(*) from ${gpuAllocation} where ${gpuAllocation.gpuUuid} = ${gpu.uuid})`,
    })
    .from(gpu)
    .innerJoin(host, eq(host.id, gpu.hostId))
    .where(
      and(isNull(gpu.lostAt), eq(host.state, "ready"), sql`${host.seenAt} > ${ctx.clock.now() - HEARTBEAT_TIMEOUT_MS}`),
    )
    .orderBy(gpu.hostId, gpu.position);
  const found = new Map<string, FreeGpu[]>();
  for (const { hostId, ...one } of rows) if (one.free > 0) found.set(hostId, [...(found.get(hostId) ?? []), one]);
  return found;
}

/**
 * Allocates a share of every GPU in `uuids` to the attempt, or of none.
 * @throws AppError `gpu_taken` when a GPU has no free share
 */
export async function allocateGpus(
  tx: Db,
  now: number,
  owner: { attemptId: string; jobId: string },
  uuids: readonly string[],
): Promise<void> {
  for (const uuid of uuids) {
    const [row] = await tx.select({ shares: gpu.shares }).from(gpu).where(eq(gpu.uuid, uuid));
    const held = await tx
      .select({ share: gpuAllocation.share })
      .from(gpuAllocation)
      .where(eq(gpuAllocation.gpuUuid, uuid));
    const taken = new Set(held.map((one) => one.share));
    const share = Array.from({ length: row?.shares ?? 0 }, (_, n) => n).find((n) => !taken.has(n));
    if (share === undefined)
      throw new AppError("conflict", "gpu_taken", `GPU ${uuid} is in use by another job. This job waits for it.`);
    await tx.insert(gpuAllocation).values({ gpuUuid: uuid, share, ...owner, createdAt: now });
  }
}

/** Releases all GPUs of the attempt. */
export async function releaseGpus(tx: Db, attemptId: string): Promise<void> {
  await tx.delete(gpuAllocation).where(eq(gpuAllocation.attemptId, attemptId));
}

/**
 * Reconciles the table with reality: releases allocations of terminated attempts, and re-enters the GPUs that the
 * labels of running work name, so that no second job gets them.
 */
export async function reconcileAllocations(
  ctx: Ctx,
  owned: readonly { attemptId: string; gpus: readonly string[] }[],
): Promise<{ released: number; entered: number }> {
  return ctx.write(async (tx) => {
    const gone = tx.select({ id: attempt.id }).from(attempt).where(isNotNull(attempt.goneAt));
    const released = await tx
      .delete(gpuAllocation)
      .where(inArray(gpuAllocation.attemptId, gone))
      .returning({ uuid: gpuAllocation.gpuUuid });
    let entered = 0;
    for (const work of owned) {
      const [row] = await tx
        .select({ id: attempt.id, jobId: attempt.jobId })
        .from(attempt)
        .where(and(eq(attempt.id, work.attemptId), isNull(attempt.goneAt)));
      if (!row) continue;
      for (const uuid of work.gpus) {
        const held = await tx
          .select({ attemptId: gpuAllocation.attemptId, share: gpuAllocation.share })
          .from(gpuAllocation)
          .where(eq(gpuAllocation.gpuUuid, uuid));
        if (held.some((one) => one.attemptId === row.id)) continue;
        // The work already runs, so it gets a share of its own, even beyond the number of shares of the GPU.
        const share = 1 + Math.max(-1, ...held.map((one) => one.share));
        await tx
          .insert(gpuAllocation)
          .values({ gpuUuid: uuid, share, attemptId: row.id, jobId: row.jobId, createdAt: ctx.clock.now() });
        entered++;
      }
    }
    return { released: released.length, entered };
  });
}
