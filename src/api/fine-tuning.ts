/** OpenAI's /v1/fine_tuning/jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError, notFound } from "../errors.ts";
import { marksOf } from "../http/idempotency.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";
import { listCheckpoints } from "../models/tuned/service.ts";
import { listJobs } from "../training/jobs/list.ts";
import type { JobRow } from "../training/jobs/model.ts";
import { cancelJob, pauseJob, resumeJob } from "../training/jobs/service.ts";
import { getJob } from "../training/jobs/store.ts";
import { eventView } from "../training/metrics/model.ts";
import { listJobEvents } from "../training/metrics/service.ts";
import { withResults } from "../training/plan/result-files.ts";
import { createTrainJob } from "../training/plan/service.ts";
import {
  CheckpointsPage,
  CreateFineTuningJob,
  checkpointView,
  EventsPage,
  fineTuningJobView,
  fromOpenAI,
  JobsPage,
  metadataFilter,
} from "./fine-tuning-model.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Fine-tuning"];
const PATH = "/v1/fine_tuning/jobs";

/** The training job `id`; jobs of other kinds do not exist here. */
async function trainJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.kind !== "train") throw notFound("job", id.slice(0, 100));
  return row;
}

export const fineTuningApi = (ctx: Ctx) => {
  const act = (name: string, summary: string, work: (actor: Actor, id: string) => Promise<JobRow>) =>
    new Elysia({ name: `fine-tuning.${name}`, seed: ctx.installation }).use(session(ctx)).post(
      `/:id/${name}`,
      async ({ actor, params }) => {
        await trainJob(ctx, actor, params.id);
        return fineTuningJobView(await work(actor, params.id), ctx.clock.now());
      },
      { params: Id, detail: { tags, summary } },
    );
  return new Elysia({ name: "fine-tuning.api", prefix: PATH, seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, body, request }) => {
        const { request: train, paramOf } = fromOpenAI(body);
        const marks = marksOf(actor, request, PATH, body);
        const row = await createTrainJob(ctx, actor, train, marks).catch((error) => {
          throw error instanceof AppError && error.param ? error.withParam(paramOf(error.param)) : error;
        });
        return fineTuningJobView(row, ctx.clock.now());
      },
      {
        body: CreateFineTuningJob,
        detail: {
          tags,
          summary: "Create a fine-tuning job",
          description:
            "As OpenAI's. Own extras go under `ftl`: rank, alpha, layers, max_length, max_steps, precision, provider, max_price_per_hour, evaluate_after, priority and more.",
        },
      },
    )
    .get(
      "",
      async ({ actor, query, request }) => {
        const { after, limit } = query;
        const metadata = metadataFilter(request.url);
        const page = pageOf(await listJobs(ctx, actor, { kind: "train", after, limit, metadata }), limit);
        const now = ctx.clock.now();
        return { ...page, data: page.data.map((row) => fineTuningJobView(row, now)) };
      },
      { query: JobsPage, detail: { tags, summary: "List fine-tuning jobs, newest first" } },
    )
    .get(
      "/:id",
      async ({ actor, params }) =>
        fineTuningJobView(await withResults(ctx, await trainJob(ctx, actor, params.id)), ctx.clock.now()),
      { params: Id, detail: { tags, summary: "Retrieve a fine-tuning job" } },
    )
    .get(
      "/:id/events",
      async ({ actor, params, query }) => {
        await trainJob(ctx, actor, params.id);
        const rows = await listJobEvents(ctx, params.id, query);
        const page = pageOf(rows, query.limit);
        return { ...page, data: page.data.map(eventView) };
      },
      { params: Id, query: EventsPage, detail: { tags, summary: "Events of a job, newest first" } },
    )
    .get(
      "/:id/checkpoints",
      async ({ actor, params, query }) => {
        await trainJob(ctx, actor, params.id);
        const rows = await listCheckpoints(ctx, params.id, { after: query.after, limit: query.limit + 1 });
        const page = pageOf(rows, query.limit);
        return { ...page, data: page.data.map(checkpointView) };
      },
      { params: Id, query: CheckpointsPage, detail: { tags, summary: "Checkpoints of a job, newest first" } },
    )
    .use(act("cancel", "Cancel a job", (actor, id) => cancelJob(ctx, actor, id)))
    .use(act("pause", "Pause a job after a checkpoint", (actor, id) => pauseJob(ctx, actor, id)))
    .use(act("resume", "Resume a paused job", (actor, id) => resumeJob(ctx, actor, id)));
};
