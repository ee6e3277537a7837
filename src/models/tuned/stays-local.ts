/** Models that stay on this server, because some of their training data does: the label, and who takes it away. */
import { and, eq, isNull, sql } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { job } from "../../db/schema/jobs.ts";
import { model } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { filledName } from "../../lib/text/names.ts";
import { requireOwner } from "../../roles.ts";
import { CHECKPOINT_SUFFIX, unknownModel } from "./lookup.ts";

/** `reason` is needed to take the label away. */
export const UpdateModel = v.strictObject({
  stays_local: v.boolean(),
  reason: v.optional(v.nullable(filledName(500))),
});
type UpdateModel = v.InferOutput<typeof UpdateModel>;

/** What a job reads. */
interface Reads {
  /** Of models, checkpoints and exports. */
  artifacts: readonly string[];
  base: string;
  /** Trainings whose saved checkpoints may be read. */
  runs: readonly string[];
}

/** The models that stay here among those that each of several jobs reads, by id; in the order of the jobs. */
export async function stayingModels(db: Db, jobs: readonly Reads[]): Promise<string[][]> {
  const all = (of: (one: Reads) => readonly string[]) => sqlJson([...new Set(jobs.flatMap(of))]);
  const [artifacts, runs, bases] = [all((one) => one.artifacts), all((one) => one.runs), all(({ base }) => [base])];
  const rows = await db.all<{ read: string; model: string }>(sql`
    with artifact_read(id) as (select value from json_each(${artifacts})),
    source(read, job_id) as (
      select 'artifact ' || r.id, a.job_id from artifact_read r join artifact a on a.id = r.id
      union select 'artifact ' || r.id, b.job_id from artifact_read r join artifact a on a.id = r.id
        join job e on e.id = a.job_id join artifact b on b.id = json_extract(e.spec, '$.tuned.artifact_id')
        where e.kind = 'export'
      union select distinct 'run ' || c.job_id, c.job_id from json_each(${runs}) r join checkpoint c on c.job_id = r.value)
    select s.read, coalesce(json_extract(j.spec, '$.output_model'), j.name) as model
      from source s join job j on j.id = s.job_id and j.stays_local = 1
    union select 'base ' || id, id from base_model
      where stays_local = 1 and id in (select value from json_each(${bases}))`);
  const found = Map.groupBy(rows, ({ read }) => read);
  return jobs.map((one) => {
    const read = [`base ${one.base}`];
    for (const id of one.artifacts) read.push(`artifact ${id}`);
    for (const id of one.runs) read.push(`run ${id}`);
    const models = read.flatMap((key) => found.get(key) ?? []).map(({ model }) => model);
    return [...new Set(models)].sort();
  });
}

/** Whether what a training saved stays here. */
export async function runStaysHere(db: Db, jobId: string | null): Promise<boolean> {
  if (jobId === null) return false;
  const [row] = await db.select({ stays: job.staysLocal }).from(job).where(eq(job.id, jobId)).limit(1);
  return row?.stays ?? false;
}

/** Why such a model is not sent to a hub. */
export const staysHereMessage = (id: string): string =>
  `${id.slice(0, 200)} stays on this server, because it was trained on data that does. It is not pushed to a hub. Its owner can take the label away, with a reason, on its page.`;

/**
 * Sets the label of a fine-tuned model, with its checkpoints, its exports and the base models made from it; or takes it
 * away, which only the model's owner and the managers of the team may, with a reason. Models that were trained from it
 * keep theirs.
 * @throws AppError `model_not_found`, `not_owner`, `reason_needed`
 */
export async function updateModel(ctx: Ctx, actor: Actor, name: string, change: UpdateModel): Promise<void> {
  const id = name.replace(CHECKPOINT_SUFFIX, "");
  const [row] = await ctx.db
    .select()
    .from(model)
    .where(and(eq(model.id, id), eq(model.org, actor.org), isNull(model.deletedAt)))
    .limit(1);
  if (!row) throw unknownModel(name);
  const { stays_local: stays, reason } = change;
  if (stays === (await runStaysHere(ctx.db, row.jobId))) return;
  if (!stays) {
    requireOwner(actor, row.createdBy);
    if (!reason)
      throw new AppError("invalid", "reason_needed", "Say why this model may leave this server.", { param: "reason" });
  }
  await ctx.write(async (tx) => {
    await tx.update(job).set({ staysLocal: stays }).where(eq(job.id, row.jobId));
    await tx.run(sql`update base_model set stays_local = ${stays ? 1 : 0} where source = 'tuned'
      and revision in (select id from checkpoint where job_id = ${row.jobId})`);
    await audit(tx, ctx, actor, "model.stays_local", id, { stays_local: stays, ...(reason ? { reason } : {}) });
  });
  ctx.bus.emit("job.changed", { org: row.org, jobId: row.jobId, kind: "train", state: "succeeded" });
}
