/** JSON API of metrics: series, logs and samples of jobs, and the live stream. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { generatedFile } from "../http/stored-file.ts";
import { getJob } from "../training/jobs/store.ts";
import { metricsCsv } from "../training/metrics/csv.ts";
import {
  JobMetrics,
  LogLines,
  LogQuerySchema,
  logView,
  Samples,
  SeriesQuerySchema,
  SeveralMetrics,
  SeveralSchema,
  StreamQuerySchema,
  searchText,
  seriesView,
} from "../training/metrics/model.ts";
import { listSamples, readLogs, readSeries, requireJobs } from "../training/metrics/service.ts";
import { openStream } from "../training/metrics/stream.ts";
import { tensorboardEvents } from "../training/metrics/tensorboard.ts";
import { TOPICS } from "../training/metrics/topics.ts";

const params = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Metrics"];

/** The last id that a reconnecting reader saw. The header, which browsers send on reconnect, wins over the URL. */
function lastId(request: Request, after: number | undefined): number | null {
  const header = request.headers.get("last-event-id");
  if (header && /^\d{1,15}$/.test(header)) return Number(header);
  return after ?? null;
}

interface RequestContext {
  request: Request;
  actor: Actor;
}

async function jobMetrics(ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof SeriesQuerySchema>) {
  await requireJobs(ctx, actor, [id]);
  const { points, ...range } = query;
  return seriesView(id, await readSeries(ctx, id, { ...range, maxPoints: points }));
}

async function jobMetricsCsv(ctx: Ctx, { request, actor }: RequestContext, id: string): Promise<Response> {
  await requireJobs(ctx, actor, [id]);
  const filename = `${id.replace(/[^A-Za-z0-9_-]/g, "_")}-metrics.csv`;
  return generatedFile(ctx, actor, request, { source: metricsCsv(ctx, id), type: "text/csv; charset=utf-8", filename });
}

/** The event file of TensorBoard, which knows one by `tfevents` in its name. */
async function jobTensorboard(ctx: Ctx, { request, actor }: RequestContext, id: string): Promise<Response> {
  const { startedAt, createdAt } = await getJob(ctx, actor, id);
  const at = startedAt ?? createdAt;
  const filename = `events.out.tfevents.${Math.floor(at / 1000)}.${id.replace(/[^A-Za-z0-9_-]/g, "_")}`;
  const source = tensorboardEvents(ctx, id, at);
  return generatedFile(ctx, actor, request, { source, type: "application/octet-stream", filename });
}

async function severalMetrics(ctx: Ctx, actor: Actor, body: v.InferOutput<typeof SeveralSchema>) {
  const { jobs, points, ...range } = body;
  await requireJobs(ctx, actor, jobs);
  const data: JobMetrics[] = [];
  for (const id of new Set(jobs))
    data.push(seriesView(id, await readSeries(ctx, id, { ...range, maxPoints: points ?? 1000 })));
  return { object: "list" as const, data };
}

async function jobLogs(
  ctx: Ctx,
  { request, actor }: RequestContext,
  id: string,
  query: v.InferOutput<typeof LogQuerySchema>,
) {
  await requireJobs(ctx, actor, [id]);
  return logView(await readLogs(ctx, id, { ...query, search: searchText(request.url) }));
}

async function jobSamples(ctx: Ctx, actor: Actor, id: string) {
  await requireJobs(ctx, actor, [id]);
  return { object: "list" as const, data: await listSamples(ctx, id) };
}

async function liveStream(
  ctx: Ctx,
  { request, actor, server }: RequestContext & { server: Bun.Server<unknown> | null },
  query: v.InferOutput<typeof StreamQuerySchema>,
): Promise<Response> {
  const topics = query.topics ?? [];
  const unknown = topics.find((topic) => !(TOPICS as readonly string[]).includes(topic));
  if (unknown !== undefined)
    throw new AppError("invalid", "unknown_topic", `Unknown topic "${unknown}". Topics: ${TOPICS.join(", ")}.`, {
      param: "topics",
    });
  const want = { jobs: [...new Set(query.jobs ?? [])], topics, after: lastId(request, query.after) };
  const body = await openStream(ctx, actor, want, request);
  server?.timeout(request, 0);
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    },
  });
}

export const metricsApi = (ctx: Ctx) =>
  new Elysia({ name: "metrics.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/jobs/:id/metrics", ({ actor, params: { id }, query }) => jobMetrics(ctx, actor, id, query), {
      params,
      query: SeriesQuerySchema,
      detail: {
        tags,
        summary: "Metric series of a job, thinned for a chart",
        description:
          "Returns at most `points` (2,000) points per series, with the smallest and largest values of every section. Open a stream with `after=` and the `batch_id` to continue.",
        responses: answers(JobMetrics),
      },
    })
    .get("/jobs/:id/metrics.csv", (context) => jobMetricsCsv(ctx, context, context.params.id), {
      params,
      detail: {
        tags,
        summary: "All metrics of a job as CSV",
        responses: answersType("text/csv", "One line per step and one column per series."),
      },
    })
    .get("/jobs/:id/tensorboard", (context) => jobTensorboard(ctx, context, context.params.id), {
      params,
      detail: {
        tags,
        summary: "All metrics of a job as an event file of TensorBoard",
        responses: answersType("application/octet-stream", "The file, with one event per step."),
      },
    })
    .post("/jobs/metrics", ({ actor, body }) => severalMetrics(ctx, actor, body), {
      body: SeveralSchema,
      detail: {
        tags,
        summary: "Metric series of several jobs, for comparison",
        responses: answers(SeveralMetrics),
      },
    })
    .get("/jobs/:id/logs", (context) => jobLogs(ctx, context, context.params.id, context.query), {
      params,
      query: LogQuerySchema,
      detail: {
        tags,
        summary: "Log lines of a job, with search",
        description:
          "Returns the newest lines, or those before or after the id of a line. A search reads 20,000 lines at a time and continues at `next`.",
        responses: answers(LogLines),
      },
    })
    .get("/jobs/:id/samples", ({ actor, params: { id } }) => jobSamples(ctx, actor, id), {
      params,
      detail: { tags, summary: "Sample outputs of a job at its checkpoints", responses: answers(Samples) },
    })
    .get("/stream", (context) => liveStream(ctx, context, context.query), {
      query: StreamQuerySchema,
      detail: {
        tags,
        summary: "Live updates as server-sent events",
        description:
          "One stream per page, with `jobs=` (up to 32 ids) and `topics=`. Events: `hello` {batch_id}; `batch` {job_id, batch_id, points, logs, progress, samples, phase} with the batch id as event id; `changed` {topic, id, state}; `reset` {job_id, batch_id} when too much was missed and the job must be read again. Resumes after `Last-Event-ID` or `after=` without gaps or duplicates.",
        responses: answersType("text/event-stream", "Events until the client disconnects."),
      },
    });
