/** Takes back what an attempt used after its last complete checkpoint, when that work is lost and not by its user. */
import { and, eq, gt, inArray, isNull, sql } from "drizzle-orm";
import { reverseUse } from "../../billing/ledger/record.ts";
import type { MeterName } from "../../billing/meters/meters.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { artifact } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import { isOurs } from "./failures.ts";
import { sweepOf } from "./metering.ts";
import type { JobRow } from "./model.ts";

/** Meters of work. What a provider charges this installation stays as it is. */
const WORK: MeterName[] = ["gpu_seconds", "cpu_seconds", "training_tokens"];

/** When the last complete checkpoint of an attempt arrived, in milliseconds since 1970; 0 = there is none. */
async function savedAt(tx: Db, attemptId: string): Promise<number> {
  const [saved] = await tx
    .select({ at: sql<number | null>`max(coalesce(${artifact.completedAt}, ${artifact.createdAt}))` })
    .from(artifact)
    .where(
      and(
        eq(artifact.attemptId, attemptId),
        eq(artifact.kind, "checkpoint"),
        // A checkpoint that a newer one replaced was complete too.
        inArray(artifact.status, ["complete", "deleted"]),
      ),
    );
  return saved?.at ?? 0;
}

/**
 * Reverses the use of an ended attempt that is lost. Endpoints lose nothing: their requests were answered.
 * @param ended its outcome: `succeeded`, `cancelled`, `paused`, or a reason of failure
 */
export async function takeBackLost(
  tx: Db,
  now: number,
  row: JobRow,
  ended: { id: string; outcome: string },
): Promise<void> {
  if (row.kind === "serve" || !isOurs(ended.outcome)) return;
  const since = await savedAt(tx, ended.id);
  const rows = await tx
    .select({ source: meterInterval.source, quantity: meterInterval.quantity, reason: meterInterval.freeReason })
    .from(meterInterval)
    .where(
      and(
        eq(meterInterval.attemptId, ended.id),
        inArray(meterInterval.meter, WORK),
        isNull(meterInterval.reverses),
        gt(meterInterval.to, since),
      ),
    );
  const sweepId = await sweepOf(tx, row);
  for (const { source, quantity, reason } of rows) {
    if (quantity === 0 || (reason !== null && reason !== "allowance")) continue;
    await reverseUse(tx, now, { source, since, why: "lost", sweepId });
  }
}
