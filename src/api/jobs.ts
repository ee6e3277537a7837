/** /v1/jobs: jobs of every kind in our own form, plans, and the actions on a job. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { maxCostsOf } from "../billing/budgets/max-cost.ts";
import { energyOf } from "../billing/ledger/energy.ts";
import { usageOfJob } from "../billing/ledger/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { marksOf } from "../http/idempotency.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { listCheckpoints } from "../models/tuned/service.ts";
import { jobCost } from "../training/jobs/cost.ts";
import { deleteJob, updateJob } from "../training/jobs/edit.ts";
import { listJobs } from "../training/jobs/list.ts";
import { attemptView, type JobRow, JobView, jobView, ListJobs, UpdateJob } from "../training/jobs/model.ts";
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
import { PlanView, planView } from "../training/plan/plan.ts";
import { continueJob, reproduceJob, reproductionOf } from "../training/plan/reproduce.ts";
import { CreateTrainJob, TrainOverrides, TrainRequest } from "../training/plan/request.ts";
import { createTrainJob, rerunJob } from "../training/plan/service.ts";
import { planInQueue } from "../training/queue/planned.ts";
import { queueFacts } from "../training/queue/service.ts";
import { CheckpointsPage } from "./fine-tuning-model.ts";
import { CheckpointView, checkpointView } from "./fine-tuning-views.ts";
import { AttemptList, ClearedView, DeletedJob, JobDetails, OutputView } from "./jobs-model.ts";
import { startView, waitingView } from "./queue.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Jobs"];
const PATH = "/v1/jobs";

async function createJobRoute(ctx: Ctx, actor: Actor, body: v.InferOutput<typeof CreateTrainJob>, request: Request) {
  const { kind: _kind, ...train } = body;
  return jobView(await createTrainJob(ctx, actor, train, marksOf(actor, request, PATH, body)));
}

async function planRoute(ctx: Ctx, actor: Actor, body: TrainRequest) {
  return planView(await planInQueue(ctx, actor, body));
}

async function listJobsRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof ListJobs>) {
  const { created_by: createdBy, dataset: datasetId, base_model: base, ...rest } = query;
  const page = pageOf(await listJobs(ctx, actor, { ...rest, createdBy, datasetId, base }), query.limit);
  return { ...page, data: page.data.map(jobView) };
}

async function retrieveJobRoute(ctx: Ctx, actor: Actor, id: string): Promise<JobDetails> {
  const row = await getJob(ctx, actor, id);
  const usage = await usageOfJob(ctx, actor, row.id);
  const queue = await queueFacts(ctx, actor, row);
  const max = (await maxCostsOf(ctx.db, [row.id])).get(row.id);
  return {
    ...jobView(row),
    waiting_for: waitingView(queue?.waiting ?? null),
    predicted_start: queue && startView(queue.start),
    position: queue?.position ?? null,
    max_cost_usd: max ? max.micros / 1_000_000 : null,
    reproduction: await reproductionOf(ctx, actor, row),
    cost: await jobCost(ctx, row),
    usage: {
      seconds: usage.durationMs / 1000,
      captured_seconds: (usage.durationMs - usage.freeMs - usage.discardedMs) / 1000,
      free_seconds: usage.freeMs / 1000,
      discarded_seconds: usage.discardedMs / 1000,
      tokens: usage.tokens,
      cost_usd: usage.costUsd,
      discarded_usd: usage.discardedUsd,
      ...(await energyOf(ctx, usage.joules)),
    },
  };
}

async function listAttemptsRoute(ctx: Ctx, actor: Actor, id: string): Promise<AttemptList> {
  const rows = await listAttempts(ctx, actor, id);
  return { object: "list", data: rows.map(attemptView), has_more: false };
}

async function listCheckpointsRoute(ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof CheckpointsPage>) {
  await getJob(ctx, actor, id);
  const page = pageOf(await listCheckpoints(ctx, id, { after: query.after, limit: query.limit + 1 }), query.limit);
  return { ...page, data: page.data.map(checkpointView) };
}

async function clearRoute(ctx: Ctx, actor: Actor, id: string): Promise<ClearedView> {
  const { checkpoints, bytes, kept } = await clearRun(ctx, actor, id);
  return { object: "job.cleared", id, checkpoints, bytes, kept };
}

async function deleteRoute(ctx: Ctx, actor: Actor, id: string): Promise<DeletedJob> {
  await deleteJob(ctx, actor, id);
  return { object: "job", id, deleted: true };
}

async function outputRoute(ctx: Ctx, actor: Actor, id: string): Promise<OutputView> {
  return { object: "job.output", lines: await processOutput(ctx, actor, id) };
}

async function rerunRoute(ctx: Ctx, actor: Actor, id: string, changes: v.InferOutput<typeof TrainOverrides> | null) {
  return jobView(await rerunJob(ctx, actor, id, changes ?? {}));
}

/** Performs an action on a job and answers with the job. */
async function actionRoute(
  ctx: Ctx,
  actor: Actor,
  id: string,
  action: (ctx: Ctx, actor: Actor, id: string) => Promise<JobRow>,
) {
  return jobView(await action(ctx, actor, id));
}

