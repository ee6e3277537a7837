/** What is used, reserved and left of budgets now: recorded use, and use of running work that no interval has yet. */
import { and, eq, sql } from "drizzle-orm";
import { budget, budgetHold, budgetUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { amountOf } from "../meters/money.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import { appliesTo, type BudgetRow } from "./scopes.ts";

const SECONDS_PER_HOUR = 3600;

/** Money and GPU time, both in whole units. */
export interface Amounts {
  micros: number;
  gpuSeconds: number;
}

const NOTHING: Amounts = { micros: 0, gpuSeconds: 0 };
const plus = (a: Amounts, b: Amounts): Amounts => ({
  micros: a.micros + b.micros,
  gpuSeconds: a.gpuSeconds + b.gpuSeconds,
});

/** What an hour of work costs, in micro-dollars, and its GPUs. */
export interface Pace {
  microsPerHour: number;
  gpus: number;
}

/** What work of this pace uses in a number of seconds, rounded up. */
export function usedIn({ microsPerHour, gpus }: Pace, seconds: number): Amounts {
  const whole = Math.ceil(seconds);
  return { micros: amountOf(whole, microsPerHour, SECONDS_PER_HOUR), gpuSeconds: whole * gpus };
}

/** The reservation of running work. */
export type Hold = typeof budgetHold.$inferSelect & {
  /** Used since the last interval that was recorded. */
  pending: Amounts;
  /** The part of that since the current month began: the rest belongs to the previous one. */
  pendingThisMonth: Amounts;
  /** What is reserved beyond that. */
  rest: Amounts;
};

/** A budget in its current period. */
export interface BudgetState {
  row: BudgetRow;
  /** `2026-11`, or `total`. */
  period: string;
  /** The highest threshold in percent that was announced. */
  notified: number;
  /** Recorded and pending. */
  used: Amounts;
  reserved: Amounts;
}

/** The holds of an organization, or of all of them, oldest first. */
export async function readHolds(db: Db, now: number, org?: string): Promise<Hold[]> {
  const recordedTo = sql<number | null>`(select m.to_ms from meter_interval m where m.job_id = budget_hold.job_id
    and m.meter in ('gpu_seconds', 'cpu_seconds') order by m.from_ms desc limit 1)`;
  const rows = await db
    .select({ hold: budgetHold, recordedTo })
    .from(budgetHold)
    .where(org === undefined ? undefined : eq(budgetHold.org, org))
    .orderBy(budgetHold.createdAt, budgetHold.jobId);
  return rows.map(({ hold, recordedTo: to }) => {
    const from = hold.chargedFrom === null ? now : Math.max(hold.chargedFrom, to ?? 0);
    const pending = usedIn(hold, Math.max(0, now - from) / 1000);
    const began = Math.max(from, monthRange(monthAt(now)).from);
    return {
      ...hold,
      pending,
      pendingThisMonth: usedIn(hold, Math.max(0, now - began) / 1000),
      rest: {
        micros: Math.max(0, hold.micros - pending.micros),
        gpuSeconds: Math.max(0, hold.gpuSeconds - pending.gpuSeconds),
      },
    };
  });
}

/** Whom a hold belongs to. */
const scopesOf = ({ org, userId, keyId, jobId, sweepId }: Hold) => ({ org, userId, keyId, jobId, sweepId });

/** The running work that a budget applies to, oldest first. */
export const holdsOf = (row: BudgetRow, holds: readonly Hold[]): Hold[] =>
  holds.filter((hold) => appliesTo(row, scopesOf(hold)));

/** Budgets with what counts against them now. @param org only of this organization */
export async function readBudgets(
  db: Db,
  now: number,
  holds: readonly Hold[],
  which: ReturnType<typeof and> = undefined,
): Promise<BudgetState[]> {
  const period = sql<string>`case ${budget.period} when 'total' then 'total' else ${monthAt(now)} end`;
  const rows = await db
    .select({ row: budget, period, use: budgetUse })
    .from(budget)
    .leftJoin(budgetUse, and(eq(budgetUse.budgetId, budget.id), eq(budgetUse.period, period)))
    .where(which)
    .orderBy(budget.createdAt, budget.id);
  return rows.map(({ row, period: current, use }) => {
    const running = holdsOf(row, holds);
    return {
      row,
      period: current,
      notified: use?.notified ?? 0,
      used: running.reduce((sum, one) => plus(sum, current === "total" ? one.pending : one.pendingThisMonth), {
        micros: use?.micros ?? 0,
        gpuSeconds: use?.gpuSeconds ?? 0,
      }),
      reserved: running.reduce((sum, one) => plus(sum, one.rest), NOTHING),
    };
  });
}

/** What is left of each limit, reserved amounts taken off; negative when it is exceeded, null without a limit. */
export function leftOf({ row, used, reserved }: BudgetState): { micros: number | null; gpuSeconds: number | null } {
  const spoken = plus(used, reserved);
  return {
    micros: row.limitMicros === null ? null : row.limitMicros - spoken.micros,
    gpuSeconds: row.limitGpuSeconds === null ? null : row.limitGpuSeconds - spoken.gpuSeconds,
  };
}

/** The use in percent of the limit that is nearer, at most 100 while something is left. */
export function percentUsed({ row, used }: BudgetState): number {
  const of = (part: number, limit: number | null) =>
    limit === null ? 0 : part >= limit ? 100 : Math.floor((part / limit) * 100);
  return Math.max(of(used.micros, row.limitMicros), of(used.gpuSeconds, row.limitGpuSeconds));
}
