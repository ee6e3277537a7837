/** What came from dataset versions: the jobs that used them, their models, and the endpoints that serve those. */
import { and, eq, inArray, isNull, or, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import type { SubjectResult } from "../../db/schema/archives.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { checkpoint, model } from "../../db/schema/models.ts";

const listOf = (ids: string[]) => sql`(select value from json_each(${sqlJson(ids)}))`;
const shown = { id: job.id, name: job.name, state: job.state };

/** Jobs that used one of the versions, and trainings that continued from the models of those. */
async function jobsOf(ctx: Ctx, org: string, versions: string[]): Promise<SubjectResult["jobs"]> {
  const places = ["$.dataset.version_id", "$.validation.version_id"];
  const used = or(...places.map((path) => sql`json_extract(${job.spec}, ${path}) in ${listOf(versions)}`));
  const found = new Map<string, SubjectResult["jobs"][number]>();
  let added = await ctx.db
    .select(shown)
    .from(job)
    .where(and(eq(job.org, org), inArray(job.kind, ["train", "evaluate"]), used));
  while (added.length > 0) {
    for (const one of added) found.set(one.id, one);
    const models = await modelsOf(
      ctx,
      org,
      added.map(({ id }) => id),
    );
    const next = await ctx.db
      .select(shown)
      .from(job)
      .where(
        and(
          eq(job.org, org),
          eq(job.kind, "train"),
          sql`json_extract(${job.spec}, '$.start.model') in ${listOf(models.map(({ id }) => id))}`,
        ),
      );
    added = next.filter(({ id }) => !found.has(id));
  }
  return [...found.values()];
}

/** Models of jobs, with their checkpoints. */
async function modelsOf(ctx: Ctx, org: string, jobs: string[]): Promise<SubjectResult["models"]> {
  const columns = { id: model.id, job_id: model.jobId };
  const whole = await ctx.db
    .select(columns)
    .from(model)
    .where(and(eq(model.org, org), isNull(model.deletedAt), sql`${model.jobId} in ${listOf(jobs)}`));
  const steps = await ctx.db
    .select({ id: checkpoint.model, job_id: checkpoint.jobId })
    .from(checkpoint)
    .where(and(eq(checkpoint.org, org), sql`${checkpoint.jobId} in ${listOf(jobs)}`));
  return [...whole, ...steps];
}

/** Jobs, models and endpoints that came from versions. */
export async function trainedOn(
  ctx: Ctx,
  org: string,
  versions: string[],
): Promise<Pick<SubjectResult, "jobs" | "models" | "deployments">> {
  const jobs = await jobsOf(ctx, org, versions);
  const models = await modelsOf(
    ctx,
    org,
    jobs.map(({ id }) => id),
  );
  const deployments = await ctx.db
    .select({ id: deployment.id, name: deployment.name, model: deployment.model, state: deployment.state })
    .from(deployment)
    .where(
      and(
        eq(deployment.org, org),
        isNull(deployment.deletedAt),
        sql`${deployment.model} in ${listOf(models.map(({ id }) => id))}`,
      ),
    );
  // Of each job the model itself; its checkpoints are deleted with it.
  return { jobs, models: models.filter(({ id }) => !id.includes(":ckpt-step-")), deployments };
}
