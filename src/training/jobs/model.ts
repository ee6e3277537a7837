/** Jobs and attempts: stored rows, the query of the list, and the views for clients. */
import * as v from "valibot";
import { MaxCostUsd } from "../../billing/budgets/max-cost.ts";
import { JOB_STATES } from "../../contract/job.ts";
import { SPEC_SCHEMAS } from "../../contract/spec-schema.ts";
import type { attempt, job } from "../../db/schema/jobs.ts";
import { PageQuery } from "../../lib/page.ts";
import { seconds } from "../../lib/request-fields.ts";
import { filledName, linesText } from "../../lib/text/names.ts";
import { Burst } from "./placement-model.ts";

export type JobRow = typeof job.$inferSelect;
export type AttemptRow = typeof attempt.$inferSelect;

const KINDS = ["train", "evaluate", "serve", "export"] as const;

export const ListJobs = v.strictObject({
  kind: v.optional(v.picklist(KINDS)),
  /** One state, or several separated by commas (which the router splits into a list). */
  state: v.optional(
    v.pipe(
      v.union([v.string(), v.array(v.string())]),
      v.transform((value) => [value].flat().flatMap((text) => text.split(","))),
      v.array(v.picklist(JOB_STATES)),
    ),
  ),
  search: v.optional(v.pipe(v.string(), v.maxLength(100))),
  /** Id of who created it (`me` for the caller), of its dataset, of its base model; a tag. */
  created_by: v.optional(v.pipe(v.string(), v.maxLength(100))),
  dataset: v.optional(v.pipe(v.string(), v.maxLength(100))),
  base_model: v.optional(v.pipe(v.string(), v.maxLength(200))),
  tag: v.optional(v.pipe(v.string(), v.maxLength(40))),
  archived: v.optional(
    v.pipe(
      v.picklist(["true", "false"]),
      v.transform((value) => value === "true"),
    ),
  ),
  /** A column such as `eval_loss`, `-` before it for descending; default `-created`. */
  sort: v.optional(v.pipe(v.string(), v.maxLength(40))),
  ...PageQuery.entries,
});
export type ListJobs = Partial<v.InferOutput<typeof ListJobs>>;

/** Changes of what people call a job and how they sort it; a field that is not given stays. */
export const UpdateJob = v.strictObject({
  name: v.optional(filledName(200)),
  tags: v.optional(
    v.pipe(
      v.array(filledName(40)),
      v.maxLength(20),
      v.transform((tags) => [...new Set(tags)]),
    ),
  ),
  note: v.optional(linesText(4000)),
  archived: v.optional(v.boolean()),
  max_cost_usd: v.pipe(
    v.optional(MaxCostUsd),
    v.description("The largest cost in USD; null removes it. A job that waits at it continues when it is raised."),
  ),
});
export type UpdateJob = v.InferOutput<typeof UpdateJob>;

const text = v.string();
const number = v.number();
const optionalNumber = v.optional(number);

/** See `Progress` in src/contract/job.ts. */
const ProgressView = v.strictObject({
  step: optionalNumber,
  total_steps: optionalNumber,
  fraction: optionalNumber,
  epoch: optionalNumber,
  eta_s: v.optional(v.nullable(number)),
  phase: v.optional(text),
  tokens_seen: optionalNumber,
  tokens_before: optionalNumber,
  tokens_per_second: optionalNumber,
  loss: optionalNumber,
  eval_loss: optionalNumber,
  waiting: v.optional(text),
  address: v.optional(text),
  models: v.optional(v.array(text)),
  plan: v.optional(v.record(text, number)),
  canary: v.optional(
    v.strictObject({
      rows: number,
      length: number,
      seconds: number,
      peak_memory_mb: number,
      peak_gpu_memory_mb: optionalNumber,
      peak_gpu_reserved_mb: optionalNumber,
    }),
  ),
  first_batch: v.optional(
    v.variant("state", [
      v.strictObject({ state: v.literal("told") }),
      v.strictObject({ state: v.literal("same"), rows: number }),
      v.strictObject({ state: v.literal("not_compared"), why: text }),
    ]),
  ),
});

