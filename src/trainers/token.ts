/** Who a trainer is: the attempt its bearer token belongs to, and whether that attempt still counts. */
import { eq } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { attempt, job } from "../db/schema/jobs.ts";
import { AppError } from "../errors.ts";
import { sha256Hex } from "../lib/ids.ts";

export interface Trainer {
  attempt: typeof attempt.$inferSelect;
  job: typeof job.$inferSelect;
  /** Null while the attempt counts; `stale` when it was replaced or paused, `ended` when the job is over. */
  over: "stale" | "ended" | null;
}

const ENDED = ["succeeded", "failed", "cancelled"];

/**
 * The attempt behind a request's token, looked up by its SHA-256.
 * @throws AppError `invalid_attempt_token` (401)
 */
export async function trainerOf(ctx: Ctx, request: Request): Promise<Trainer> {
  const token = /^Bearer (\S{16,200})$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const [row] = token
    ? await ctx.db
        .select()
        .from(attempt)
        .innerJoin(job, eq(job.id, attempt.jobId))
        .where(eq(attempt.tokenHash, sha256Hex(token)))
        .limit(1)
    : [];
  if (!row)
    throw new AppError(
      "unauthenticated",
      "invalid_attempt_token",
      "This token belongs to no attempt. Exit with code 3.",
    );
  const over = ENDED.includes(row.job.state)
    ? "ended"
    : row.attempt.state === "ended" || row.attempt.number < row.job.attempts
      ? "stale"
      : null;
  return { attempt: row.attempt, job: row.job, over };
}
