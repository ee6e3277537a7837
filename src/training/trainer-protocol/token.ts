/** Identifies a trainer by its bearer token: the attempt it belongs to, and whether that attempt is still current. */
import { eq, sql } from "drizzle-orm";
import { isFinal } from "../../contract/job.ts";
import type { JobKind, JobSpec } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { sha256Hex } from "../../lib/ids.ts";

/** The attempt that a request comes from. */
interface AttemptOfToken {
  id: string;
  jobId: string;
  org: string;
  number: number;
  provider: string;
  kind: JobKind;
  lastSeq: number;
  /** Null while the attempt is current; `stale` when it was replaced or paused, `ended` when the job has ended. */
  over: "stale" | "ended" | null;
}

/** The attempt with the job's frozen spec, which is large and loaded only where needed. */
export interface Trainer extends AttemptOfToken {
  spec: JobSpec;
}

type Row = Omit<AttemptOfToken, "over"> & { state: string; jobState: string; attempts: number };

/**
 * The attempt of a request's token, looked up by its SHA-256.
 * @throws AppError `invalid_attempt_token` (401)
 */
export async function attemptOf(ctx: Ctx, request: Request): Promise<AttemptOfToken> {
  const token = /^Bearer (\S{16,200})$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  // Plain SQL, because this runs for every batch of every trainer.
  const [row] = token
    ? await ctx.db.all<Row>(sql`
        select a.id, a.job_id as "jobId", j.org, a.number, a.provider, j.kind, a.last_seq as "lastSeq", a.state,
          j.state as "jobState", j.attempts
        from attempt a join job j on j.id = a.job_id where a.token_hash = ${sha256Hex(token)}`)
    : [];
  if (!row) throw new AppError("unauthenticated", "invalid_attempt_token", "Unknown attempt token. Exit with code 3.");
  const { state, jobState, attempts, ...attempt } = row;
  const stale = state === "ended" || row.number < attempts;
  return { ...attempt, over: isFinal(jobState) ? "ended" : stale ? "stale" : null };
}

/** The attempt with its job's spec. @throws AppError 401 */
export async function trainerOf(ctx: Ctx, request: Request): Promise<Trainer> {
  const attempt = await attemptOf(ctx, request);
  const [row] = await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, attempt.jobId)).limit(1);
  if (!row) throw new Error("an attempt has no job");
  return { ...attempt, spec: row.spec };
}
