/** What a vendor announces about a machine of running work: that it takes it back, or that its price changed. */
import { and, eq, isNull } from "drizzle-orm";
import type { WorkStatus } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, command } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { emitAll } from "../../lib/bus.ts";
import { randomChars } from "../../lib/ids.ts";
import { formatExact } from "../../lib/text/format.ts";
import { meterOpen } from "../jobs/metering.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { jobIn, move, note } from "../jobs/transitions.ts";
import { repriceAttempt } from "./budget.ts";

/** Asks a trainer to save and stop with its next reply; a pause that a user asked for becomes this one. */
export async function askToPause(tx: Db, ctx: Ctx, jobId: string): Promise<void> {
  const now = ctx.clock.now();
  await tx
    .update(command)
    .set({ doneAt: now })
    .where(and(eq(command.jobId, jobId), eq(command.type, "pause"), isNull(command.doneAt)));
  await tx.insert(command).values({
    id: `cmd_${randomChars(20)}`,
    jobId,
    type: "pause",
    createdBy: "system",
    createdAt: now,
  });
}

/**
 * True when an ended attempt lost its machine to the vendor: it said so, or a spot machine went without an exit code.
 */
export const wasTakenBack = (which: Pick<AttemptRow, "offer">, status: WorkStatus): boolean =>
  status.preempted === true || (which.offer.market === "spot" && status.exitCode === null);

/**
 * Follows an announcement of the vendor: a training saves its checkpoint and uploads it before the machine goes, then
 * returns to the queue.
 */
export async function followNotice(ctx: Ctx, row: JobRow, status: WorkStatus): Promise<void> {
  const { preemptAt } = status;
  if (preemptAt === undefined || row.kind !== "train" || row.state !== "running") return;
  const message = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state !== "running") return null;
    const moved = await move(tx, ctx, current, "pausing", { yieldFor: "preempted" });
    if (!moved) return null;
    await askToPause(tx, ctx, row.id);
    const when = formatExact(preemptAt);
    await note(tx, ctx, current, `The provider takes the machine back ${when}: the job saves a checkpoint now`, "warn");
    return moved;
  });
  if (message) emitAll(ctx.bus, [message]);
}

/**
 * Meters what a machine cost so far at its old price, and continues at the price that the vendor charges now: budgets
 * and the maximum cost reserve again. A training whose own price limit is below it saves a checkpoint and waits.
 */
export async function followPrice(ctx: Ctx, row: JobRow, which: AttemptRow, status: WorkStatus): Promise<void> {
  const price = status.pricePerHour;
  if (price === undefined || !Number.isFinite(price) || price < 0 || price === which.offer.pricePerHour) return;
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (!current) return [];
    await meterOpen(tx, ctx, current);
    const offer = { ...which.offer, pricePerHour: price };
    await tx
      .update(attempt)
      .set({ offer })
      .where(and(eq(attempt.id, which.id), isNull(attempt.endedAt)));
    const { pricePerHour: before } = which.offer;
    await note(tx, ctx, current, `The machine costs $${price} per hour now; it was $${before}`, "warn");
    await repriceAttempt(tx, ctx, current, { provider: which.provider, offer });
    const most = current.spec.need.max_price_per_hour;
    if (most === null || price <= most || current.kind !== "train" || current.state !== "running") return [];
    const moved = await move(tx, ctx, current, "pausing", { yieldFor: "provider" });
    if (!moved) return [];
    await askToPause(tx, ctx, current.id);
    const why = `that is more than its max_price_per_hour of $${most}`;
    await note(tx, ctx, current, `It saves a checkpoint and waits in the queue: ${why}`, "warn");
    return [moved];
  });
  emitAll(ctx.bus, messages);
  ctx.bus.emit("budget.changed", { org: row.org });
}
