/**
 * Meters what vendors charge for each machine, from its first second until it is gone: intervals within an hour of the
 * clock, for the job whose attempt it runs, or for the installation. Customers never pay them.
 */
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import { recordUse } from "../../billing/ledger/record.ts";
import { MICROS, usdOf } from "../../billing/meters/money.ts";
import type { Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { rentedMachine } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";

const HOUR_MS = 3_600_000;
const SHORTEST_MS = 30_000;
const LONGEST_MS = 600_000;

export type MachineRow = typeof rentedMachine.$inferSelect;

/** Micro-dollars of the first `ms` at a price: of neighbors, nothing is lost by rounding. */
const chargedFor = (row: MachineRow, ms: number) => Math.floor((Math.round(row.pricePerHour * MICROS) * ms) / HOUR_MS);

/** Whose cost a machine is: that of the job of its attempt, or of the installation. */
async function ownerOf(tx: Db, row: MachineRow) {
  const [found] = row.attemptId
    ? await tx
        .select({ job })
        .from(attempt)
        .innerJoin(job, eq(job.id, attempt.jobId))
        .where(eq(attempt.id, row.attemptId))
        .limit(1)
    : [];
  if (!found) return { org: "", userId: null, keyId: null, kind: "machine" as const, jobId: null, model: null };
  const { id, org, createdBy, keyId, kind, spec } = found.job;
  return { org, userId: createdBy, keyId, kind, jobId: id, model: spec.base_model.id };
}

/** Meters a machine up to a time. Repeated for the same time, it changes nothing. */
export async function meterMachine(tx: Db, ctx: Ctx, given: MachineRow, until: number): Promise<void> {
  const [row] = await tx.select().from(rentedMachine).where(eq(rentedMachine.id, given.id)).limit(1);
  if (!row || row.endedAt !== null) return;
  const to = until - row.chargedFrom;
  if (to <= row.meteredMs) return;
  const owner = await ownerOf(tx, row);
  for (let from = row.meteredMs; from < to; ) {
    const hour = (Math.floor((row.chargedFrom + from) / HOUR_MS) + 1) * HOUR_MS - row.chargedFrom;
    const next = Math.min(to, hour);
    await recordUse(tx, ctx.clock.now(), {
      ...owner,
      source: `${row.id} provider_micros ${from}`,
      meter: "provider_micros",
      attemptId: owner.jobId === null ? null : row.attemptId,
      deploymentId: null,
      sweepId: null,
      provider: row.provider,
      gpuModel: row.gpuModel,
      from: row.chargedFrom + from,
      to: row.chargedFrom + next,
      quantity: chargedFor(row, next) - chargedFor(row, from),
      free: null,
      costMicros: null,
    });
    from = next;
  }
  await tx.update(rentedMachine).set({ meteredMs: to }).where(eq(rentedMachine.id, row.id));
}

/**
 * Whether something that runs since `from` is due: after half a minute at first, later after 1/60 of its time (at most
 * ten minutes), so that an endpoint does not fill the table; and when an hour of the clock has ended.
 */
export function isDue(from: number, meteredMs: number, now: number): boolean {
  const elapsed = now - from;
  const pause = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, elapsed / 60));
  return elapsed - meteredMs >= pause || Math.floor(now / HOUR_MS) > Math.floor((from + meteredMs) / HOUR_MS);
}

/**
 * Meters every machine that is due, each in a transaction of its own.
 * @param all also those that are not due
 */
export async function meterMachines(ctx: Ctx, all = false): Promise<void> {
  const open = await ctx.db.select().from(rentedMachine).where(isNull(rentedMachine.endedAt));
  for (const row of open) {
    const now = ctx.clock.now();
    if (all || isDue(row.chargedFrom, row.meteredMs, now)) await ctx.write((tx) => meterMachine(tx, ctx, row, now));
  }
}

/** The machines of a provider that cost money now. */
export const openMachines = (db: Db, provider: string): Promise<MachineRow[]> =>
  db
    .select()
    .from(rentedMachine)
    .where(and(eq(rentedMachine.provider, provider), isNull(rentedMachine.endedAt)));

/** What open machines of a provider cost since the last interval that is recorded, in micro-dollars. */
export async function unrecorded(db: Db, provider: string, now: number, since: number): Promise<number> {
  return (await openMachines(db, provider)).reduce((sum, row) => {
    const from = Math.max(since, row.chargedFrom + row.meteredMs);
    return sum + (Math.max(0, now - from) / HOUR_MS) * row.pricePerHour * MICROS;
  }, 0);
}

/** What the machines of attempts cost until now, in US dollars, by attempt. */
export async function costOfAttempts(ctx: Ctx, ids: readonly string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map();
  const recorded = await ctx.db
    .select({ id: meterInterval.attemptId, micros: sql<number>`sum(${meterInterval.quantity})` })
    .from(meterInterval)
    .where(and(inArray(meterInterval.attemptId, [...ids]), eq(meterInterval.meter, "provider_micros")))
    .groupBy(meterInterval.attemptId);
  const costs = new Map(recorded.map(({ id, micros }) => [id ?? "", usdOf(micros)]));
  const open = await ctx.db
    .select()
    .from(rentedMachine)
    .where(and(inArray(rentedMachine.attemptId, [...ids]), isNull(rentedMachine.endedAt)));
  for (const row of open) {
    const pending = Math.max(0, ctx.clock.now() - row.chargedFrom - row.meteredMs);
    const id = row.attemptId ?? "";
    costs.set(id, (costs.get(id) ?? 0) + (pending / HOUR_MS) * row.pricePerHour);
  }
  return costs;
}
