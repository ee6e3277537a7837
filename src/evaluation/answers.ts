/** Reads the answers of both sides row by row, for the verdict of an evaluation and for its page. */
import { and, eq, gt, type SQL, sql } from "drizzle-orm";
import { alias } from "drizzle-orm/sqlite-core";
import type { Ctx } from "../ctx.ts";
import { answer } from "../db/schema/evaluations.ts";
import {
  type AnswerRowView,
  type AnswerView,
  type EvaluationView,
  MAX_ROWS,
  type RewardView,
  type RowFilter,
} from "./model.ts";
import { meanInterval, type Pair } from "./statistics.ts";

const base = alias(answer, "base_answer");
const tuned = alias(answer, "tuned_answer");
const sameRow = and(eq(tuned.jobId, base.jobId), eq(tuned.rowId, base.rowId), eq(tuned.side, "tuned"));

/** The numbers of every row that both sides answered, in order of row id. */
export async function readPairs(ctx: Ctx, jobId: string): Promise<Pair[]> {
  return ctx.db
    .select({
      tokens: base.tokens,
      baseExact: base.exact,
      tunedExact: tuned.exact,
      baseLoss: base.loss,
      tunedLoss: tuned.loss,
      baseAccuracy: base.tokenAccuracy,
      tunedAccuracy: tuned.tokenAccuracy,
      // A grade that failed is not a reward of 0.
      baseReward: sql<number | null>`iif(${base.gradeError} is null, ${base.reward}, null)`,
      tunedReward: sql<number | null>`iif(${tuned.gradeError} is null, ${tuned.reward}, null)`,
    })
    .from(base)
    .innerJoin(tuned, sameRow)
    .where(and(eq(base.jobId, jobId), eq(base.side, "base")))
    .orderBy(base.rowId)
    .limit(MAX_ROWS);
}

const FILTERS: Record<RowFilter, SQL | undefined> = {
  all: undefined,
  changed: sql`${tuned.output} <> ${base.output}`,
  fixed: sql`${base.exact} = 0 and ${tuned.exact} = 1`,
  broken: sql`${base.exact} = 1 and ${tuned.exact} = 0`,
  both_wrong: sql`${base.exact} = 0 and ${tuned.exact} = 0`,
  both_right: sql`${base.exact} = 1 and ${tuned.exact} = 1`,
};

function side(row: typeof answer.$inferSelect | null): AnswerView | null {
  if (!row) return null;
  const { output, exact, loss, tokens, reward } = row;
  return { output, exact, loss, token_accuracy: row.tokenAccuracy, tokens, reward, grade_error: row.gradeError };
}

/** Answers side by side in order of row id, one more than `limit`. `tuned` is null until that side has answered. */
export async function readAnswers(
  ctx: Ctx,
  jobId: string,
  page: { filter: RowFilter; after?: number | null; limit: number },
): Promise<AnswerRowView[]> {
  const rows = await ctx.db
    .select({ base, tuned })
    .from(base)
    .leftJoin(tuned, sameRow)
    .where(
      and(
        eq(base.jobId, jobId),
        eq(base.side, "base"),
        page.after === undefined || page.after === null ? undefined : gt(base.rowId, page.after),
        FILTERS[page.filter],
      ),
    )
    .orderBy(base.rowId)
    .limit(page.limit + 1);
  return rows.map((row) => ({
    object: "evaluation.row",
    id: String(row.base.rowId),
    row_id: row.base.rowId,
    prompt: row.base.prompt,
    expected: row.base.expected,
    base: side(row.base),
    tuned: side(row.tuned),
  }));
}

/** The mean reward of each side over the answers that could be graded; null for a side without answers. */
export async function readRewards(ctx: Ctx, jobId: string): Promise<EvaluationView["rewards"]> {
  const rows = await ctx.db
    .select({ side: answer.side, reward: answer.reward, error: answer.gradeError })
    .from(answer)
    .where(eq(answer.jobId, jobId))
    .limit(2 * MAX_ROWS);
  const sideReward = (side: "base" | "tuned"): RewardView | null => {
    const all = rows.filter((row) => row.side === side);
    if (all.length === 0) return null;
    const rewards = all.flatMap((row) => (row.error === null && row.reward !== null ? [row.reward] : []));
    const failed = all.filter((row) => row.error !== null);
    return { ...meanInterval(rewards), graded: rewards.length, failed: failed.length, error: failed[0]?.error ?? null };
  };
  return { base: sideReward("base"), tuned: sideReward("tuned") };
}
