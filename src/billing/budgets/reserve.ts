/**
 * Reserves what work that starts uses at most, so that work at the same time cannot each spend what is left. The end of
 * the attempt releases it, in the same transaction.
 */
import { eq } from "drizzle-orm";
import { budgetHold } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { type MaxCost, maxCostsOf } from "./max-cost.ts";
import { appliesTo, type BudgetScopes, whereApplies } from "./scopes.ts";
import {
  type Amounts,
  type BudgetState,
  type Hold,
  leftOf,
  type Pace,
  readBudgets,
  readHolds,
  usedIn,
} from "./state.ts";
import { moneyText, shortText } from "./texts.ts";

/** Work of a job. */
export interface Work extends BudgetScopes {
  jobId: string;
  userId: string;
}

/** What it may use: seconds at most, and until its next checkpoint. */
export interface Wanted extends Pace {
  seconds: number;
  leastSeconds: number;
}

/** Why a job waits at its maximum cost. */
const maxCostText = ({ micros, used }: MaxCost): string =>
  `a higher maximum cost: ${moneyText(used)} of ${moneyText(micros)} used. Raise it on the job's page`;

/** What has to be reserved, at most what is left of the maximum cost; a text when no checkpoint fits in that. */
function amountsOf(wanted: Wanted, max: MaxCost | null): Amounts | string {
  const amounts = usedIn(wanted, wanted.seconds);
  if (max === null || wanted.microsPerHour === 0) return amounts;
  const left = max.micros - max.used;
  if (left <= 0 || usedIn(wanted, wanted.leastSeconds).micros > left) return maxCostText(max);
  if (amounts.micros <= left) return amounts;
  return { micros: left, gpuSeconds: Math.ceil((wanted.gpus * left * 3600) / wanted.microsPerHour) };
}

/** The first budget in which the amounts do not fit, as a text; null = they fit. */
function shortOf(states: readonly BudgetState[], amounts: Amounts): string | null {
  for (const state of states) {
    const left = leftOf(state);
    for (const unit of ["micros", "gpuSeconds"] as const) {
      const rest = left[unit];
      // Work that costs nothing runs, whatever is left.
      if (rest !== null && amounts[unit] > 0 && amounts[unit] > rest)
        return shortText(state, unit, amounts[unit], rest);
    }
  }
  return null;
}

const waiting = (text: string) => `Waiting for ${text}`;

/**
 * Reserves what the next attempt of a job uses at most.
 * @returns null, or why it has to wait: then nothing is reserved
 */
export async function reserve(tx: Db, now: number, work: Work, wanted: Wanted): Promise<string | null> {
  await releaseHold(tx, work.jobId);
  const max = (await maxCostsOf(tx, [work.jobId])).get(work.jobId) ?? null;
  const amounts = amountsOf(wanted, max);
  if (typeof amounts === "string") return waiting(amounts);
  const states = await readBudgets(tx, now, await readHolds(tx, now, work.org), whereApplies(work));
  const short = shortOf(states, amounts);
  if (short !== null) return waiting(short);
  const { microsPerHour, gpus } = wanted;
  await tx.insert(budgetHold).values({ ...work, ...amounts, microsPerHour, gpus, createdAt: now });
  return null;
}

/** Work that waits for a budget, and what it would reserve. */
export interface Waiting {
  work: Work;
  wanted: Wanted;
}

/** Why jobs still have to wait, by job; those that would fit now are absent. */
export async function stillShort(db: Db, now: number, jobs: readonly Waiting[]): Promise<Map<string, string>> {
  const short = new Map<string, string>();
  if (jobs.length === 0) return short;
  const costs = await maxCostsOf(
    db,
    jobs.map(({ work }) => work.jobId),
  );
  const states = await readBudgets(db, now, await readHolds(db, now));
  for (const { work, wanted } of jobs) {
    const amounts = amountsOf(wanted, costs.get(work.jobId) ?? null);
    const applying = states.filter(({ row }) => appliesTo(row, work));
    const text = typeof amounts === "string" ? amounts : shortOf(applying, amounts);
    if (text !== null) short.set(work.jobId, waiting(text));
  }
  return short;
}

/**
 * Reserves again for running work whose hour costs something else now. Where the rest does not fit, what was reserved
 * stays: the work goes on to its last checkpoint within the limit, and stops there.
 * @param wanted the new price, and the seconds that are left
 */
export async function reserveAgain(
  tx: Db,
  now: number,
  jobId: string,
  wanted: Pace & { seconds: number },
): Promise<void> {
  const holds = await readHolds(tx, now);
  const hold = holds.find((one) => one.jobId === jobId);
  if (!hold || hold.microsPerHour === wanted.microsPerHour) return;
  const max = (await maxCostsOf(tx, [jobId])).get(jobId);
  const left = max ? Math.max(0, max.micros - max.used - hold.pending.micros) : Number.POSITIVE_INFINITY;
  const more = { micros: Math.min(usedIn(wanted, wanted.seconds).micros, left) - hold.rest.micros, gpuSeconds: 0 };
  const states = await readBudgets(tx, now, holds, whereApplies(hold));
  const fits = shortOf(states, more) === null;
  await tx
    .update(budgetHold)
    .set({
      microsPerHour: wanted.microsPerHour,
      micros: hold.pending.micros + hold.rest.micros + (fits ? more.micros : 0),
    })
    .where(eq(budgetHold.jobId, jobId));
}

/** From now on its time is charged: use that no interval has yet counts against budgets. */
export async function chargeHold(tx: Db, jobId: string, now: number): Promise<void> {
  await tx.update(budgetHold).set({ chargedFrom: now }).where(eq(budgetHold.jobId, jobId));
}

/** Gives back what is left of a reservation, in the transaction that ends the attempt. */
export async function releaseHold(tx: Db, jobId: string): Promise<void> {
  await tx.delete(budgetHold).where(eq(budgetHold.jobId, jobId));
}

const HOUR_S = 3600;
/** Running work whose reservation lasts for less than this reserves another hour. */
const LOW_S = 300;

/** Whether a reservation is nearly used up. */
export function isLow(hold: Hold): boolean {
  const low = usedIn(hold, LOW_S);
  return hold.rest.micros < low.micros || hold.rest.gpuSeconds < low.gpuSeconds;
}

/** Reserves another hour for running work that has nearly used what it reserved, where that fits. */
export async function renewHolds(tx: Db, now: number): Promise<void> {
  for (const { jobId } of await readHolds(tx, now)) {
    const holds = await readHolds(tx, now);
    const hold = holds.find((one) => one.jobId === jobId);
    if (!hold || hold.chargedFrom === null || !isLow(hold)) continue;
    const max = (await maxCostsOf(tx, [jobId])).get(jobId);
    const left = max ? Math.max(0, max.micros - max.used - hold.pending.micros) : Number.POSITIVE_INFINITY;
    const hour = usedIn(hold, HOUR_S);
    const more = {
      micros: Math.min(hour.micros, left) - hold.rest.micros,
      gpuSeconds: hour.gpuSeconds - hold.rest.gpuSeconds,
    };
    const states = await readBudgets(tx, now, holds, whereApplies(hold));
    if (shortOf(states, more) !== null) continue;
    await tx
      .update(budgetHold)
      .set({
        micros: hold.pending.micros + hold.rest.micros + Math.max(0, more.micros),
        gpuSeconds: hold.pending.gpuSeconds + hold.rest.gpuSeconds + Math.max(0, more.gpuSeconds),
      })
      .where(eq(budgetHold.jobId, jobId));
  }
}
