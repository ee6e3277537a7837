/** The data of the home page and of the command palette, gathered from the other areas. */
import { listHosts } from "../../compute/hosts/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { listDatasets } from "../../data/datasets/service.ts";
import { listModels } from "../../models/tuned/service.ts";
import { listDeployments } from "../../serving/deployments/service.ts";
import { listJobs } from "../../training/jobs/list.ts";
import type { JobRow } from "../../training/jobs/model.ts";
import { readSeries } from "../../training/metrics/service.ts";
import { homeSummary } from "../analytics/service.ts";
import { needsAttention } from "./attention.ts";
import type { Hit } from "./model.ts";

const ACTIVE: JobRow["state"][] = ["running", "starting", "pausing", "stopping", "queued", "validating"];
const SPARK_POINTS = 60;

/** Running and waiting jobs with their training loss curves. */
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

/** Everything on the home page. */
export async function overview(ctx: Ctx, actor: Actor) {
  const [running, recent, attention, deployments, hosts, summary, models, datasets, train] = await Promise.all([
    activeJobs(ctx, actor),
    listJobs(ctx, actor, { state: ["succeeded"], limit: 10 }),
    needsAttention(ctx, actor),
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
    attention,
    deployments: deployments.slice(0, 6),
    hosts,
    summary,
    firstSteps: {
      data: datasets.length > 0,
      job: train.length > 0,
      model: models.some((model) => model.id.startsWith("ft:")),
    },
  };
}

const has = (query: string, ...texts: string[]) => texts.some((text) => text.toLowerCase().includes(query));
const MAX_HITS = 6;

/** Jobs, datasets and models whose name or id contains `query`; the newest of each when it is empty. */
export async function findAnything(ctx: Ctx, actor: Actor, query: string): Promise<{ title: string; hits: Hit[] }[]> {
  const wanted = query.trim().toLowerCase();
  const [jobs, datasets, models] = await Promise.all([
    listJobs(ctx, actor, { search: query.trim() || undefined, limit: MAX_HITS }),
    listDatasets(ctx, actor, { limit: 100 }),
    listModels(ctx, actor),
  ]);
  return [
    {
      title: "Jobs",
      hits: jobs
        .slice(0, MAX_HITS)
        .map((job) => ({ href: `/jobs/${job.id}`, label: job.name, icon: "jobs", state: job.state })),
    },
    {
      title: "Datasets",
      hits: datasets
        .filter(({ dataset }) => has(wanted, dataset.name, dataset.id))
        .slice(0, MAX_HITS)
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
        .slice(0, MAX_HITS)
        .map((model) => ({ href: `/models/${encodeURIComponent(model.id)}`, label: model.id, icon: "models" })),
    },
  ];
}
