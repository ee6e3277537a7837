/** Stores new jobs, and recognizes a request that already made one. */
import { and, desc, eq, gt } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import type { JobKind, JobSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import type { JobRow } from "./model.ts";
import { note } from "./transitions.ts";

/** How long a client's retry without a key of its own still finds the job it already made. */
const RETRY_WINDOW_MS = 10 * 60_000;

/** How a request is recognized when it is sent again. */
export interface RequestMarks {
  /** sha256 over key, path and body. With `retried` the job made of it in the last ten minutes is returned. */
  requestHash?: string;
  retried?: boolean;
  /** A second job with the same key in the organization is the first one. */
  idempotencyKey?: string;
}

interface NewJob extends RequestMarks {
  kind: JobKind;
  name: string;
  spec: JobSpec;
  request: Record<string, unknown>;
  metadata?: Record<string, string>;
  parentId?: string;
  /** Its place in the queue; see placement.ts. */
  place?: Partial<Pick<JobRow, "priority" | "startAfter" | "window" | "deadline" | "estimateLowS" | "estimateHighS">>;
  /** Made while its data is still being validated; the spec is frozen later. */
  validating?: boolean;
}

/** A job made before by the same request, or null. */
async function madeBefore(tx: Db, ctx: Ctx, actor: Actor, given: RequestMarks): Promise<JobRow | null> {
  if (given.idempotencyKey) {
    const [row] = await tx
      .select()
      .from(job)
      .where(and(eq(job.org, actor.org), eq(job.idempotencyKey, given.idempotencyKey)))
      .limit(1);
    if (!row) return null;
    if (given.requestHash && row.requestHash && row.requestHash !== given.requestHash)
      throw new AppError(
        "conflict",
        "idempotency_key_reused",
        "This Idempotency-Key was used for another request. Send a new key with a new request.",
        { param: "Idempotency-Key" },
      );
    return row;
  }
  if (!given.retried || !given.requestHash) return null;
  const [row] = await tx
    .select()
    .from(job)
    .where(
      and(
        eq(job.org, actor.org),
        eq(job.requestHash, given.requestHash),
        gt(job.createdAt, ctx.clock.now() - RETRY_WINDOW_MS),
      ),
    )
    .orderBy(desc(job.createdAt))
    .limit(1);
  return row ?? null;
}

/** A job that an earlier sending of the same request already made; asked before the work of resolving is done again. */
export function findRepeated(ctx: Ctx, actor: Actor, given: RequestMarks): Promise<JobRow | null> {
  return madeBefore(ctx.db, ctx, actor, given);
}

/**
 * Stores a job in state `queued` with audit row and event; the pipeline hears of it after the commit.
 * @throws AppError `quota_exceeded`
 */
export async function createJob(ctx: Ctx, actor: Actor, given: NewJob): Promise<JobRow> {
  const now = ctx.clock.now();
  const { row, isNew } = await ctx.write(async (tx) => {
    const before = await madeBefore(tx, ctx, actor, given);
    if (before) return { row: before, isNew: false };
    const [made] = await tx
      .insert(job)
      .values({
        id: newId(given.kind === "train" ? "trainJob" : "job"),
        org: actor.org,
        kind: given.kind,
        name: given.name,
        state: given.validating ? "validating" : "queued",
        spec: given.spec,
        request: given.request,
        metadata: given.metadata ?? {},
        parentId: given.parentId ?? null,
        ...given.place,
        progress: {},
        createdBy: actor.userId,
        keyId: actor.keyId,
        requestHash: given.requestHash ?? null,
        idempotencyKey: given.idempotencyKey ?? null,
        createdAt: now,
        queuedAt: given.validating ? null : now,
      })
      .returning();
    if (!made) throw new Error("job not stored");
    await audit(tx, ctx, actor, "job.create", made.id, { kind: given.kind, name: given.name });
    await note(tx, ctx, made, `Created job: ${made.id}`);
    if (given.validating) await note(tx, ctx, made, "Validating the data");
    await requireQuota(tx, ctx, actor, "waiting_jobs", "bytes");
    return { row: made, isNew: true };
  });
  if (isNew) ctx.bus.emit("job.changed", { org: row.org, jobId: row.id, kind: row.kind, state: row.state });
  return row;
}

/** @throws AppError `job_not_found`, also for another organization's job */
export async function getJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const [row] = await ctx.db
    .select()
    .from(job)
    .where(and(eq(job.id, id), eq(job.org, actor.org)))
    .limit(1);
  if (!row) throw notFound("job", id.slice(0, 100));
  return row;
}
