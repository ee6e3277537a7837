/** What the start page shows and what the palette finds: gathered from the rooms, nothing of its own. */

import { listHosts } from "../../compute/hosts/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { listDatasets } from "../../data/datasets/service.ts";
import { formatBytes, plural } from "../../lib/text/format.ts";
import { listCatalogue } from "../../models/base/service.ts";
import { listModels } from "../../models/tuned/service.ts";
import { listDeployments } from "../../serving/deployments/service.ts";
import { listJobs } from "../../training/jobs/list.ts";
import type { JobRow } from "../../training/jobs/model.ts";
import { readSeries } from "../../training/metrics/service.ts";
import { homeSummary } from "../analytics/service.ts";
import type { Attention, Hit } from "./model.ts";

const WEEK = 7 * 86_400_000;
/** Share of the disk below which it needs somebody. */
const LOW_DISK = 0.08;
const ACTIVE: JobRow["state"][] = ["running", "starting", "pausing", "stopping", "queued", "validating"];
const SPARK_POINTS = 60;
/** More than this is no longer a list of what to do next. */
const MOST_NEEDS = 5;

/** Running and waiting jobs with the course of their training loss. */
async function activeJobs(ctx: Ctx, actor: Actor) {
  const jobs = (await listJobs(ctx, actor, { state: ACTIVE, limit: 12 }))
    .filter((job) => job.kind !== "serve")
    .sort((a, b) => ACTIVE.indexOf(a.state) - ACTIVE.indexOf(b.state))
    .slice(0, 6);
  return Promise.all(
    jobs.map(async (job) => {
      const found = await readSeries(ctx, job.id, { keys: ["train/loss"], maxPoints: SPARK_POINTS });
      return { job, losses: found.series["train/loss"]?.points.map(([, value]) => value) ?? [] };
    }),
  );
}

/** What waits for a person, most pressing first. */
async function attention(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const now = ctx.clock.now();
  const [hosts, deployments, failed, paused, datasets, bases] = await Promise.all([
    listHosts(ctx, actor),
    listDeployments(ctx, actor, { limit: 50 }),
    listJobs(ctx, actor, { state: ["failed"], limit: 3 }),
    listJobs(ctx, actor, { state: ["paused"], limit: 4 }),
    listDatasets(ctx, actor, { limit: 30 }),
    listCatalogue(ctx, actor),
  ]);
  const all: Attention[] = [];
  const add = (name: string, one: Omit<Attention, "name" | "at"> & { at?: number | null }) =>
    all.push({ name, at: null, ...one });
  for (const { name, disk } of hosts)
    if (disk.free_bytes < disk.total_bytes * LOW_DISK)
      add(name, {
        id: `disk-${name}`,
        icon: "hosts",
        text: `Only ${formatBytes(disk.free_bytes)} of disk left; checkpoints will not fit for long.`,
        href: "/hosts",
        act: "See what fills it",
      });
  for (const one of deployments)
    if (one.state === "failed")
      add(one.name, {
        id: one.id,
        icon: "deploy",
        text: one.error ?? "The endpoint is down.",
        href: `/deployments/${one.id}`,
        act: "Look at it",
      });
  for (const job of failed)
    if ((job.finishedAt ?? job.createdAt) > now - WEEK)
      add(job.name, {
        id: job.id,
        icon: "failed",
        text: job.error?.message ?? "The job failed.",
        href: `/jobs/${job.id}`,
        act: "See why",
        at: job.finishedAt,
      });
  for (const { dataset, version } of datasets)
    if (version?.status === "needs_mapping")
      add(dataset.name, {
        id: dataset.id,
        icon: "data",
        text: "Which column is the question, which the answer?",
        href: `/datasets/${dataset.id}`,
        act: "Name columns",
      });
    else if (version?.status === "failed")
      add(dataset.name, {
        id: dataset.id,
        icon: "data",
        text: version.badRows
          ? `${plural(version.badRows, "row")} must be mended first.`
          : (version.error ?? "It cannot be used yet."),
        href: `/datasets/${dataset.id}`,
        act: "See the rows",
      });
  for (const job of paused)
    add(job.name, {
      id: job.id,
      icon: "pause",
      text: "Paused; it goes on when you say so.",
      href: `/jobs/${job.id}`,
      act: "Look at it",
    });
  for (const base of bases)
    if (base.status === "failed")
      add(base.name, {
        id: base.id,
        icon: "models",
        text: base.error ?? "It could not be installed.",
        href: `/models/${encodeURIComponent(base.id)}`,
        act: "See why",
      });
    else if (base.status === "ready" && !base.license.accepted)
      add(base.name, {
        id: base.id,
        icon: "models",
        text: `Somebody has to accept its license (${base.license.name}) first.`,
        href: `/models/${encodeURIComponent(base.id)}`,
        act: "Read it",
      });
  return all.slice(0, MOST_NEEDS);
}

/** Everything on the start page. */
export async function overview(ctx: Ctx, actor: Actor) {
  const [running, recent, needs, deployments, hosts, summary, models, datasets, train] = await Promise.all([
    activeJobs(ctx, actor),
    listJobs(ctx, actor, { state: ["succeeded"], limit: 10 }),
    attention(ctx, actor),
    listDeployments(ctx, actor, { limit: 6 }),
    listHosts(ctx, actor),
    homeSummary(ctx, actor),
    listModels(ctx, actor),
    listDatasets(ctx, actor, { limit: 1 }),
    listJobs(ctx, actor, { kind: "train", limit: 1 }),
  ]);
  return {
    running,
    recent: recent.filter((job) => job.kind === "train").slice(0, 5),
    attention: needs,
    deployments: deployments.slice(0, 6),
    hosts,
    summary,
    road: {
      data: datasets.length > 0,
      job: train.length > 0,
      model: models.some((model) => model.id.startsWith("ft:")),
    },
  };
}

const has = (query: string, ...texts: string[]) => texts.some((text) => text.toLowerCase().includes(query));
const MOST = 6;

/** Jobs, datasets and models whose name or id contains `query`; the newest of each when it is empty. */
export async function findAnything(ctx: Ctx, actor: Actor, query: string): Promise<{ title: string; hits: Hit[] }[]> {
  const wanted = query.trim().toLowerCase();
  const [jobs, datasets, models] = await Promise.all([
    listJobs(ctx, actor, { search: query.trim() || undefined, limit: MOST }),
    listDatasets(ctx, actor, { limit: 100 }),
    listModels(ctx, actor),
  ]);
  return [
    {
      title: "Jobs",
      hits: jobs
        .slice(0, MOST)
        .map((job) => ({ href: `/jobs/${job.id}`, label: job.name, icon: "jobs", state: job.state })),
    },
    {
      title: "Datasets",
      hits: datasets
        .filter(({ dataset }) => has(wanted, dataset.name, dataset.id))
        .slice(0, MOST)
        .map(({ dataset, version }) => ({
          href: `/datasets/${dataset.id}`,
          label: dataset.name,
          icon: "data",
          state: version?.status,
        })),
    },
    {
      title: "Models",
      hits: models
        .filter((model) => has(wanted, model.id))
        .slice(0, MOST)
        .map((model) => ({ href: `/models/${encodeURIComponent(model.id)}`, label: model.id, icon: "models" })),
    },
  ];
}
