/** Stores new jobs, and recognizes repeated requests. */
import { and, desc, eq, gt, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import { freezePrices } from "../../billing/prices/lists.ts";
import type { JobKind, JobSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { builtOnce } from "../../db/built.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import type { JobRow } from "./model.ts";
import { requireHere } from "./stays-local.ts";
import { note } from "./transitions.ts";

/** How long a client's retry without an idempotency key finds the job of its first request. */
const RETRY_WINDOW_MS = 10 * 60_000;

/** What identifies a repeated request. */
export interface RequestMarks {
  /** sha256 of key, path and body. With `retried`, the job it created within ten minutes is returned. */
  requestHash?: string;
  retried?: boolean;
  /** A second request with the same key in the organization returns the first job. */
  idempotencyKey?: string;
}

interface NewJob extends RequestMarks {
  kind: JobKind;
  name: string;
  spec: JobSpec;
  request: Record<string, unknown>;
  metadata?: Record<string, string>;
  parentId?: string;
  /** Its scheduling options; see placement.ts. */
  place?: Partial<
    Pick<JobRow, "priority" | "startAfter" | "window" | "deadline" | "burst" | "estimateLowS" | "estimateHighS">
  >;
  /** The largest cost in micro-dollars; absent or null = no limit. */
  maxMicros?: number | null;
  /** What it waits for before its spec is frozen (its data, its base model), for users; absent: nothing. */
  validating?: string;
  /** What users should know before it runs, for its history. */
  warnings?: readonly string[];
}

/** The job an earlier copy of the same request created, or null. */
async function findPrevious(tx: Db, ctx: Ctx, actor: Actor, given: RequestMarks): Promise<JobRow | null> {
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

/** The job an earlier copy of the same request created, or null: avoids resolving the request twice. */
export function findRepeated(ctx: Ctx, actor: Actor, given: RequestMarks): Promise<JobRow | null> {
  return findPrevious(ctx.db, ctx, actor, given);
}

/**
 * Stores a job in state `queued` with audit row and event; the pipeline is notified after the commit.
 * @throws AppError `quota_exceeded`
 */
export async function createJob(ctx: Ctx, actor: Actor, given: NewJob): Promise<JobRow> {
  const now = ctx.clock.now();
  const { row, isNew } = await ctx.write(async (tx) => {
    const before = await findPrevious(tx, ctx, actor, given);
    if (before) return { row: before, isNew: false };
    const kept = await requireHere(ctx, tx, given.spec, given.metadata);
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
        staysLocal: given.kind === "train" && kept.any,
        ...given.place,
        progress: given.validating ? { waiting: given.validating } : {},
        createdBy: actor.userId,
        keyId: actor.keyId,
        requestHash: given.requestHash ?? null,
        idempotencyKey: given.idempotencyKey ?? null,
        createdAt: now,
        queuedAt: given.validating ? null : now,
      })
      .returning();
    if (!made) throw new Error("job not stored");
    await freezePrices(tx, { id: made.id, org: made.org, maxMicros: given.maxMicros ?? null }, now);
    await audit(tx, ctx, actor, "job.create", made.id, { kind: given.kind, name: given.name });
    await note(tx, ctx, made, `Created job: ${made.id}`);
    if (given.validating) await note(tx, ctx, made, given.validating);
    for (const warning of given.warnings ?? []) await note(tx, ctx, made, warning, "warn");
    await requireQuota(tx, ctx, actor, "waiting_jobs", "bytes");
    return { row: made, isNew: true };
  });
  if (isNew) ctx.bus.emit("job.changed", { org: row.org, jobId: row.id, kind: row.kind, state: row.state });
  return row;
}

const jobOfOrg = builtOnce((db) =>
  db
    .select()
    .from(job)
    .where(and(eq(job.id, sql.placeholder("id")), eq(job.org, sql.placeholder("org")), isNull(job.deletedAt)))
    .limit(1)
    .prepare(),
);

/** @throws AppError `job_not_found`, also for another organization's job */
export async function getJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const [row] = await jobOfOrg(ctx.db).execute({ id, org: actor.org });
  if (!row) throw notFound("job", id.slice(0, 100));
  return row;
}
