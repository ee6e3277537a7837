/** A job as it is stored and as clients see it: rows, list queries, and the views of jobs and attempts. */
import * as v from "valibot";
import { JOB_STATES } from "../../contract/job.ts";
import type { attempt, job } from "../../db/schema/jobs.ts";
import { PageQuery } from "../../lib/page.ts";

export type JobRow = typeof job.$inferSelect;
export type AttemptRow = typeof attempt.$inferSelect;

export const ListJobs = v.strictObject({
  kind: v.optional(v.picklist(["train", "evaluate", "serve", "export"])),
  /** One state, or several with commas (the router hands those over as a list). */
  state: v.optional(
    v.pipe(
      v.union([v.string(), v.array(v.string())]),
      v.transform((value) => [value].flat().flatMap((text) => text.split(","))),
      v.array(v.picklist(JOB_STATES)),
    ),
  ),
  search: v.optional(v.pipe(v.string(), v.maxLength(100))),
  ...PageQuery.entries,
});
export type ListJobs = Partial<v.InferOutput<typeof ListJobs>>;

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

/** A job as our own API shows it. */
export function jobView(row: JobRow) {
  const { leaseToken: _lease, leaseUntil: _until, ...rest } = row;
  return {
    object: "job" as const,
    id: rest.id,
    kind: rest.kind,
    name: rest.name,
    state: rest.state,
    spec: rest.spec,
    request: rest.request,
    metadata: rest.metadata,
    parent_id: rest.parentId,
    priority: rest.priority,
    not_before: seconds(rest.startAfter),
    window: rest.window,
    deadline: seconds(rest.deadline),
    attempts: rest.attempts,
    progress: rest.progress,
    result: rest.result,
    error: rest.error,
    model: rest.spec.kind === "train" && rest.state === "succeeded" ? rest.spec.output_model : null,
    created_by: rest.createdBy,
    created_at: seconds(rest.createdAt),
    queued_at: seconds(rest.queuedAt),
    started_at: seconds(rest.startedAt),
    finished_at: seconds(rest.finishedAt),
  };
}

/** An attempt; the token's hash stays inside. */
export function attemptView(row: AttemptRow) {
  return {
    object: "job.attempt" as const,
    id: row.id,
    job_id: row.jobId,
    number: row.number,
    state: row.state,
    provider: row.provider,
    offer: row.offer,
    handle: row.handle,
    outcome: row.outcome,
    exit_code: row.exitCode,
    detail: row.detail,
    last_seq: row.lastSeq,
    created_at: seconds(row.createdAt),
    started_at: seconds(row.startedAt),
    ended_at: seconds(row.endedAt),
    gone_at: seconds(row.goneAt),
    heartbeat_at: seconds(row.heartbeatAt),
  };
}
