/** Records what was used in an interval: quantity, price, free allowance, ledger and budgets in one transaction. */
import { eq } from "drizzle-orm";
import { meterInterval } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { countUse } from "../budgets/count.ts";
import { METERS, type MeterName } from "../meters/meters.ts";
import { amountOf } from "../meters/money.ts";
import { monthAt } from "../meters/months.ts";
import { returnAllowance, takeAllowance } from "../prices/allowances.ts";
import { listsAt, listsOfJob } from "../prices/lists.ts";
import { rateOf } from "../prices/rate.ts";
import { book } from "./entries.ts";

/** A price for one priced unit; without a list it is what the provider charges. */
interface Rate {
  priceListId: string | null;
  unitMicros: number;
}

/** One use. Times in milliseconds since 1970, within one calendar month (UTC); `to` is exclusive. */
export interface Use {
  /** Unique: what it measures and where it begins. */
  source: string;
  /** Empty = the installation itself: on no statement. */
  org: string;
  userId: string | null;
  keyId: string | null;
  kind: "train" | "evaluate" | "serve" | "export" | "storage" | "inference" | "grade" | "machine";
  meter: MeterName;
  jobId: string | null;
  attemptId: string | null;
  deploymentId: string | null;
  sweepId: string | null;
  model: string | null;
  provider: string | null;
  gpuModel: string | null;
  from: number;
  to: number;
  /** Whole units of the meter. */
  quantity: number;
  /** Why all of it is free; null = charged, as far as no allowance covers it. */
  free: string | null;
  /**
   * What the provider charges for one GPU-hour (core-hour without GPUs), in micro-dollars; null = own machines. Without
   * a price list it is the price.
   */
  costMicros: number | null;
}

const scopesOf = ({ org, userId, keyId, jobId, sweepId }: Use) => ({ org, userId, keyId, jobId, sweepId });
const gpuSecondsOf = (meter: MeterName, quantity: number) => (meter === "gpu_seconds" ? quantity : 0);

/** The price of a use, and the units that an allowance covers. Without any list work costs its provider's price. */
async function priceOf(tx: Db, use: Use): Promise<{ rate: Rate | null; allowed: number }> {
  if (METERS[use.meter].priced === null) return { rate: null, allowed: 0 };
  const lists = (use.jobId && (await listsOfJob(tx, use.jobId))) || (await listsAt(tx, use.org, use.from));
  const listed = rateOf(lists, use);
  const unlisted = lists.org === null && lists.base === null && use.costMicros !== null;
  const rate = listed ?? (unlisted ? { priceListId: null, unitMicros: use.costMicros ?? 0 } : null);
  if (listed === null || use.free !== null) return { rate, allowed: 0 };
  return { rate, allowed: await takeAllowance(tx, lists, { ...use, month: monthAt(use.from) }) };
}

/**
 * Records a use at the prices that its job was started with, or those in force when it began. A second call for the
 * same source changes nothing.
 * @returns false when it had been recorded
 */
export async function recordUse(tx: Db, now: number, use: Use): Promise<boolean> {
  if (!Number.isSafeInteger(use.quantity) || use.quantity < 0 || use.to < use.from)
    throw new Error(`${use.source} has the quantity ${use.quantity} from ${use.from} to ${use.to}`);
  const [known] = await tx
    .select({ n: meterInterval.n })
    .from(meterInterval)
    .where(eq(meterInterval.source, use.source))
    .limit(1);
  if (known) return false;
  const { rate, allowed } = await priceOf(tx, use);
  const free = use.free === null ? allowed : use.quantity;
  const per = METERS[use.meter].priced?.per ?? 1;
  const micros = rate && use.free === null ? amountOf(use.quantity - free, rate.unitMicros, per) : 0;
  const { costMicros: _cost, sweepId: _sweep, free: why, ...row } = use;
  await tx.insert(meterInterval).values({
    ...row,
    free,
    freeReason: why ?? (allowed > 0 ? "allowance" : null),
    priceListId: rate?.priceListId ?? null,
    unitMicros: rate?.unitMicros ?? 0,
    micros,
    at: now,
    statementId: use.org === "" ? "legacy" : null,
  });
  await book(tx, { name: `use ${use.source}`, org: use.org, at: now }, { unbilled: micros, revenue: -micros });
  await countUse(tx, scopesOf(use), { at: use.from, micros, gpuSeconds: gpuSecondsOf(use.meter, use.quantity) });
  return true;
}

/**
 * Takes back the part of a recorded use from `since` on, because the work in it is lost; the original row stays. A
 * second call for the same source changes nothing.
 * @param since milliseconds since 1970; at or before the beginning = all of it
 * @returns the quantity that was taken back
 */
export async function reverseUse(
  tx: Db,
  now: number,
  { source, since, why, sweepId }: { source: string; since: number; why: string; sweepId: string | null },
): Promise<number> {
  const name = `${source} reversed`;
  const [row] = await tx.select().from(meterInterval).where(eq(meterInterval.source, source)).limit(1);
  const [known] = await tx
    .select({ n: meterInterval.n })
    .from(meterInterval)
    .where(eq(meterInterval.source, name))
    .limit(1);
  if (!row || known || since >= row.to) return 0;
  const from = Math.max(since, row.from);
  const whole = from === row.from;
  const share = (total: number) => (whole ? total : amountOf(total, row.to - from, row.to - row.from));
  const [quantity, free, micros] = [share(row.quantity), share(row.free), share(row.micros)];
  const { n: _n, statementId: _statement, ...same } = row;
  await tx.insert(meterInterval).values({
    ...same,
    source: name,
    from,
    quantity: -quantity,
    free: -free,
    micros: -micros,
    reverses: source,
    reversedFor: why,
    at: now,
  });
  const meter = row.meter as MeterName;
  if (row.freeReason === "allowance")
    await returnAllowance(tx, { org: row.org, month: monthAt(row.from), meter, quantity: free });
  await book(tx, { name: `use ${name}`, org: row.org, at: now }, { unbilled: -micros, revenue: micros });
  await countUse(
    tx,
    { ...row, sweepId },
    { at: row.from, micros: -micros, gpuSeconds: -gpuSecondsOf(meter, quantity) },
  );
  return quantity;
}
