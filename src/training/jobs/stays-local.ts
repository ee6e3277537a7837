/** Work on data that stays here: where it may run. */
import { sql } from "drizzle-orm";
import type { JobSpec } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { stayingHere } from "../../data/validation/stays-local.ts";
import { sqlJson } from "../../db/json.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";

/** The datasets whose rows the trainer of a job reads. */
function datasetsOf(spec: JobSpec): string[] {
  const all = spec.kind === "train" ? [spec.dataset, spec.validation] : spec.kind === "serve" ? [] : [spec.dataset];
  return all.flatMap((one) => (one ? [one.dataset_id] : []));
}

/** Names of the job's datasets that stay here: its trainer may run on this machine and nowhere else. */
export const keptHere = (db: Db, spec: JobSpec): Promise<string[]> => stayingHere(db, datasetsOf(spec));

/** Why a job on such data does not run elsewhere. */
export const keptHereMessage = (names: readonly string[]): string =>
  `${names.join(" and ")} ${names.length === 1 ? "stays" : "stay"} on this server: the job runs only on its own machine.`;

/** Queued jobs on data that stays here. Costs nothing while no dataset has the label. */
export async function queuedHere(db: Db): Promise<ReadonlySet<string>> {
  const labeled = await db.all<{ id: string }>(sql`select id from dataset where stays_local = 1`);
  if (labeled.length === 0) return new Set();
  const ids = sqlJson(labeled.map(({ id }) => id));
  const rows = await db.all<{ id: string }>(sql`select ${job.id} as id from ${job} where ${job.state} = 'queued'
    and (json_extract(${job.spec}, '$.dataset.dataset_id') in (select value from json_each(${ids}))
      or json_extract(${job.spec}, '$.validation.dataset_id') in (select value from json_each(${ids})))`);
  return new Set(rows.map(({ id }) => id));
}

/**
 * Refuses a job on data that stays here when it asks for a provider elsewhere, or when nothing can run here.
 * @throws AppError `data_stays_local` with `param`
 */
export async function requireHere(ctx: Ctx, db: Db, spec: JobSpec): Promise<string[]> {
  const names = await keptHere(db, spec);
  if (names.length === 0) return names;
  const { provider } = spec.need;
  const refuse = (what: string, param: string) => {
    throw new AppError("invalid", "data_stays_local", `${keptHereMessage(names)} ${what}`, { param });
  };
  if (provider && !ctx.compute.get(provider)?.plugin.capabilities.local)
    refuse(`The provider ${provider} has machines elsewhere. Choose another, or none.`, "provider");
  if (!ctx.compute.list().some(({ plugin }) => plugin.capabilities.local))
    refuse("No provider runs work on this machine. Turn on `process` or `docker`.", "training_file");
  return names;
}
