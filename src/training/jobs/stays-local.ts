/** Work on data and models that stay here: where it may run. */
import { sql } from "drizzle-orm";
import { artifactsOf, type JobSpec } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { stayingHere } from "../../data/validation/stays-local.ts";
import { sqlJson } from "../../db/json.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { stayingModels } from "../../models/tuned/stays-local.ts";

/** What of a job stays on this machine; `any`: its trainer may run here and nowhere else. */
interface Kept {
  any: boolean;
  /** Names of datasets, and ids of models. */
  datasets: string[];
  models: string[];
}

/** The datasets whose rows the trainer of a job reads. */
function datasetsOf(spec: JobSpec): string[] {
  const all = spec.kind === "train" ? [spec.dataset, spec.validation] : spec.kind === "serve" ? [] : [spec.dataset];
  return all.flatMap((one) => (one ? [one.dataset_id] : []));
}

interface OfJob {
  id?: string;
  metadata?: Record<string, string>;
}

/** What a job reads of models. A training resumes its own checkpoints, or those of the run that it continues. */
const readsOf = (spec: JobSpec, of?: OfJob) => ({
  artifacts: artifactsOf(spec),
  base: spec.base_model.id,
  runs: spec.kind === "train" ? [of?.id, of?.metadata?.continues].flatMap((id) => id ?? []) : [],
});

/** The job's datasets and models that stay here. @param of the job, when it exists */
export async function keptHere(db: Db, spec: JobSpec, of?: OfJob): Promise<Kept> {
  const datasets = await stayingHere(db, datasetsOf(spec));
  const [models = []] = await stayingModels(db, [readsOf(spec, of)]);
  return { any: datasets.length + models.length > 0, datasets, models };
}

const listed = (names: readonly string[]) => names.join(" and ");

/** Why a job on such data or models does not run elsewhere. */
export function keptHereMessage({ datasets, models }: Kept): string {
  const data = datasets.length === 0 ? null : `${listed(datasets)} ${datasets.length === 1 ? "stays" : "stay"}`;
  const trained = models.length === 0 ? null : `${listed(models)} ${models.length === 1 ? "was" : "were"} trained on`;
  const why =
    data && trained
      ? `${data} on this server, and ${trained} data that does`
      : data
        ? `${data} on this server`
        : `${trained} data that stays on this server`;
  return `${why}: the job runs only on its own machine.`;
}

/** Queued jobs on data or models that stay here. Costs nothing while nothing has the label. */
export async function queuedHere(db: Db): Promise<ReadonlySet<string>> {
  const labeled = await db.all<{ id: string }>(sql`select id from dataset where stays_local = 1`);
  const [runs] = await db.all(sql`select 1 from job where stays_local = 1
    union all select 1 from base_model where stays_local = 1 limit 1`);
  if (labeled.length === 0 && !runs) return new Set();
  const ids = sqlJson(labeled.map(({ id }) => id));
  const rows = await db.all<{ id: string }>(sql`select ${job.id} as id from ${job} where ${job.state} = 'queued'
    and (json_extract(${job.spec}, '$.dataset.dataset_id') in (select value from json_each(${ids}))
      or json_extract(${job.spec}, '$.validation.dataset_id') in (select value from json_each(${ids})))`);
  const found = new Set(rows.map(({ id }) => id));
  if (!runs) return found;
  const queued = await db
    .select({ id: job.id, spec: job.spec, metadata: job.metadata })
    .from(job)
    .where(sql`${job.state} = 'queued'`);
  const staying = await stayingModels(
    db,
    queued.map((one) => readsOf(one.spec, one)),
  );
  for (const [n, one] of queued.entries()) if (staying[n]?.length) found.add(one.id);
  return found;
}

const codeOf = ({ datasets }: Kept) => (datasets.length > 0 ? "data_stays_local" : "model_stays_local");

/**
 * Refuses work on what stays here when no provider runs anything on this machine.
 * @throws AppError `data_stays_local` or `model_stays_local`, with `param`
 */
export function requireOwnMachine(ctx: Ctx, kept: Kept): void {
  if (!kept.any || ctx.compute.list().some(({ plugin }) => plugin.capabilities.local)) return;
  const message = `${keptHereMessage(kept)} No provider runs work on this machine. Turn on \`process\` or \`docker\`.`;
  throw new AppError("invalid", codeOf(kept), message, {
    param: kept.datasets.length > 0 ? "training_file" : "model",
  });
}

/**
 * Refuses a job on what stays here when it asks for a provider elsewhere, or when nothing can run here.
 * @throws AppError `data_stays_local` or `model_stays_local`, with `param`
 */
export async function requireHere(
  ctx: Ctx,
  db: Db,
  spec: JobSpec,
  metadata: Record<string, string> = {},
): Promise<Kept> {
  const kept = await keptHere(db, spec, { metadata });
  const { provider } = spec.need;
  if (kept.any && provider && !ctx.compute.get(provider)?.plugin.capabilities.local) {
    const message = `${keptHereMessage(kept)} The provider ${provider} has machines elsewhere. Choose another, or none.`;
    throw new AppError("invalid", codeOf(kept), message, { param: "provider" });
  }
  requireOwnMachine(ctx, kept);
  return kept;
}
