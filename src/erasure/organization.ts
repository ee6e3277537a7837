/** Erases an organization: its work is ended, then its files, its rows and the accounts of members without another. */
import { and, eq, isNull, like, ne, notInArray, sql } from "drizzle-orm";
import { eraseAudit } from "../accounts/audit/erase.ts";
import { FINAL_STATES } from "../contract/job.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { eraseTraces } from "../data/validation/erase.ts";
import { auditLog } from "../db/schema/audit.ts";
import { member } from "../db/schema/auth.ts";
import { meterInterval } from "../db/schema/billing.ts";
import { dataset } from "../db/schema/datasets.ts";
import { deployment } from "../db/schema/deployments.ts";
import { inference } from "../db/schema/gateway.ts";
import { attempt, job } from "../db/schema/jobs.ts";
import { model } from "../db/schema/models.ts";
import { sweep } from "../db/schema/sweeps.ts";
import { AppError } from "../errors.ts";
import { dropTeam } from "../objects/keep.ts";
import { cancelJob } from "../training/jobs/service.ts";
import { countRows, deleteRows, removeFiles } from "./rows.ts";
import { OF_ORGANIZATION } from "./tables.ts";
import { eraseUser } from "./user.ts";

/** Objects that the report counts, by table. */
const COUNTED: Record<string, string> = {
  dataset: "datasets",
  file: "files",
  model: "models",
  job: "jobs",
  sweep: "sweeps",
  evaluation: "evaluations",
  deployment: "endpoints",
  stored_answer: "stored answers",
  api_key: "API keys",
  member: "memberships",
};

/** How much an organization has, for the report. */
export async function countOrganization(ctx: Ctx, org: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [table, name] of Object.entries(COUNTED)) {
    const where = OF_ORGANIZATION[table];
    if (where) counts[name] = await countRows(ctx, table, where(org));
  }
  return counts;
}

/** Ends all work. @returns whether none is left: trainers and engines need a moment to stop */
async function endWork(ctx: Ctx, org: string): Promise<boolean> {
  await ctx.write(async (tx) => {
    await tx
      .update(sweep)
      .set({ state: "cancelled" })
      .where(and(eq(sweep.org, org), eq(sweep.state, "running")));
    await tx
      .update(deployment)
      .set({ wanted: "stopped", deletedAt: ctx.clock.now() })
      .where(and(eq(deployment.org, org), isNull(deployment.deletedAt)));
  });
  const open = await ctx.db
    .select({ id: job.id })
    .from(job)
    .where(and(eq(job.org, org), notInArray(job.state, [...FINAL_STATES, "stopping"])));
  for (const { id } of open)
    await cancelJob(ctx, systemActor(org), id).catch((cause) => {
      // It ended by itself meanwhile.
      if (!(cause instanceof AppError) || cause.code !== "illegal_transition") throw cause;
    });
  const [working] = await ctx.db
    .select({ id: attempt.id })
    .from(attempt)
    .where(and(eq(attempt.org, org), isNull(attempt.goneAt)))
    .limit(1);
  const [serving] = await ctx.db
    .select({ id: deployment.id })
    .from(deployment)
    .where(and(eq(deployment.org, org), notInArray(deployment.state, ["stopped", "asleep", "failed"])))
    .limit(1);
  return !working && !serving;
}

/** Models go first: other organizations may use them, and jobs with a model stay. */
async function eraseModels(ctx: Ctx, org: string): Promise<void> {
  const rows = await ctx.write((tx) =>
    tx
      .update(model)
      .set({ deletedAt: ctx.clock.now() })
      .where(and(eq(model.org, org), isNull(model.deletedAt)))
      .returning({ id: model.id }),
  );
  for (const { id } of rows) ctx.bus.emit("model.deleted", { org, modelId: id });
}

async function eraseDatasets(ctx: Ctx, org: string): Promise<void> {
  await ctx.write((tx) =>
    tx
      .update(dataset)
      .set({ deletedAt: ctx.clock.now() })
      .where(and(eq(dataset.org, org), isNull(dataset.deletedAt))),
  );
  for (const { id } of await ctx.db.select({ id: dataset.id }).from(dataset).where(eq(dataset.org, org)))
    await eraseTraces(ctx, { id, org });
}

/** Members who are in no other organization. */
async function onlyHere(ctx: Ctx, org: string): Promise<string[]> {
  const other = sql`exists (select 1 from member other where other.user_id = ${member.userId} and other.organization_id <> ${org})`;
  const rows = await ctx.db
    .select({ id: member.userId })
    .from(member)
    .where(and(eq(member.organizationId, org), sql`not ${other}`));
  return rows.map(({ id }) => id);
}

/**
 * Erases an organization. May be interrupted at any place, and repeated.
 * @returns false when its work is still stopping, or the object store does not answer: then it is continued later
 */
export async function eraseOrganization(ctx: Ctx, org: string): Promise<boolean> {
  if (!(await endWork(ctx, org))) return false;
  await eraseModels(ctx, org);
  await eraseDatasets(ctx, org);
  await removeFiles(ctx, org);
  // The rows stay until the bucket has confirmed that it has nothing of the team any more.
  if (!(await dropTeam(ctx, org))) return false;
  for (const id of await onlyHere(ctx, org)) await eraseUser(ctx, id, org);
  for (const [table, where] of Object.entries(OF_ORGANIZATION)) {
    await deleteRows(ctx, table, where(org));
    if (table === "job") ctx.failPoint("erasure.rows");
  }
  await ctx.write((tx) =>
    tx
      .update(inference)
      .set({ model: "erased" })
      .where(and(eq(inference.org, org), sql`${inference.model} like 'ft:%'`, ne(inference.model, "erased"))),
  );
  await ctx.write((tx) =>
    tx
      .update(meterInterval)
      .set({ model: "erased" })
      .where(and(eq(meterInterval.org, org), like(meterInterval.model, "ft:%"))),
  );
  await eraseAudit(ctx, systemActor(), eq(auditLog.org, org));
  await ctx.emptyLog();
  return true;
}
