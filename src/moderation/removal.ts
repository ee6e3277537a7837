/**
 * Erases removed content as deleting does, and leaves a tombstone. Content that jobs still use is erased once they have
 * ended: they are canceled, and until then it is restricted.
 */
import { and, eq, inArray, like, notInArray, or, sql } from "drizzle-orm";
import { forgetRestrictions, lift, restrict } from "../accounts/restrictions/service.ts";
import { FINAL_STATES } from "../contract/job.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { deleteDataset } from "../data/datasets/service.ts";
import { dataset, datasetVersion } from "../db/schema/datasets.ts";
import { job } from "../db/schema/jobs.ts";
import { model } from "../db/schema/models.ts";
import { moderationCase } from "../db/schema/moderation.ts";
import { AppError } from "../errors.ts";
import { deleteModel } from "../models/tuned/service.ts";
import { endDeployment, endDeploymentsOf } from "../serving/deployments/service.ts";
import { cancelJob } from "../training/jobs/service.ts";
import { clearRun } from "../training/plan/cleanup.ts";
import type { CaseRow } from "./model.ts";

const RETRY_MS = 10_000;
/** Another try is due later. */
const BUSY = new Set(["dataset_in_use", "file_in_use", "job_not_ended"]);

/** Cancels the unfinished jobs whose spec names an id. */
async function cancelUsers(ctx: Ctx, org: string, ids: string[]): Promise<void> {
  const rows = await ctx.db
    .select({ id: job.id })
    .from(job)
    .where(
      and(
        eq(job.org, org),
        notInArray(job.state, [...FINAL_STATES, "stopping"]),
        or(...ids.map((id) => sql`instr(${job.spec}, ${`"${id}"`}) > 0`)),
      ),
    );
  for (const { id } of rows)
    await cancelJob(ctx, systemActor(org), id).catch((error: unknown) => {
      // It ended by itself in the meantime.
      if (!(error instanceof AppError) || error.code !== "illegal_transition") throw error;
    });
}

/** Erases a dataset with all versions. Whether it was erased before does not matter. */
async function eraseDataset(ctx: Ctx, row: CaseRow): Promise<void> {
  const [found] = await ctx.db
    .select({ id: dataset.id, name: dataset.name, deletedAt: dataset.deletedAt })
    .from(dataset)
    .where(eq(dataset.id, row.datasetId ?? ""))
    .limit(1);
  if (!found) return;
  const versions = await ctx.db
    .select({ id: datasetVersion.id })
    .from(datasetVersion)
    .where(eq(datasetVersion.datasetId, found.id));
  const ids = versions.map(({ id }) => id);
  if (found.deletedAt === null) {
    await cancelUsers(ctx, row.org, [found.id, ...ids]);
    await deleteDataset(ctx, systemActor(row.org), found.id);
  }
  await tombstone(ctx, row, { subject: found.id, object: "dataset", name: found.name }, ids);
  await ended(ctx, row);
}

/** Erases a fine-tuned model with the checkpoints and exports of its run. */
async function eraseModel(ctx: Ctx, row: CaseRow): Promise<void> {
  const id = row.subject.replace(/:ckpt-step-\d+$/, "");
  const [found] = await ctx.db
    .select({ jobId: model.jobId, deletedAt: model.deletedAt })
    .from(model)
    .where(eq(model.id, id))
    .limit(1);
  const system = systemActor(row.org);
  if (found?.deletedAt === null) await deleteModel(ctx, system, id);
  await tombstone(ctx, row, { subject: id, object: "model", name: id }, [row.subject]);
  if (found) {
    await cancelUsers(ctx, row.org, [id]);
    await endDeploymentsOf(ctx, id);
    const { kept } = await clearRun(ctx, system, found.jobId);
    if (kept.length > 0) throw new AppError("conflict", "job_not_ended", "Its files are still used.");
  }
  await ended(ctx, row);
}

const ended = (ctx: Ctx, { id }: CaseRow) =>
  ctx.write((tx) => tx.update(moderationCase).set({ erasing: false }).where(eq(moderationCase.id, id)));

/** Leaves the tombstone in place of the restrictions. */
async function tombstone(
  ctx: Ctx,
  row: CaseRow,
  of: { subject: string; object: "dataset" | "model"; name: string },
  replaced: string[],
): Promise<void> {
  await ctx.write(async (tx) => {
    for (const subject of replaced) await lift(tx, subject);
    await restrict(tx, ctx, {
      ...of,
      org: row.org,
      kind: "removed",
      hash: row.hash,
      reason: row.reason ?? "",
      caseId: row.id,
    });
    // The excerpts are content too.
    await tx
      .update(moderationCase)
      .set({ findings: [] })
      .where(
        of.object === "dataset"
          ? eq(moderationCase.datasetId, of.subject)
          : and(
              eq(moderationCase.object, "model"),
              or(eq(moderationCase.subject, of.subject), like(moderationCase.subject, `${of.subject}:ckpt-%`)),
            ),
      );
  });
  await forgetRestrictions(ctx);
}

/** Erases what a case decided to remove, now or once nothing uses it. */
export async function erase(ctx: Ctx, { id }: Pick<CaseRow, "id">): Promise<void> {
  const [row] = await ctx.db.select().from(moderationCase).where(eq(moderationCase.id, id)).limit(1);
  if (!row?.erasing) return;
  try {
    if (row.object === "dataset_version") await eraseDataset(ctx, row);
    else if (row.object === "model") await eraseModel(ctx, row);
    else {
      // The model may belong to others: the organization loses its endpoint, and cannot create it again.
      await endDeployment(ctx, row.org, row.subject);
      await ended(ctx, row);
    }
  } catch (error) {
    if (!(error instanceof AppError) || !BUSY.has(error.code)) throw error;
    ctx.log("info", "removed content is erased once its jobs have ended", { case: row.id });
    void ctx.clock
      .sleep(RETRY_MS, ctx.signal)
      .then(() => erase(ctx, row))
      .catch((cause) => {
        if (!ctx.signal.aborted) ctx.log("error", "removed content could not be erased", { case: row.id, cause });
      });
  }
}

/** Erases what was decided before and could not be erased. */
export async function eraseWaiting(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select({ id: moderationCase.id })
    .from(moderationCase)
    .where(inArray(moderationCase.erasing, [true]));
  for (const row of rows) await erase(ctx, row);
}
