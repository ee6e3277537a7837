/**
 * /v1/jobs: jobs of every kind in our own form, plans before anything starts, and everything that can be asked of a
 * job.
 */
import { Elysia } from "elysia";
import * as v from "valibot";
import { usageOfJob } from "../billing/ledger/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { marksOf } from "../http/idempotency.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";
import { listCheckpoints } from "../models/tuned/service.ts";
import { listJobs } from "../training/jobs/list.ts";
import { attemptView, type JobRow, jobView, ListJobs } from "../training/jobs/model.ts";
import {
  cancelJob,
  checkpointNow,
  listAttempts,
  pauseJob,
  processOutput,
  resumeJob,
} from "../training/jobs/service.ts";
import { getJob } from "../training/jobs/store.ts";
import { clearRun } from "../training/plan/cleanup.ts";
import { planView } from "../training/plan/plan.ts";
import { reproduceJob, reproductionOf } from "../training/plan/reproduce.ts";
import { CreateTrainJob, TrainOverrides, TrainRequest } from "../training/plan/request.ts";
import { createTrainJob, planTrainJob, rerunJob } from "../training/plan/service.ts";
import { queueFacts } from "../training/queue/service.ts";
import { CheckpointsPage, checkpointView } from "./fine-tuning-model.ts";
import { startView, waitingView } from "./queue.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Jobs"];
const PATH = "/v1/jobs";

export const jobsApi = (ctx: Ctx) => {
  const act = (name: string, summary: string, work: (ctx: Ctx, actor: Actor, id: string) => Promise<JobRow>) =>
    new Elysia({ name: `jobs.${name}`, seed: ctx.installation })
      .use(session(ctx))
      .post(`/:id/${name}`, async ({ actor, params }) => jobView(await work(ctx, actor, params.id)), {
        params: Id,
        detail: { tags, summary },
      });
  return new Elysia({ name: "jobs.api", prefix: PATH, seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, body, request }) => {
        const { kind: _kind, ...train } = body;
        return jobView(await createTrainJob(ctx, actor, train, marksOf(actor, request, PATH, body)));
      },
      {
        body: CreateTrainJob,
        detail: {
          tags,
          summary: "Create a training job",
          description:
            "Every number may be left out or `auto`. Evaluations and endpoints are made at /v1/evaluations and /v1/deployments.",
        },
      },
    )
    .post("/plan", async ({ actor, body }) => planView(await planTrainJob(ctx, actor, body)), {
      body: TrainRequest,
      detail: {
        tags,
        summary: "What a training job would do and take; starts nothing",
        description:
          "Resolved numbers with the reason of each, steps and tokens; memory by its parts in MiB, corrected by finished runs; every machine providers offer, with whether it fits, time and cost at least and at most; rows that will be cut; and as `suggestion.change` the fields that would make it fit, when it fits no machine.",
      },
    })
    .get(
      "",
      async ({ actor, query }) => {
        const page = pageOf(await listJobs(ctx, actor, query), query.limit);
        return { ...page, data: page.data.map(jobView) };
      },
      { query: ListJobs, detail: { tags, summary: "List jobs, newest first; by kind, states or text" } },
    )
    .get(
      "/:id",
      async ({ actor, params }) => {
        const row = await getJob(ctx, actor, params.id);
        const usage = await usageOfJob(ctx, actor, row.id);
        const queue = await queueFacts(ctx, actor, row);
        return {
          ...jobView(row),
          waiting_for: waitingView(queue?.waiting ?? null),
          predicted_start: queue && startView(queue.start),
          position: queue?.position ?? null,
          reproduction: await reproductionOf(ctx, actor, row),
          usage: { seconds: usage.durationMs / 1000, tokens: usage.tokens, cost_usd: usage.costUsd },
        };
      },
      { params: Id, detail: { tags, summary: "Retrieve a job with its frozen spec and progress" } },
    )
    .get(
      "/:id/attempts",
      async ({ actor, params }) => {
        const rows = await listAttempts(ctx, actor, params.id);
        return { object: "list" as const, data: rows.map(attemptView), has_more: false };
      },
      { params: Id, detail: { tags, summary: "Attempts of a job, oldest first" } },
    )
    .get(
      "/:id/checkpoints",
      async ({ actor, params, query }) => {
        await getJob(ctx, actor, params.id);
        const rows = await listCheckpoints(ctx, params.id, { after: query.after, limit: query.limit + 1 });
        const page = pageOf(rows, query.limit);
        return { ...page, data: page.data.map(checkpointView) };
      },
      { params: Id, query: CheckpointsPage, detail: { tags, summary: "Checkpoints of a job, newest first" } },
    )
    .delete(
      "/:id/checkpoints",
      async ({ actor, params }) => {
        const { checkpoints, bytes, kept } = await clearRun(ctx, actor, params.id);
        return { object: "job.cleared" as const, id: params.id, checkpoints, bytes, kept };
      },
      {
        params: Id,
        detail: {
          tags,
          summary: "Delete the files of an ended training job that nothing uses",
          description:
            "Its checkpoints, the files of its model once that is deleted, and exports of either. What a model, an endpoint or a job that has not ended uses stays, and is named in `kept`. Curves and log stay. `bytes` is what was freed.",
        },
      },
    )
    .get(
      "/:id/output",
      async ({ actor, params }) => ({
        object: "job.output" as const,
        lines: await processOutput(ctx, actor, params.id),
      }),
      { params: Id, detail: { tags, summary: "Last lines the job's process printed, as its provider keeps them" } },
    )
    .post("/:id/rerun", async ({ actor, params, body }) => jobView(await rerunJob(ctx, actor, params.id, body ?? {})), {
      params: Id,
      body: v.optional(v.nullable(TrainOverrides)),
      detail: { tags, summary: "Run a training job again, with changes; null sets a field back to auto" },
    })
    .post("/:id/reproduce", async ({ actor, params }) => jobView(await reproduceJob(ctx, actor, params.id)), {
      params: Id,
      detail: {
        tags,
        summary: "Run the frozen spec of a training job once more",
        description:
          "Same data, base model, numbers and seed; refused when any of them is gone. The new job's `reproduction` says step by step whether the losses are the same.",
      },
    })
    .use(act("cancel", "Cancel a job", cancelJob))
    .use(act("pause", "Pause a job after a checkpoint", pauseJob))
    .use(act("resume", "Resume a paused job", resumeJob))
    .use(act("checkpoint", "Save a checkpoint now and go on", checkpointNow));
};
