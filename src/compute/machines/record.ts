/** Which machines cost money at vendors: recorded when one is first seen, followed in price, ended when it is gone. */
import { and, desc, eq, gte, inArray, isNull, sql } from "drizzle-orm";
import type { Handle, MachineCost, OwnedWork, WorkStatus } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { rentedMachine } from "../../db/schema/hosts.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { newId } from "../../lib/ids.ts";
import { type MachineRow, meterMachine } from "./meter.ts";

type AttemptRow = typeof attempt.$inferSelect;

/** The attempt of a launch key. */
const attemptIdOf = (key: string) => key.replace(/^att-/, "att_");

/** A machine as a provider reported it. `asOf`: when the provider was asked. */
interface Seen {
  provider: string;
  key: string;
  cost: MachineCost;
  asOf: number;
}

const openOf = (provider: string) => and(eq(rentedMachine.provider, provider), isNull(rentedMachine.endedAt));

/** Versions before this one metered the provider's charge with the attempt: up to when, by the clock. */
async function meteredBefore(tx: Db, attemptId: string): Promise<number> {
  const [row] = await tx
    .select({ to: sql<number | null>`max(${meterInterval.to})` })
    .from(meterInterval)
    .where(
      and(
        eq(meterInterval.attemptId, attemptId),
        eq(meterInterval.meter, "provider_micros"),
        sql`substr(${meterInterval.source}, 1, length(${attemptId})) = ${attemptId}`,
      ),
    );
  return row?.to ?? 0;
}

/** Since when a machine that is seen for the first time is charged. */
async function chargedFrom(tx: Db, now: number, seen: Seen, of: AttemptRow | undefined): Promise<number> {
  const said = seen.cost.chargedFrom ?? of?.startedAt ?? now;
  // A machine that no list showed until its attempt was over was recorded under the key.
  const names = [seen.cost.machine, seen.key];
  const last = and(eq(rentedMachine.provider, seen.provider), inArray(rentedMachine.machine, names));
  const [before] = await tx.select().from(rentedMachine).where(last).orderBy(desc(rentedMachine.endedAt)).limit(1);
  const known = Math.max(before?.endedAt ?? 0, of ? await meteredBefore(tx, of.id) : 0);
  return Math.min(now, Math.max(said, known));
}

async function addMachine(tx: Db, now: number, seen: Seen): Promise<MachineRow | null> {
  const { provider, key, cost } = seen;
  const [of] = await tx
    .select()
    .from(attempt)
    .where(eq(attempt.id, attemptIdOf(key)))
    .limit(1);
  const price = cost.pricePerHour ?? of?.offer.pricePerHour ?? 0;
  if (!Number.isFinite(price) || price <= 0) return null;
  // It was found gone after this answer was asked for, or its end is known.
  const since = cost.charged === false ? (cost.chargedFrom ?? 0) : seen.asOf;
  const [ended] = await tx
    .select()
    .from(rentedMachine)
    .where(
      and(
        eq(rentedMachine.provider, provider),
        eq(rentedMachine.machine, cost.machine),
        gte(rentedMachine.endedAt, since),
      ),
    )
    .limit(1);
  if (ended) return null;
  const [made] = await tx
    .insert(rentedMachine)
    .values({
      id: newId("machine"),
      provider,
      machine: cost.machine,
      key,
      attemptId: of?.id ?? null,
      gpuModel: of?.offer.gpuName ?? null,
      pricePerHour: price,
      chargedFrom: await chargedFrom(tx, now, seen, of),
    })
    .returning();
  return made ?? null;
}

/** Meters the rest of a machine, which costs nothing any more since `at`. */
async function end(tx: Db, ctx: Ctx, row: MachineRow, at: number): Promise<void> {
  const endedAt = Math.max(row.chargedFrom + row.meteredMs, Math.min(ctx.clock.now(), at));
  await meterMachine(tx, ctx, row, endedAt);
  await tx.update(rentedMachine).set({ endedAt }).where(eq(rentedMachine.id, row.id));
}

const isValid = (price: number | undefined): price is number =>
  price !== undefined && Number.isFinite(price) && price > 0;

/** Whether a report says something new of what is stored. */
function isNews(row: MachineRow | undefined, { pricePerHour: price, charged }: MachineCost): boolean {
  return row ? charged === false || (isValid(price) && price !== row.pricePerHour) : true;
}

/** Stores what a provider reported of a machine; what it cost so far is metered at its price so far. */
async function store(tx: Db, ctx: Ctx, seen: Seen): Promise<void> {
  const { provider, cost } = seen;
  const now = ctx.clock.now();
  const [open] = await tx
    .select()
    .from(rentedMachine)
    .where(and(openOf(provider), eq(rentedMachine.machine, cost.machine)))
    .limit(1);
  const row = open ?? (await addMachine(tx, now, seen));
  if (!row) return;
  const { pricePerHour: price } = cost;
  if (isValid(price) && price !== row.pricePerHour) {
    await meterMachine(tx, ctx, row, now);
    await tx.update(rentedMachine).set({ pricePerHour: price }).where(eq(rentedMachine.id, row.id));
  }
  if (cost.charged !== false) return;
  const [current] = await tx.select().from(rentedMachine).where(eq(rentedMachine.id, row.id));
  if (current) await end(tx, ctx, current, cost.endedAt ?? now);
}

