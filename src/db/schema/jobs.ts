/** Jobs of every kind, their attempts, the commands waiting for a trainer, and the shares of the queue. */
import { sql } from "drizzle-orm";
import { index, integer, real, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { JOB_STATES, type JobResult, type Progress } from "../../contract/job.ts";
import type { Handle, Offer } from "../../contract/provider.ts";
import type { JobSpec } from "../../contract/spec.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { jsonText } from "../json.ts";

/** Why a job failed, for people. `param` names the request field in OpenAI's form. */
export interface JobError {
  code: string;
  message: string;
  advice: string | null;
  param: string | null;
  detail: string | null;
  /** Changed request fields that would make it fit, after an out-of-memory failure. */
  suggestion?: Record<string, unknown>;
}

export const job = sqliteTable(
  "job",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    kind: text("kind", { enum: ["train", "evaluate", "serve", "export"] }).notNull(),
    name: text("name").notNull(),
    /** See jobs/state.ts for the table of transitions. */
    state: text("state", {
      enum: JOB_STATES,
    }).notNull(),
    spec: jsonText("spec").$type<JobSpec>().notNull(),
    /** The request as the user wrote it (for "change and run" and OpenAI's echo of `auto`). */
    request: jsonText("request").$type<Record<string, unknown>>().notNull(),
    metadata: jsonText("metadata").$type<Record<string, string>>().notNull(),
    /** Words to filter by, and a free text; both only for people. */
    tags: jsonText("tags").$type<string[]>().notNull().default([]),
    note: text("note").notNull().default(""),
    /** When it was archived: the list then leaves it out. */
    archivedAt: integer("archived_at"),
    /** When it was deleted: the row stays for usage and for what came from it, and is not shown any more. */
    deletedAt: integer("deleted_at"),
    /** The job that created this one, or that it was copied from. */
    parentId: text("parent_id"),
    /** -100 to 100; above 0 only by administrators. */
    priority: integer("priority").notNull().default(0),
    /** Scheduling options: earliest start, allowed hours, deadline. */
    startAfter: integer("start_after"),
    window: jsonText("window").$type<{ from: string; until: string; tz: string; days?: number[] }>(),
    deadline: integer("deadline"),
    /** When it leaves own machines for rented ones; null = as its team does. */
    burst: jsonText("burst").$type<BurstPolicy>(),
    /** Forecast of the whole run in seconds: at least and at most; null = unknown. */
    estimateLowS: integer("estimate_low_s"),
    estimateHighS: integer("estimate_high_s"),
    /** Why the scheduler asked it to save and release its GPUs; it is queued again afterwards. */
    yieldFor: text("yield_for", {
      enum: [
        "priority",
        "window",
        "drain",
        "quota",
        "maintenance",
        "resume",
        "held",
        "budget",
        "provider",
        "preempted",
      ],
    }),
    attempts: integer("attempts").notNull().default(0),
    /** Earliest next attempt (back-off after a failed one). */
    notBefore: integer("not_before").notNull().default(0),
    leaseToken: text("lease_token"),
    leaseUntil: integer("lease_until").notNull().default(0),
    /** Last known progress: step, total_steps, fraction, eta_s, phase, tokens_seen, loss. */
    progress: jsonText("progress").$type<Progress>().notNull(),
    result: jsonText("result").$type<JobResult>(),
    error: jsonText("error").$type<JobError>(),
    /** Of a training: its checkpoints and models stay on this machine, as some of their data or origins did. */
    staysLocal: integer("stays_local", { mode: "boolean" }).notNull().default(false),
    createdBy: text("created_by").notNull(),
    keyId: text("key_id"),
    /** sha256 over key, path and body: a client's retry finds the job it already created. */
    requestHash: text("request_hash"),
    idempotencyKey: text("idempotency_key"),
    createdAt: integer("created_at").notNull(),
    queuedAt: integer("queued_at"),
    startedAt: integer("started_at"),
    finishedAt: integer("finished_at"),
    /** Time of the last events or heartbeat. */
    progressAt: integer("progress_at"),
  },
  (t) => [
    index("job_org").on(t.org, t.kind, t.createdAt, t.id),
    /** For lists of all kinds: without it every page would sort all jobs of the organization. */
    index("job_org_all").on(t.org, t.createdAt, t.id),
    index("job_state").on(t.state, t.notBefore),
    index("job_quota").on(t.org, t.state),
    index("job_parent").on(t.parentId),
    /** For the jobs that used a dataset, and their number. */
    index("job_dataset").on(t.org, sql`"spec" ->> '$.dataset.dataset_id'`, t.kind, t.deletedAt, t.createdAt, t.id),
    index("job_request").on(t.org, t.requestHash),
    index("job_stays").on(t.staysLocal).where(sql`"stays_local" = 1`),
    uniqueIndex("job_idempotency").on(t.org, t.idempotencyKey),
  ],
);

