/** The figures that a monitoring system collects: jobs, queue, GPUs, endpoints, requests, disk and process. */
import { statfsSync } from "node:fs";
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import { freeGpus } from "../../compute/hosts/allocations.ts";
import { FINAL_STATES, OPEN_STATES } from "../../contract/job.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { gpu, gpuAllocation } from "../../db/schema/hosts.ts";
import { job } from "../../db/schema/jobs.ts";
import { type Family, histogram, prometheusText } from "../../lib/text/prometheus.ts";
import { readBucketState } from "../../objects/sweep.ts";
import { LATENCY_BOUNDS, type RequestCounts, requestCounts } from "../../serving/gateway/counters.ts";
import { readWork } from "./work.ts";

const KINDS = job.kind.enumValues;
const ENDPOINT_STATES = deployment.state.enumValues;
const count = sql<number>`count(*)`;

const gauge = (name: string, help: string, samples: Family["samples"]): Family => ({
  name: `finetune_lab_${name}`,
  type: "gauge",
  help,
  samples,
});
const counter = (name: string, help: string, samples: Family["samples"]): Family => ({
  ...gauge(`${name}_total`, help, samples),
  type: "counter",
});

async function jobFamilies(ctx: Ctx): Promise<Family[]> {
  const open = await ctx.db
    .select({ kind: job.kind, state: job.state, count })
    .from(job)
    .where(inArray(job.state, [...OPEN_STATES]))
    .groupBy(job.kind, job.state);
  // By state alone, so that the index answers it.
  const ended = await ctx.db
    .select({ state: job.state, count })
    .from(job)
    .where(inArray(job.state, [...FINAL_STATES]))
    .groupBy(job.state);
  const openOf = (kind: string, state: string) =>
    open.find((row) => row.kind === kind && row.state === state)?.count ?? 0;
  const work = await readWork(ctx, systemActor());
  return [
    gauge(
      "jobs",
      "Jobs that have not ended, by kind and state.",
      KINDS.flatMap((kind) => OPEN_STATES.map((state) => ({ labels: { kind, state }, value: openOf(kind, state) }))),
    ),
    counter(
      "jobs_ended",
      "Jobs that have ended, by state, deleted ones included.",
      FINAL_STATES.map((state) => ({
        labels: { state },
        value: ended.find((row) => row.state === state)?.count ?? 0,
      })),
    ),
    gauge("queue_length", "Jobs that wait to start.", [{ value: work.waiting }]),
    gauge("dataset_validations", "Dataset versions that are being validated or wait for it.", [
      { value: work.validating },
    ]),
  ];
}

async function gpuFamily(ctx: Ctx): Promise<Family> {
  const [all] = await ctx.db.select({ count }).from(gpu).where(isNull(gpu.lostAt));
  const [used] = await ctx.db
    .select({ count: sql<number>`count(distinct ${gpuAllocation.gpuUuid})` })
    .from(gpuAllocation)
    .innerJoin(gpu, and(eq(gpu.uuid, gpuAllocation.gpuUuid), isNull(gpu.lostAt)));
  const held = new Set(
    (await ctx.db.selectDistinct({ uuid: gpuAllocation.gpuUuid }).from(gpuAllocation)).map((row) => row.uuid),
  );
  const free = [...(await freeGpus(ctx)).values()].flat().filter((one) => !held.has(one.uuid)).length;
  const inUse = used?.count ?? 0;
  return gauge(
    "gpus",
    "GPUs by state: used by work of this server, free, or unavailable because their host is not ready or unreachable.",
    [
      { labels: { state: "used" }, value: inUse },
      { labels: { state: "free" }, value: free },
      { labels: { state: "unavailable" }, value: Math.max(0, (all?.count ?? 0) - inUse - free) },
    ],
  );
}

