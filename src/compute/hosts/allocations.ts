/** Who holds which GPU: our own table by UUID, because Docker keeps none; its key keeps two jobs off one share. */
import { and, eq, inArray, isNotNull, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { gpu, gpuAllocation, host } from "../../db/schema/hosts.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { SILENT_MS } from "./inventory.ts";

interface FreeGpu {
  uuid: string;
  model: string;
  memoryMb: number;
  /** Shares nobody holds. */
  free: number;
}

/** GPUs with room, by host: ready hosts that answer, cards that are there. */
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
    .where(and(isNull(gpu.lostAt), eq(host.state, "ready"), sql`${host.seenAt} > ${ctx.clock.now() - SILENT_MS}`))
    .orderBy(gpu.hostId, gpu.position);
  const found = new Map<string, FreeGpu[]>();
  for (const { hostId, ...one } of rows) if (one.free > 0) found.set(hostId, [...(found.get(hostId) ?? []), one]);
  return found;
}

/**
 * Gives every GPU in `uuids` to the attempt, or none of them.
 * @throws AppError `gpu_taken` when one has no share left
 */
export async function allocateGpus(
  tx: Db,
  now: number,
  owner: { attemptId: string; jobId: string },
  uuids: readonly string[],
): Promise<void> {
  for (const uuid of uuids) {
    const [card] = await tx.select({ shares: gpu.shares }).from(gpu).where(eq(gpu.uuid, uuid));
    const held = await tx
      .select({ share: gpuAllocation.share })
      .from(gpuAllocation)
      .where(eq(gpuAllocation.gpuUuid, uuid));
    const taken = new Set(held.map((one) => one.share));
    const share = Array.from({ length: card?.shares ?? 0 }, (_, n) => n).find((n) => !taken.has(n));
    if (share === undefined)
      throw new AppError("conflict", "gpu_taken", `GPU ${uuid} is held by another job; this one waits for it.`);
    await tx.insert(gpuAllocation).values({ gpuUuid: uuid, share, ...owner, createdAt: now });
  }
}

/** Lets go of everything the attempt holds. */
export async function releaseGpus(tx: Db, attemptId: string): Promise<void> {
  await tx.delete(gpuAllocation).where(eq(gpuAllocation.attemptId, attemptId));
}

/**
 * Makes the table agree with the world: allocations of attempts that are gone are let go, and what the labels of living
 * work say it holds is entered again, so that no second job can be put beside it.
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
        // It runs there whatever the table says: it gets a share of its own, beyond the card's number if need be.
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