export const attempt = sqliteTable(
  "attempt",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    jobId: text("job_id")
      .notNull()
      .references(() => job.id),
    number: integer("number").notNull(),
    state: text("state", { enum: ["launching", "starting", "running", "ended"] }).notNull(),
    provider: text("provider").notNull(),
    offer: jsonText("offer").$type<Offer>().notNull(),
    handle: jsonText("handle").$type<Handle>(),
    tokenHash: text("token_hash").notNull().unique(),
    /** On another machine: SHA-256 of the token that is exchanged once for the attempt's, and until when. */
    bootstrapHash: text("bootstrap_hash").unique(),
    bootstrapUntil: integer("bootstrap_until"),
    /** SHA-256 of the nonce that it was exchanged with; null = not yet. */
    bootstrapNonceHash: text("bootstrap_nonce_hash"),
    /** On another machine: since when it runs, and when its trainer first called home. */
    runningAt: integer("running_at"),
    contactAt: integer("contact_at"),
    /** Last stored event number of this attempt. */
    lastSeq: integer("last_seq").notNull().default(0),
    /**
     * Set when the trainer requested its spec: points beyond this step are from an earlier process and are deleted with
     * its first batch.
     */
    trimStep: integer("trim_step"),
    /** The artifact of the checkpoint that it resumed from; null = it began at step 0. */
    resumedFrom: text("resumed_from"),
    /** Set once the provider confirmed the termination. */
    goneAt: integer("gone_at"),
    /** `succeeded`, `cancelled`, `paused`, or a failure reason. */
    outcome: text("outcome"),
    exitCode: integer("exit_code"),
    detail: text("detail"),
    heartbeatAt: integer("heartbeat_at"),
    createdAt: integer("created_at").notNull(),
    startedAt: integer("started_at"),
    endedAt: integer("ended_at"),
    /** How far its use is metered, in milliseconds since `startedAt`: the clock of the machine may be set. */
    meteredMs: integer("metered_ms").notNull().default(0),
    /** Its trainer has begun to work: what came before is not charged. */
    worked: integer("worked", { mode: "boolean" }).notNull().default(false),
  },
  (t) => [uniqueIndex("attempt_number").on(t.jobId, t.number), index("attempt_live").on(t.goneAt, t.state)],
);

/** Commands for a running trainer, repeated until it reports them done. */
export const command = sqliteTable(
  "command",
  {
    id: text("id").primaryKey(),
    jobId: text("job_id")
      .notNull()
      .references(() => job.id),
    type: text("type", { enum: ["cancel", "pause", "checkpoint"] }).notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    doneAt: integer("done_at"),
  },
  (t) => [index("command_job").on(t.jobId, t.doneAt)],
);

/** The share weight and limits of an organization in the queue; without a row, weight 1 and no limit. */
export const teamShare = sqliteTable("team_share", {
  org: text("org").primaryKey(),
  /** A team of weight 2 gets twice the share of a team of weight 1. */
  weight: real("weight").notNull().default(1),
  /** Concurrent GPUs, and GPU-hours per calendar month (UTC); null = no limit. */
  maxGpus: integer("max_gpus"),
  monthGpuHours: real("month_gpu_hours"),
  /** Burst policy of its jobs that have none; null = that of the installation. */
  burst: jsonText("burst").$type<BurstPolicy>(),
  /** Its owners and administrators cannot change that; administrators of the installation can. */
  burstLocked: integer("burst_locked", { mode: "boolean" }).notNull().default(false),
  updatedAt: integer("updated_at").notNull(),
});
