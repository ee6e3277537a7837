/** Grades outputs for a trainer with the grader of its spec, on behalf of the job's owner. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import type { AskAs } from "../../graders/judge.ts";
import { createGrading, type Graded } from "../../graders/training.ts";
import { GradeRequest } from "./model.ts";
import type { Trainer } from "./token.ts";

async function ownerOf(ctx: Ctx, trainer: Trainer): Promise<Actor> {
  const [row] = await ctx.db
    .select({ userId: job.createdBy, keyId: job.keyId })
    .from(job)
    .where(eq(job.id, trainer.jobId))
    .limit(1);
  return { ...systemActor(trainer.org), role: "member", ...row };
}

/** Creates a function that grades the samples of a request, one request per attempt at a time. */
export function gradesFor(ctx: Ctx, ask: AskAs) {
  const grading = createGrading(ctx, ask);
  const busy = new Set<string>();
  /**
   * @throws AppError `invalid_value`, `no_grader`, `grading` (429) while an earlier request of the attempt is being
   *   graded, and errors of the grader itself
   */
  return async (trainer: Trainer, body: unknown, signal: AbortSignal): Promise<{ grades: Graded[] }> => {
    const { spec } = trainer;
    if (spec.kind !== "train" || spec.method.type !== "grpo")
      throw new AppError("invalid", "no_grader", "The spec of this job has no grader.");
    const parsed = v.safeParse(GradeRequest, body);
    if (!parsed.success) {
      const [issue] = parsed.issues;
      const param = v.getDotPath(issue);
      throw new AppError("invalid", "invalid_value", `Invalid '${param}': ${issue.message}.`, { param });
    }
    if (busy.has(trainer.id))
      throw new AppError("rate_limited", "grading", "An earlier request of this attempt is still being graded.");
    busy.add(trainer.id);
    try {
      const owner = await ownerOf(ctx, trainer);
      return { grades: await grading(owner, spec.method.grader, parsed.output.samples, signal) };
    } finally {
      busy.delete(trainer.id);
    }
  };
}
