/**
 * Usage by team: intervals are read once, and then only those that were added. Fair share gives older usage less
 * weight; quotas count the calendar month.
 */
import { sql } from "drizzle-orm";
import { meterInterval } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { CPU_WEIGHT } from "../scheduler/order.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Days after which usage counts half. */
const HALF_LIFE_DAYS = 7;
/** Older usage is ignored: it counts less than 1/200. */
const KEEP_DAYS = 8 * HALF_LIFE_DAYS;

/** First moment of the calendar month (UTC) of `at`, or of the month that is `after` months later. */
export function monthOf(at: number, after = 0): number {
  const date = new Date(at);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + after, 1);
}

/** GPU-hours by organization. Work without GPUs counts a little toward fair share and nothing toward quotas. */
export interface UsageBook {
  /** Last interval that was read. */
  row: number;
  month: number;
  days: Map<string, Map<number, number>>;
  months: Map<string, number>;
}

export const newUsageBook = (): UsageBook => ({ row: 0, month: 0, days: new Map(), months: new Map() });

interface Line {
  row: number;
  org: string;
  /** 1 for work with GPUs. */
  gpu: 0 | 1;
  from: number;
  to: number;
  /** GPU-seconds, or core-seconds; negative when lost work is taken back. */
  quantity: number;
}

function add(book: UsageBook, { org, gpu, from, to, quantity }: Line): void {
  const days = book.days.get(org) ?? new Map<number, number>();
  book.days.set(org, days);
  const day = Math.floor(to / DAY);
  const hours = gpu ? (quantity * 1000) / HOUR : (Math.sign(quantity) * CPU_WEIGHT * (to - from)) / HOUR;
  days.set(day, (days.get(day) ?? 0) + hours);
  if (!gpu) return;
  // Rows of earlier versions may begin in an earlier month: only the part in this month counts.
  const share = to > from ? Math.max(0, to - Math.max(book.month, from)) / (to - from) : 0;
  book.months.set(org, (book.months.get(org) ?? 0) + hours * share);
}

/** Reads what was added to the ledger since the last call, or everything when a new month began. */
export async function readUsage(db: Db, book: UsageBook, now: number): Promise<void> {
  const month = monthOf(now);
  if (book.month !== month) Object.assign(book, { ...newUsageBook(), month });
  const oldest = Math.min(now - KEEP_DAYS * DAY, month);
  for (;;) {
    const { n, org, meter, from, to, quantity } = meterInterval;
    const lines = await db.all<Line>(sql`select ${n} as "row", ${org} as "org", ${meter} = 'gpu_seconds' as "gpu",
      ${from} as "from", ${to} as "to", ${quantity} as "quantity" from ${meterInterval}
      where ${n} > ${book.row} and ${meter} in ('gpu_seconds', 'cpu_seconds') and ${to} >= ${oldest}
      order by ${n} limit 10000`);
    for (const line of lines) add(book, line);
    book.row = lines.at(-1)?.row ?? book.row;
    if (lines.length < 10_000) return;
  }
}

/** A team's usage with exponential decay: half the weight after one week, a quarter after two. */
export function decayed(book: UsageBook, org: string, now: number): number {
  let sum = 0;
  for (const [day, hours] of book.days.get(org) ?? []) {
    const age = Math.max(0, now / DAY - (day + 0.5));
    sum += hours * 2 ** (-age / HALF_LIFE_DAYS);
  }
  return sum;
}
