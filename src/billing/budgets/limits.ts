/** Running work that has to stop before a limit is passed, and scopes whose limit is reached. */

import { perContext } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { maxCostsOf } from "./max-cost.ts";
import type { Waiting } from "./reserve.ts";
import { type BudgetState, type Hold, holdsOf, readBudgets, readHolds, usedIn } from "./state.ts";
import { moneyText, reachedText } from "./texts.ts";

/** What the last looks at budgets found; a restart looks again. */
interface BudgetMarks {
  /** Jobs that a budget keeps from starting, with what they would reserve. */
  waiting: Map<string, Waiting>;
  /** Why they wait, by job. */
  why: ReadonlyMap<string, string>;
  /** Why running jobs have to stop, by job. */
  stopping: ReadonlyMap<string, string>;
  /** Why requests are refused, by scope and id: `key key-…`. */
  exhausted: ReadonlyMap<string, string>;
}
export const budgetMarks = perContext(
  (): BudgetMarks => ({ waiting: new Map(), why: new Map(), stopping: new Map(), exhausted: new Map() }),
);

/** The running work of a budget that would pass its limit before its next checkpoint; the oldest may go furthest. */
function stopsOf(state: BudgetState, holds: readonly Hold[], aheadS: (jobId: string) => number): string[] {
  const { row, used } = state;
  const limits = { micros: row.limitMicros, gpuSeconds: row.limitGpuSeconds };
  const sum = { ...used };
  return holds.flatMap((hold) => {
    const ahead = usedIn(hold, aheadS(hold.jobId));
    const passes = (["micros", "gpuSeconds"] as const).some((unit) => {
      const limit = limits[unit];
      return limit !== null && ahead[unit] > 0 && sum[unit] + ahead[unit] > limit;
    });
    if (passes) return [hold.jobId];
    sum.micros += ahead.micros;
    sum.gpuSeconds += ahead.gpuSeconds;
    return [];
  });
}

/**
 * Why running jobs have to save and stop now, by job.
 * @param aheadS seconds until the next checkpoint or the end of a job, whichever is first; 0 while it is not charged
 */
export async function overLimit(db: Db, now: number, aheadS: (jobId: string) => number): Promise<Map<string, string>> {
  const over = new Map<string, string>();
  const holds = await readHolds(db, now);
  if (holds.length === 0) return over;
  for (const state of await readBudgets(db, now, holds))
    for (const jobId of stopsOf(state, holdsOf(state.row, holds), aheadS)) over.set(jobId, reachedText(state));
  const costs = await maxCostsOf(
    db,
    holds.map(({ jobId }) => jobId),
  );
  for (const hold of holds) {
    const max = costs.get(hold.jobId);
    if (!max) continue;
    const used = max.used + hold.pending.micros;
    const ahead = usedIn(hold, aheadS(hold.jobId)).micros;
    if (ahead > 0 && used + ahead > max.micros)
      over.set(hold.jobId, `its maximum cost of ${moneyText(max.micros)} is reached. Raise it on the job's page`);
  }
  return over;
}
