/** OpenAI's /v1/fine_tuning/jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError, notFound } from "../errors.ts";
import { answers } from "../http/answers.ts";
import { marksOf } from "../http/idempotency.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { listCheckpoints } from "../models/tuned/service.ts";
import { listJobs } from "../training/jobs/list.ts";
import type { JobRow } from "../training/jobs/model.ts";
import { cancelJob, pauseJob, resumeJob } from "../training/jobs/service.ts";
import { getJob } from "../training/jobs/store.ts";
import { eventView } from "../training/metrics/model.ts";
import { listJobEvents } from "../training/metrics/service.ts";
import { createTrainJob } from "../training/plan/service.ts";
import { withResults } from "../training/results/result-files.ts";
import {
  CheckpointsPage,
  CreateFineTuningJob,
  EventsPage,
  fromOpenAI,
  JobsPage,
  metadataFilter,
} from "./fine-tuning-model.ts";
import {
  CheckpointView,
  checkpointView,
  EventView,
  FineTuningJobView,
  fineTuningJobView,
} from "./fine-tuning-views.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Fine-tuning"];
const PATH = "/v1/fine_tuning/jobs";

/** The training job `id`; jobs of other kinds are not found here. */
async function trainJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.kind !== "train") throw notFound("job", id.slice(0, 100));
  return row;
}

async function createJobRoute(ctx: Ctx, actor: Actor, body: CreateFineTuningJob, request: Request) {
  const { request: train, paramOf } = fromOpenAI(body);
  const row = await createTrainJob(ctx, actor, train, marksOf(actor, request, PATH, body)).catch((error) => {
    throw error instanceof AppError && error.param ? error.withParam(paramOf(error.param)) : error;
  });
  return fineTuningJobView(row, ctx.clock.now());
}

async function listJobsRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof JobsPage>, url: string) {
  const { after, limit } = query;
  const rows = await listJobs(ctx, actor, { kind: "train", after, limit, metadata: metadataFilter(url) });
  const page = pageOf(rows, limit);
  const now = ctx.clock.now();
  return { ...page, data: page.data.map((row) => fineTuningJobView(row, now)) };
}

async function retrieveJobRoute(ctx: Ctx, actor: Actor, id: string) {
  return fineTuningJobView(await withResults(ctx, await trainJob(ctx, actor, id)), ctx.clock.now());
}

async function listEventsRoute(ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof EventsPage>) {
  await trainJob(ctx, actor, id);
  const page = pageOf(await listJobEvents(ctx, id, query), query.limit);
  return { ...page, data: page.data.map(eventView) };
}

async function listCheckpointsRoute(ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof CheckpointsPage>) {
  await trainJob(ctx, actor, id);
  const page = pageOf(await listCheckpoints(ctx, id, { after: query.after, limit: query.limit + 1 }), query.limit);
  return { ...page, data: page.data.map(checkpointView) };
}

type Action = (ctx: Ctx, actor: Actor, id: string) => Promise<JobRow>;

/** Performs an action on a training job and answers with the job. */
async function actionRoute(ctx: Ctx, actor: Actor, id: string, action: Action) {
  await trainJob(ctx, actor, id);
  return fineTuningJobView(await action(ctx, actor, id), ctx.clock.now());
}

const job = answers(FineTuningJobView);

export const fineTuningApi = (ctx: Ctx) =>
  new Elysia({ name: "fine-tuning.api", prefix: PATH, seed: ctx.installation })
    .use(session(ctx))
    .post("", ({ actor, body, request }) => createJobRoute(ctx, actor, body, request), {
      body: nullsAbsent(CreateFineTuningJob),
      detail: {
        tags,
        summary: "Create a fine-tuning job",
        description:
          "As in OpenAI's API. Our own extensions are fields under `ftl`: rank, alpha, layers, max_length, max_steps, precision, provider, max_price_per_hour, max_cost_usd, evaluate_after, priority and more.",
        responses: job,
      },
    })
    .get("", ({ actor, query, request }) => listJobsRoute(ctx, actor, query, request.url), {
      query: JobsPage,
      detail: {
        tags,
        summary: "List fine-tuning jobs, newest first",
        responses: answers(listOf(FineTuningJobView)),
      },
    })
    .get("/:id", ({ actor, params }) => retrieveJobRoute(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a fine-tuning job", responses: job },
    })
    .get("/:id/events", ({ actor, params, query }) => listEventsRoute(ctx, actor, params.id, query), {
      params: Id,
      query: EventsPage,
      detail: { tags, summary: "List events of a job, newest first", responses: answers(listOf(EventView)) },
    })
    .get("/:id/checkpoints", ({ actor, params, query }) => listCheckpointsRoute(ctx, actor, params.id, query), {
      params: Id,
      query: CheckpointsPage,
      detail: { tags, summary: "List checkpoints of a job, newest first", responses: answers(listOf(CheckpointView)) },
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
    });
