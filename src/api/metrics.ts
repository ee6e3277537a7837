/** The JSON API of this room: metric series, logs and samples of jobs, and the live stream. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { type AccessWatch, accessEnded, watchAccess } from "../accounts/auth/revocation.ts";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { session } from "../http/session.ts";
import { metricsCsv } from "../training/metrics/csv.ts";
import {
  LogQuerySchema,
  logView,
  SeriesQuerySchema,
  SeveralSchema,
  StreamQuerySchema,
  searchText,
  seriesView,
} from "../training/metrics/model.ts";
import { listSamples, readLogs, readSeries, requireJobs } from "../training/metrics/service.ts";
import { openStream } from "../training/metrics/stream.ts";
import { TOPICS } from "../training/metrics/topics.ts";

const params = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Metrics"];

/** The id a returning reader last saw: the header browsers send by themselves wins over the address. */
function lastId(request: Request, after: number | undefined): number | null {
  const header = request.headers.get("last-event-id");
  if (header && /^\d{1,15}$/.test(header)) return Number(header);
  return after ?? null;
}

/** A download that breaks off, rather than ends, when access does. */
function streamOf(source: AsyncGenerator<string>, access: AccessWatch): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await source.next();
        await access.settled();
        if (access.ended) throw accessEnded();
        if (!next.done) return controller.enqueue(encoder.encode(next.value));
        access.stop();
        controller.close();
      } catch (cause) {
        access.stop();
        controller.error(cause);
        await source.return(undefined);
      }
    },
    async cancel() {
      access.stop();
      await source.return(undefined);
    },
  });
}

export const metricsApi = (ctx: Ctx) =>
  new Elysia({ name: "metrics.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/jobs/:id/metrics",
      async ({ actor, params: { id }, query }) => {
        await requireJobs(ctx, actor, [id]);
        const { points, ...range } = query;
        return seriesView(id, await readSeries(ctx, id, { ...range, maxPoints: points }));
      },
      {
        params,
        query: SeriesQuerySchema,
        detail: {
          summary: "Metric series of a job, thinned for a chart",
          description:
            "At most `points` (2,000) points a series; the smallest and largest values of every stretch are kept. `batch_id` is where a stream opened with `after=` continues.",
          tags,
        },
      },
    )
    .get(
      "/jobs/:id/metrics.csv",
      async ({ actor, params: { id }, request }) => {
        await requireJobs(ctx, actor, [id]);
        return new Response(streamOf(metricsCsv(ctx, id), watchAccess(ctx, actor, request)), {
          headers: {
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": `attachment; filename="${id.replace(/[^A-Za-z0-9_-]/g, "_")}-metrics.csv"`,
          },
        });
      },
      { params, detail: { summary: "All metric points of a job as CSV", tags } },
    )
    .post(
      "/jobs/metrics",
      async ({ actor, body }) => {
        const { jobs, points, ...range } = body;
        await requireJobs(ctx, actor, jobs);
        const data = [];
        for (const id of new Set(jobs))
          data.push(seriesView(id, await readSeries(ctx, id, { ...range, maxPoints: points ?? 1000 })));
        return { object: "list" as const, data };
      },
      { body: SeveralSchema, detail: { summary: "Metric series of several jobs, to lay over each other", tags } },
    )
    .get(
      "/jobs/:id/logs",
      async ({ actor, params: { id }, query, request }) => {
        await requireJobs(ctx, actor, [id]);
        return logView(await readLogs(ctx, id, { ...query, search: searchText(request.url) }));
      },
      {
        params,
        query: LogQuerySchema,
        detail: {
          summary: "Log lines of a job, with search",
          description:
            "The newest lines, or those before or after a line's id. A search looks at 20,000 lines at a time; `next` says where to go on.",
          tags,
        },
      },
    )
    .get(
      "/jobs/:id/samples",
      async ({ actor, params: { id } }) => {
        await requireJobs(ctx, actor, [id]);
        return { object: "list" as const, data: await listSamples(ctx, id) };
      },
      { params, detail: { summary: "What the model answered at checkpoints", tags } },
    )
    .get(
      "/stream",
      async ({ actor, query, request, server }) => {
        const topics = query.topics ?? [];
        const unknown = topics.find((topic) => !(TOPICS as readonly string[]).includes(topic));
        if (unknown !== undefined)
          throw new AppError(
            "invalid",
            "unknown_topic",
            `There is no topic "${unknown}". Topics: ${TOPICS.join(", ")}.`,
            {
              param: "topics",
            },
          );
        const body = await openStream(
          ctx,
          actor,
          { jobs: [...new Set(query.jobs ?? [])], topics, after: lastId(request, query.after) },
          request,
        );
        server?.timeout(request, 0);
        return new Response(body, {
          headers: {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
          },
        });
      },
      {
        query: StreamQuerySchema,
        detail: {
          summary: "Live news as server-sent events",
          description:
            "One stream a page: `jobs=` (up to 32 ids) and `topics=`. Events: `hello` {batch_id}, `batch` {job_id, batch_id, points, logs, progress, samples, phase} with the batch id as event id, `changed` {topic, id, state}, `reset` {job_id, batch_id}: too much was missed, read the job anew. Resumes by `Last-Event-ID` or `after=`, without a gap and without sending twice.",
          tags,
        },
      },
    );
