/** What needs a person's attention: gathered from hosts, deployments, jobs, datasets and base models. */
import { listHosts } from "../../compute/hosts/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { listDatasets } from "../../data/datasets/service.ts";
import { formatBytes, plural } from "../../lib/text/format.ts";
import { listCatalogue } from "../../models/base/service.ts";
import { listDeployments } from "../../serving/deployments/service.ts";
import { listJobs } from "../../training/jobs/list.ts";
import type { Attention } from "./model.ts";

const WEEK = 7 * 86_400_000;
/** Fraction of free disk space below which a host needs attention. */
const LOW_DISK = 0.08;
/** A longer list no longer says what to do next. */
const MAX_SHOWN = 5;

async function fullDisks(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const hosts = await listHosts(ctx, actor);
  return hosts
    .filter(({ disk }) => disk.free_bytes < disk.total_bytes * LOW_DISK)
    .map(({ name, disk }) => ({
      name,
      id: `disk-${name}`,
      icon: "hosts",
      text: `Only ${formatBytes(disk.free_bytes)} of disk space left. New checkpoints may not fit.`,
      href: "/hosts",
      action: "Show usage",
      at: null,
    }));
}

async function failedDeployments(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const deployments = await listDeployments(ctx, actor, { limit: 50 });
  return deployments
    .filter((one) => one.state === "failed")
    .map((one) => ({
      name: one.name,
      id: one.id,
      icon: "deploy",
      text: one.error ?? "The endpoint is down.",
      href: `/deployments/${one.id}`,
      action: "Open",
      at: null,
    }));
}

async function failedJobs(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const jobs = await listJobs(ctx, actor, { state: ["failed"], limit: 3 });
  return jobs
    .filter((job) => (job.finishedAt ?? job.createdAt) > ctx.clock.now() - WEEK)
    .map((job) => ({
      name: job.name,
      id: job.id,
      icon: "failed",
      text: job.error?.message ?? "The job failed.",
      href: `/jobs/${job.id}`,
      action: "Show the cause",
      at: job.finishedAt,
    }));
}

async function unusableDatasets(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const datasets = await listDatasets(ctx, actor, { limit: 30 });
  return datasets.flatMap(({ dataset, version }): Attention[] => {
    const of = { name: dataset.name, id: dataset.id, icon: "data" as const, href: `/datasets/${dataset.id}`, at: null };
    if (version?.status === "needs_mapping")
      return [{ ...of, text: "Choose which column is the prompt and which is the answer.", action: "Map columns" }];
    if (version?.status !== "failed") return [];
    const text = version.badRows
      ? `${plural(version.badRows, "row")} must be fixed first.`
      : (version.error ?? "The dataset cannot be used yet.");
    return [{ ...of, text, action: "Show rows" }];
  });
}

async function pausedJobs(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const jobs = await listJobs(ctx, actor, { state: ["paused"], limit: 4 });
  return jobs.map((job) => ({
    name: job.name,
    id: job.id,
    icon: "pause",
    text: "Paused. It stays paused until someone resumes it.",
    href: `/jobs/${job.id}`,
    action: "Open",
    at: null,
  }));
}

async function unusableBases(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const bases = await listCatalogue(ctx, actor);
  return bases.flatMap((base): Attention[] => {
    const href = `/models/${encodeURIComponent(base.id)}`;
    const of = { name: base.name, id: base.id, icon: "models" as const, href, at: null };
    if (base.status === "failed")
      return [{ ...of, text: base.error ?? "The installation failed.", action: "Show the cause" }];
    if (base.status !== "ready" || base.license.accepted) return [];
    return [
      { ...of, text: `The license (${base.license.name}) must be accepted before use.`, action: "Read the license" },
    ];
  });
}

/** What needs a person's attention, most urgent first. */
export async function needsAttention(ctx: Ctx, actor: Actor): Promise<Attention[]> {
  const sources = [fullDisks, failedDeployments, failedJobs, unusableDatasets, pausedJobs, unusableBases];
  const found = await Promise.all(sources.map((source) => source(ctx, actor)));
  return found.flat().slice(0, MAX_SHOWN);
}