const ErrorView = v.strictObject({
  code: text,
  message: text,
  advice: v.nullable(text),
  param: v.nullable(text),
  detail: v.nullable(text),
  /** Request fields that would make the job fit, after it ran out of memory. */
  suggestion: v.optional(v.record(text, v.unknown())),
});

const { train, evaluate, serve, export: exported } = SPEC_SCHEMAS;

/** A job of any kind. Times in Unix seconds. `result` depends on the kind. */
export const JobView = v.strictObject({
  object: v.literal("job"),
  id: text,
  kind: v.picklist(KINDS),
  name: text,
  state: v.picklist(JOB_STATES),
  spec: v.variant("kind", [train, evaluate, serve, exported]),
  request: v.record(text, v.unknown()),
  metadata: v.record(text, text),
  tags: v.array(text),
  note: text,
  /** When it was archived. */
  archived_at: v.nullable(number),
  parent_id: v.nullable(text),
  priority: number,
  not_before: v.nullable(number),
  window: v.nullable(v.strictObject({ from: text, until: text, tz: text, days: v.optional(v.array(number)) })),
  deadline: v.nullable(number),
  /** Its own burst policy; null = as its team does. */
  burst: v.nullable(Burst),
  attempts: number,
  progress: ProgressView,
  result: v.nullable(v.looseObject({})),
  error: v.nullable(ErrorView),
  model: v.nullable(text),
  created_by: text,
  created_at: number,
  queued_at: v.nullable(number),
  started_at: v.nullable(number),
  finished_at: v.nullable(number),
});
export type JobView = v.InferOutput<typeof JobView>;

/** The view of a job in our own API. */
export function jobView(row: JobRow): JobView {
  // Bookkeeping of the server, not progress.
  const { last_failure: _, ...progress } = row.progress;
  return {
    object: "job",
    id: row.id,
    kind: row.kind,
    name: row.name,
    state: row.state,
    spec: row.spec,
    request: row.request,
    metadata: row.metadata,
    tags: row.tags,
    note: row.note,
    archived_at: seconds(row.archivedAt),
    parent_id: row.parentId,
    priority: row.priority,
    not_before: seconds(row.startAfter),
    window: row.window,
    deadline: seconds(row.deadline),
    burst: row.burst,
    attempts: row.attempts,
    progress,
    result: row.result && { ...row.result },
    error: row.error,
    model: row.spec.kind === "train" && row.state === "succeeded" ? row.spec.output_model : null,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    queued_at: seconds(row.queuedAt),
    started_at: seconds(row.startedAt),
    finished_at: seconds(row.finishedAt),
  };
}

/** An attempt to run a job. Times in Unix seconds. `offer` and `handle` are as the provider reported them. */
export const AttemptView = v.strictObject({
  object: v.literal("job.attempt"),
  id: text,
  job_id: text,
  number,
  state: v.picklist(["launching", "starting", "running", "ended"]),
  provider: text,
  offer: v.looseObject({ id: text, location: text, gpus: number, pricePerHour: number }),
  handle: v.nullable(v.looseObject({ provider: text, key: text })),
  outcome: v.nullable(text),
  exit_code: v.nullable(number),
  detail: v.nullable(text),
  last_seq: number,
  created_at: number,
  started_at: v.nullable(number),
  ended_at: v.nullable(number),
  gone_at: v.nullable(number),
  heartbeat_at: v.nullable(number),
});
type AttemptView = v.InferOutput<typeof AttemptView>;

/** The view of an attempt, without the hash of its token. */
export function attemptView(row: AttemptRow): AttemptView {
  return {
    object: "job.attempt",
    id: row.id,
    job_id: row.jobId,
    number: row.number,
    state: row.state,
    provider: row.provider,
    offer: { ...row.offer },
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
