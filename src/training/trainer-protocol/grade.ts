/** Grades answers for a trainer by the grader of its spec, as the job's owner. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import type { AskAs } from "../../graders/judge.ts";
import { createGrading, type Graded } from "../../graders/training.ts";
import type { Trainer } from "./token.ts";

const MAX_SAMPLES = 32;

const Samples = v.strictObject({
  samples: v.pipe(
    v.array(
      v.strictObject({
        item: v.record(v.string(), v.unknown()),
        output: v.pipe(v.string(), v.maxLength(500_000, "must have at most 500,000 characters")),
      }),
    ),
    v.minLength(1, "must have a sample"),
    v.maxLength(MAX_SAMPLES, `must have at most ${MAX_SAMPLES} samples`),
  ),
});

async function ownerOf(ctx: Ctx, trainer: Trainer): Promise<Actor> {
  const [row] = await ctx.db
    .select({ userId: job.createdBy, keyId: job.keyId })
    .from(job)
    .where(eq(job.id, trainer.jobId))
    .limit(1);
  return { ...systemActor(trainer.org), role: "member", ...row };
}

/** A function that grades a request's samples for a trainer, one request of an attempt at a time. */
export function gradesFor(ctx: Ctx, ask: AskAs) {
  const grading = createGrading(ctx, ask);
  const busy = new Set<string>();
  /**
   * @throws AppError for bodies that are none, jobs without a grader, `grading` (429) while an earlier request of the
   *   attempt is not done, and
   * what keeps the grader itself from being run
   */
  return async (trainer: Trainer, body: unknown, signal: AbortSignal): Promise<{ grades: Graded[] }> => {
    const { spec } = trainer;
    if (spec.kind !== "train" || spec.method.type !== "grpo")
      throw new AppError("invalid", "no_grader", "The spec of this job has no grader.");
    const parsed = v.safeParse(Samples, body);
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