/**
 * Follows the machine of an attempt, as `describe` reports it: since when, until when and for how much it is charged.
 * @param asOf when the provider was asked
 */
export async function followMachine(
  ctx: Ctx,
  which: AttemptRow,
  handle: Handle,
  status: WorkStatus,
  asOf: number,
): Promise<void> {
  if (which.offer.pricePerHour === 0 && !status.pricePerHour) return;
  const machine = status.machine ?? handle.key;
  const mine = and(openOf(which.provider), eq(rentedMachine.attemptId, which.id));
  if (status.state === "absent") {
    const named = Object.values(handle).filter((value) => typeof value === "string");
    const ends = and(mine, inArray(rentedMachine.machine, status.machine ? [status.machine] : named));
    const [any] = await ctx.db.select().from(rentedMachine).where(ends).limit(1);
    if (!any) return;
    return ctx.write(async (tx) => {
      for (const row of await tx.select().from(rentedMachine).where(ends))
        await end(tx, ctx, row, status.endedAt ?? ctx.clock.now());
    });
  }
  const seen = { provider: which.provider, key: handle.key, cost: { ...status, machine }, asOf };
  const [row] = await ctx.db
    .select()
    .from(rentedMachine)
    .where(and(mine, eq(rentedMachine.machine, machine)))
    .limit(1);
  // A launch whose machine is not seen yet may have made none.
  const isUnseen = status.machine === undefined && which.handle === null;
  if (isUnseen || !isNews(row, seen.cost)) return;
  await ctx.write((tx) => store(tx, ctx, seen));
}

/**
 * Ends what an attempt cost, in the transaction that stores that its work is gone. A machine that was never seen costs
 * from the launch that its provider confirmed.
 */
export async function endMachines(tx: Db, ctx: Ctx, which: AttemptRow): Promise<void> {
  const now = ctx.clock.now();
  const mine = await tx.select().from(rentedMachine).where(eq(rentedMachine.attemptId, which.id));
  if (mine.length === 0 && which.startedAt !== null) {
    const { key = which.id.replaceAll("_", "-") } = which.handle ?? {};
    const seen = { provider: which.provider, key, cost: { machine: key }, asOf: now };
    const made = await addMachine(tx, now, seen);
    if (made) mine.push(made);
  }
  for (const row of mine) if (row.endedAt === null) await end(tx, ctx, row, now);
}

/** Ends the machines of a key without an attempt, once the provider confirmed that they are gone. */
export async function endOrphan(ctx: Ctx, provider: string, key: string): Promise<void> {
  await ctx.write(async (tx) => {
    const open = await tx
      .select()
      .from(rentedMachine)
      .where(and(openOf(provider), eq(rentedMachine.key, key)));
    for (const row of open) await end(tx, ctx, row, ctx.clock.now());
  });
}

/**
 * Whether an attempt may still be on a machine that is not listed: `describe` says when its work is over, and a list
 * may lag behind the launch.
 */
async function isInUse(db: Db, row: MachineRow): Promise<boolean> {
  if (row.attemptId === null) return false;
  const [of] = await db.select().from(attempt).where(eq(attempt.id, row.attemptId)).limit(1);
  if (!of || of.goneAt !== null || (row.listed && of.state === "ended")) return false;
  return row.machine === row.key || Object.values(of.handle ?? {}).includes(row.machine);
}

/**
 * Compares the machines of a provider with everything that it listed: new ones are recorded with their cost, those that
 * are no longer listed have ended.
 * @param asOf when the provider was asked
 */
export async function reconcileMachines(
  ctx: Ctx,
  provider: string,
  owned: readonly OwnedWork[],
  asOf: number,
): Promise<void> {
  const open = await ctx.db.select().from(rentedMachine).where(openOf(provider));
  const known = new Map(open.map((row) => [row.machine, row]));
  const listed = new Set<string>();
  const news: Seen[] = [];
  for (const { handle, resource = "machine", machines } of owned) {
    if (resource !== "machine") continue;
    for (const cost of machines ?? [{ machine: handle.key }]) {
      listed.add(cost.machine);
      const seen = { provider, key: handle.key, cost, asOf };
      const row = known.get(cost.machine);
      // Of a provider that reports no costs, `describe` and the end of the attempt say more.
      if ((machines || !row) && (row?.listed === false || isNews(row, cost))) news.push(seen);
    }
  }
  const over: MachineRow[] = [];
  for (const row of open)
    if (!listed.has(row.machine) && !listed.has(row.key) && row.chargedFrom <= asOf && !(await isInUse(ctx.db, row)))
      over.push(row);
  if (news.length + over.length === 0) return;
  await ctx.write(async (tx) => {
    for (const seen of news) await store(tx, ctx, seen);
    const shown = news.map(({ cost }) => cost.machine);
    await tx
      .update(rentedMachine)
      .set({ listed: true })
      .where(and(openOf(provider), inArray(rentedMachine.machine, shown)));
    const ids = over.map(({ id }) => id);
    const gone = await tx
      .select()
      .from(rentedMachine)
      .where(and(inArray(rentedMachine.id, ids), isNull(rentedMachine.endedAt)));
    for (const row of gone) await end(tx, ctx, row, ctx.clock.now());
  });
}