const job = answers(JobView);

export const jobsApi = (ctx: Ctx) =>
  new Elysia({ name: "jobs.api", prefix: PATH, seed: ctx.installation })
    .use(session(ctx))
    .post("", ({ actor, body, request }) => createJobRoute(ctx, actor, body, request), {
      body: CreateTrainJob,
      detail: {
        tags,
        summary: "Create a training job",
        description:
          "Every hyperparameter may be left out or `auto`. Create evaluations with /v1/evaluations and endpoints with /v1/deployments.",
        responses: job,
      },
    })
    .post("/plan", ({ actor, body }) => planRoute(ctx, actor, body), {
      body: TrainRequest,
      detail: {
        tags,
        summary: "Plan a training job without starting it",
        description:
          "Resolved settings with the reason for each, steps and tokens; memory by parts in MiB, corrected by finished runs; all machines that providers offer, with fit, time and cost ranges; the number of truncated rows; and, when no machine fits, `suggestion.change` with the fields that would make it fit.",
        responses: answers(PlanView),
      },
    })
    .get("", ({ actor, query }) => listJobsRoute(ctx, actor, query), {
      query: ListJobs,
      detail: {
        tags,
        summary: "List jobs, newest first or by a column; filter by kind, state, text, user, dataset, base model, tag",
        responses: answers(listOf(JobView)),
      },
    })
    .get("/:id", ({ actor, params }) => retrieveJobRoute(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a job with its frozen spec and progress", responses: answers(JobDetails) },
    })
    .patch("/:id", async ({ actor, params, body }) => jobView(await updateJob(ctx, actor, params.id, body)), {
      params: Id,
      body: UpdateJob,
      detail: { tags, summary: "Change the name, tags or note of a job, or archive it", responses: job },
    })
    .delete("/:id", ({ actor, params }) => deleteRoute(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Delete an ended job",
        description:
          "Deletes its metrics, log, samples, answers, checkpoints and files. Refused while its model or its deployment exists. Its usage stays in the ledger.",
        responses: answers(DeletedJob),
      },
    })
    .get("/:id/attempts", ({ actor, params }) => listAttemptsRoute(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "List attempts of a job, oldest first", responses: answers(AttemptList) },
    })
    .get("/:id/checkpoints", ({ actor, params, query }) => listCheckpointsRoute(ctx, actor, params.id, query), {
      params: Id,
      query: CheckpointsPage,
      detail: { tags, summary: "List checkpoints of a job, newest first", responses: answers(listOf(CheckpointView)) },
    })
    .delete("/:id/checkpoints", ({ actor, params }) => clearRoute(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Delete unused files of an ended training job",
        description:
          "Deletes checkpoints, the files of a deleted model, and exports of either. Files in use by a model, an endpoint or an open job are kept and listed in `kept`. Metrics and log are kept. `bytes` is the freed space.",
        responses: answers(ClearedView),
      },
    })
    .get("/:id/output", ({ actor, params }) => outputRoute(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Last lines of output of the job's process, as its provider keeps them",
        responses: answers(OutputView),
      },
    })
    .post("/:id/rerun", ({ actor, params, body }) => rerunRoute(ctx, actor, params.id, body ?? null), {
      params: Id,
      body: v.optional(v.nullable(TrainOverrides)),
      detail: {
        tags,
        summary: "Run a training job again, with changes; null resets a field to auto",
        responses: job,
      },
    })
    .post("/:id/reproduce", ({ actor, params }) => actionRoute(ctx, actor, params.id, reproduceJob), {
      params: Id,
      detail: {
        tags,
        summary: "Run the frozen spec of a training job again",
        description:
          "With the same data, base model, hyperparameters and seed; refused when one of them no longer exists. `reproduction` of the new job reports whether the losses are the same at every step.",
        responses: job,
      },
    })
    .post("/:id/continue", ({ actor, params }) => actionRoute(ctx, actor, params.id, continueJob), {
      params: Id,
      detail: {
        tags,
        summary: "Continue a failed or canceled training job from its newest checkpoint",
        description: "A new job with the same frozen spec, whose first step follows the checkpoint.",
        responses: job,
      },
    })
    .post("/:id/cancel", ({ actor, params }) => actionRoute(ctx, actor, params.id, cancelJob), {
      params: Id,
      detail: { tags, summary: "Cancel a job", responses: job },
    })
    .post("/:id/pause", ({ actor, params }) => actionRoute(ctx, actor, params.id, pauseJob), {
      params: Id,
      detail: { tags, summary: "Pause a job after a checkpoint", responses: job },
    })
    .post("/:id/resume", ({ actor, params }) => actionRoute(ctx, actor, params.id, resumeJob), {
      params: Id,
      detail: { tags, summary: "Resume a paused job", responses: job },
    })
    .post("/:id/checkpoint", ({ actor, params }) => actionRoute(ctx, actor, params.id, checkpointNow), {
      params: Id,
      detail: { tags, summary: "Save a checkpoint now and continue", responses: job },
    });
