/** GET /v1/usage and its parts: the usage of a month, use over time, jobs, forecast and GPUs. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { forecast } from "../billing/exports/forecast.ts";
import { gpuUse } from "../billing/exports/gpus.ts";
import {
  ExportQuery,
  ForecastView,
  GpusQuery,
  GpuUse,
  JobsQuery,
  JobUse,
  SeriesQuery,
  UsageSeries,
} from "../billing/exports/model.ts";
import { periodOf, topJobs, usageSeries } from "../billing/exports/series.ts";
import { exportUsage } from "../billing/exports/service.ts";
import { UsageQuery, UsageSummary } from "../billing/ledger/model.ts";
import { usageSummary } from "../billing/ledger/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { generatedFile } from "../http/stored-file.ts";
import { listOf, pageOf } from "../lib/page.ts";

/** A period of a query, in milliseconds; the current month without one. */
const period = (ctx: Ctx, { from, to }: { from?: number; to?: number }) =>
  periodOf(ctx, { from: from === undefined ? from : from * 1000, to: to === undefined ? to : to * 1000 });

function seriesRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof SeriesQuery>) {
  const { from, to, group_by: groupBy, measure, bucket_width: width, limit, ...filter } = query;
  return usageSeries(ctx, actor, { ...period(ctx, { from, to }), groupBy, measure, width, limit, filter });
}

async function jobsRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof JobsQuery>) {
  const { from, to, measure, limit, after, ...filter } = query;
  return pageOf(await topJobs(ctx, actor, { ...period(ctx, { from, to }), measure, limit, after, filter }), limit);
}

interface Caller {
  request: Request;
  actor: Actor;
  query: v.InferOutput<typeof ExportQuery>;
}

async function exportRoute(ctx: Ctx, { request, actor, query: { format, ...query } }: Caller): Promise<Response> {
  return generatedFile(ctx, actor, request, await exportUsage(ctx, actor, { ...period(ctx, query), format }));
}

const SEEN = "Members see their own use, other roles that of the whole team. Days and months are in UTC.";

export const billingApi = (ctx: Ctx) =>
  new Elysia({ name: "billing.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/usage", ({ actor, query }) => usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by }), {
      query: UsageQuery,
      detail: {
        tags: ["Usage"],
        summary: "Usage of a month by user, model, key, kind or provider",
        responses: answers(UsageSummary),
      },
    })
    .get("/usage/series", ({ actor, query }) => seriesRoute(ctx, actor, query), {
      query: SeriesQuery,
      detail: {
        tags: ["Usage"],
        summary: "Use or cost by day or hour, for each of the largest groups",
        description: `${SEEN} At most 400 days or 72 hours. \`user\`, \`model\`, \`key\`, \`kind\`, \`provider\`, \`gpu\`, \`meter\` and \`job\` select use with that value; an empty value selects use without one.`,
        responses: answers(UsageSeries),
      },
    })
    .get("/usage/jobs", ({ actor, query }) => jobsRoute(ctx, actor, query), {
      query: JobsQuery,
      detail: {
        tags: ["Usage"],
        summary: "Jobs by what they used in a period, most first",
        description: SEEN,
        responses: answers(listOf(JobUse)),
      },
    })
    .get("/usage/forecast", ({ actor }) => forecast(ctx, actor), {
      detail: {
        tags: ["Usage"],
        summary: "Cost of the current month so far, and what the whole month will cost",
        description: `The forecast is the cost so far, plus the mean of the last seven full days for each day left, plus endpoints that run now at their own rate, which the mean leaves out. The range is one standard deviation. ${SEEN}`,
        responses: answers(ForecastView),
      },
    })
    .get("/usage/export", (call) => exportRoute(ctx, call), {
      query: ExportQuery,
      detail: {
        tags: ["Usage"],
        summary: "Metered intervals of a period as a file",
        description: `CSV, JSON Lines or Parquet with one row for each interval, or rows of FOCUS 1.2 (\`focus_csv\`, \`focus_parquet\`) for finance tools. ${SEEN} At most 400 days.`,
        responses: answersType("application/octet-stream", "The file; its type depends on the format."),
      },
    })
    .get("/usage/gpus", ({ actor, query }) => gpuUse(ctx, actor, period(ctx, query)), {
      query: GpusQuery,
      detail: {
        tags: ["Usage"],
        summary: "GPU-hours used, reserved and idle",
        description: `Of the installation's own hosts, from the first day of the period until now at the latest. ${SEEN}`,
        responses: answers(GpuUse),
      },
    });
