/** Grades the answers of an evaluation with its grader, once both sides have answered every row. */
import { and, asc, eq, isNull } from "drizzle-orm";
import { type Actor, type Ctx, perContext, systemActor } from "../ctx.ts";
import { answer } from "../db/schema/evaluations.ts";
import { AppError } from "../errors.ts";
import type { AskAs } from "../graders/judge.ts";
import type { Grader } from "../graders/model.ts";
import { checkGraderOn, compileTrainGrader, createGrading } from "../graders/training.ts";
import type { EvaluationRow } from "./model.ts";

/** Answers that are graded between two writes. */
const PIECE = 32;

type AnswerRow = typeof answer.$inferSelect;

/** What templates of a grader may use of a row. */
const itemOf = ({ prompt, expected }: Pick<AnswerRow, "prompt" | "expected">): Record<string, unknown> => {
  const question = prompt.findLast((message) => message.role === "user");
  return { prompt: String(question?.content ?? ""), expected, messages: prompt };
};

/**
 * Checks a grader for answers: its fields, models, source, and the row fields of its templates.
 * @param answers whether the evaluated model writes answers
 * @throws AppError that names a field from `grader`
 */
export async function checkAnswerGrader(ctx: Ctx, actor: Actor, grader: Grader, answers: boolean): Promise<void> {
  if (!answers)
    throw new AppError("invalid", "no_answers_to_grade", "Nothing is generated here, so there is nothing to grade.", {
      param: "grader",
    });
  await checkGraderOn(ctx, actor, { ...grader }, itemOf({ prompt: [], expected: "" }));
  await compileTrainGrader(ctx, actor, { ...grader });
}

/** Evaluations that are being graded, by id. */
const running = perContext(() => new Set<string>());

/**
 * Grades the answers without a grade; returns whether all have one. What fails is stored with the answer. A second call
 * for the same evaluation returns at once.
 */
export async function gradeAnswers(ctx: Ctx, row: EvaluationRow, ask: AskAs): Promise<boolean> {
  const { grader, jobId } = row;
  if (!grader) return true;
  if (running(ctx).has(row.id)) return false;
  running(ctx).add(row.id);
  try {
    const grading = createGrading(ctx, ask);
    const actor = { ...systemActor(row.org), userId: row.createdBy };
    for (;;) {
      const piece = await ctx.db
        .select()
        .from(answer)
        .where(and(eq(answer.jobId, jobId), isNull(answer.reward)))
        .orderBy(asc(answer.rowId), asc(answer.side))
        .limit(PIECE);
      if (piece.length === 0) return true;
      const samples = piece.map((one) => ({ item: itemOf(one), output: one.output }));
      const grades = await grading(actor, grader, samples, ctx.signal).catch((error: unknown) => {
        if (ctx.signal.aborted || !(error instanceof AppError)) throw error;
        return piece.map(() => ({ reward: 0, error: error.message }));
      });
      await ctx.write(async (tx) => {
        for (const [n, one] of piece.entries())
          await tx
            .update(answer)
            .set({ reward: grades[n]?.reward ?? 0, gradeError: grades[n]?.error ?? null })
            .where(and(eq(answer.jobId, jobId), eq(answer.rowId, one.rowId), eq(answer.side, one.side)));
      });
      ctx.bus.emit("evaluation.changed", { org: row.org, evaluationId: row.id });
    }
  } finally {
    running(ctx).delete(row.id);
  }
}