/** Deployments by state, and the requests of those that exist: a deleted one leaves the counts. */
async function endpointFamilies(ctx: Ctx): Promise<Family[]> {
  const rows = await ctx.db
    .select({ id: deployment.id, state: deployment.state })
    .from(deployment)
    .where(isNull(deployment.deletedAt));
  const existing = new Set(["", ...rows.map((row) => row.id)]);
  const counts = requestCounts(ctx).filter((one) => existing.has(one.deployment));
  const labelsOf = ({ deployment, model }: RequestCounts) => ({ deployment, model });
  return [
    gauge(
      "deployments",
      "Deployments by state.",
      ENDPOINT_STATES.map((state) => ({
        labels: { state },
        value: rows.filter((row) => row.state === state).length,
      })),
    ),
    counter(
      "requests",
      "Inference requests since the start of the server, by deployment and status; deployment is empty when the request reached none.",
      counts.flatMap((one) =>
        [...one.byStatus].map(([status, value]) => ({ labels: { ...labelsOf(one), status: String(status) }, value })),
      ),
    ),
    counter(
      "tokens",
      "Tokens of inference requests since the start of the server, by deployment and direction.",
      counts.flatMap((one) => [
        { labels: { ...labelsOf(one), direction: "input" }, value: one.promptTokens },
        { labels: { ...labelsOf(one), direction: "output" }, value: one.completionTokens },
      ]),
    ),
    {
      name: "finetune_lab_request_duration_seconds",
      type: "histogram",
      help: "Time from an inference request to the end of its answer, by deployment.",
      samples: counts.flatMap((one) => histogram(labelsOf(one), LATENCY_BOUNDS, one.latency, one.latencySumS)),
    },
  ];
}

/** The bucket, and what its last comparison with the database found; nothing without a bucket. */
async function bucketFamilies(ctx: Ctx): Promise<Family[]> {
  const state = await readBucketState(ctx);
  if (!state) return [];
  const { last, removed, failure, waiting } = state;
  const kinds = ["strays", "orphans", "uploads"] as const;
  const found = (value: number | undefined) => (value === undefined ? [] : [{ value }]);
  return [
    gauge("object_removals_waiting", "Objects whose removal is not confirmed yet.", [{ value: waiting }]),
    gauge("objects", "Objects in the bucket at the last comparison.", found(last?.objects)),
    gauge("object_bytes", "Bytes in the bucket at the last comparison.", found(last?.bytes)),
    gauge("objects_missing", "Objects missing at the last comparison, at most 100.", found(last?.missing.length)),
    gauge("object_comparison_time_seconds", "Time of the last comparison.", last ? [{ value: last.at / 1000 }] : []),
    gauge("object_comparison_failed", "1 when the last comparison failed.", [{ value: failure ? 1 : 0 }]),
    counter(
      "objects_removed",
      "What comparisons removed: objects and units without a row, and unfinished uploads.",
      kinds.map((kind) => ({ labels: { kind }, value: removed[kind] })),
    ),
    counter("object_bytes_removed", "Bytes that comparisons removed.", [{ value: removed.removedBytes }]),
  ];
}

/**
 * All figures in the text format of Prometheus. They are of the whole installation: the caller checks who may read
 * them.
 * @param version the version of the server
 */
export async function readMonitoring(ctx: Ctx, version: string): Promise<string> {
  const disk = statfsSync(ctx.files.root);
  return prometheusText([
    gauge("info", "The version of the server.", [{ labels: { version }, value: 1 }]),
    ...(await jobFamilies(ctx)),
    await gpuFamily(ctx),
    ...(await endpointFamilies(ctx)),
    ...(await bucketFamilies(ctx)),
    gauge("disk_free_bytes", "Free bytes on the disk of the data directory.", [{ value: disk.bavail * disk.bsize }]),
    gauge("disk_size_bytes", "Size of the disk of the data directory in bytes.", [{ value: disk.blocks * disk.bsize }]),
    {
      name: "process_resident_memory_bytes",
      type: "gauge",
      help: "Resident memory of the server in bytes.",
      samples: [{ value: process.memoryUsage.rss() }],
    },
    {
      name: "process_start_time_seconds",
      type: "gauge",
      help: "Start of the server as a Unix time in seconds.",
      samples: [{ value: Math.round(performance.timeOrigin / 1000) }],
    },
  ]);
}
