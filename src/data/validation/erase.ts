/**
 * Removes what is left of the rows of a deleted dataset: in its report, in cached tokens, and in the samples, answers
 * and logs of the jobs that used it. Losses and models stay.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { and, eq, inArray, isNotNull, or, type SQL, sql } from "drizzle-orm";
import { isFinal } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { dataset, datasetTokens, datasetVersion, piiScan } from "../../db/schema/datasets.ts";
import { answer } from "../../db/schema/evaluations.ts";
import { datasetImport } from "../../db/schema/imports.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { event, logLine } from "../../db/schema/metrics.ts";
import { dropUnit } from "../../objects/keep.ts";

/** Rows that one write deletes, so that others wait little. */
const PIECE = 20_000;
/** Events with text or hashes of rows. */
const ROW_EVENTS = ["sample", "first_batch"];
/** In place of why a grader failed, which can quote the answer. */
const ERASED = "deleted with the dataset";
const TOKENS = ".tokens";
/** Entries of the token cache begin with the version; those of earlier versions of the server do not. */
const OF_VERSION = /^dsv_[A-Za-z0-9]+\./;

async function deletePieces(ctx: Ctx, table: typeof event | typeof logLine, where: SQL): Promise<void> {
  const some = sql`rowid in (select rowid from ${table} where ${where} limit ${PIECE})`;
  while ((await ctx.write((tx) => tx.delete(table).where(some))).rowsAffected === PIECE);
}

/** Removes the texts of answers; scores and losses stay, and with them the verdict. */
async function eraseAnswers(ctx: Ctx, jobId: string): Promise<void> {
  const texts = sql`(prompt <> '[]' or expected <> '' or output <> '' or coalesce(grade_error, ${ERASED}) <> ${ERASED})`;
  const some = sql`rowid in (select rowid from ${answer} where job_id = ${jobId} and ${texts} limit ${PIECE})`;
  const values = {
    prompt: [],
    expected: "",
    output: "",
    gradeError: sql`iif(${answer.gradeError} is null, null, ${ERASED})`,
  };
  while ((await ctx.write((tx) => tx.update(answer).set(values).where(some))).rowsAffected === PIECE);
}

/** What jobs stored about rows. */
async function eraseFromJob(ctx: Ctx, jobId: string): Promise<void> {
  const types = sql.join(
    ROW_EVENTS.map((type) => sql`${type}`),
    sql`, `,
  );
  await eraseAnswers(ctx, jobId);
  await deletePieces(ctx, logLine, sql`job_id = ${jobId}`);
  await deletePieces(ctx, event, sql`job_id = ${jobId} and type in (${types})`);
  await ctx.write(async (tx) => {
    await tx.update(attempt).set({ detail: null }).where(eq(attempt.jobId, jobId));
    await tx
      .update(job)
      .set({ error: sql`json_set(${job.error}, '$.detail', null)` })
      .where(and(eq(job.id, jobId), isNotNull(job.error)));
  });
}

/** Cached tokens of trainers on this machine, and all of earlier versions, which do not name their dataset. */
async function eraseTokens(ctx: Ctx, versions: string[]): Promise<void> {
  const folder = ctx.files.path("process", TOKENS);
  for (const name of await readdir(folder).catch(() => []))
    if (!OF_VERSION.test(name) || versions.some((id) => name.startsWith(`${id}.`)))
      await rm(join(folder, name), { recursive: true, force: true });
}

/** Erases what is cached of versions, and what jobs that used them stored of their rows. */
export async function eraseVersionTraces(ctx: Ctx, org: string, versions: string[]): Promise<void> {
  await eraseTokens(ctx, versions);
  const list = sql`(select value from json_each(${sqlJson(versions)}))`;
  const used = or(
    sql`json_extract(${job.spec}, '$.dataset.version_id') in ${list}`,
    sql`json_extract(${job.spec}, '$.validation.version_id') in ${list}`,
  );
  const users = await ctx.db
    .select({ id: job.id })
    .from(job)
    .where(and(eq(job.org, org), used));
  for (const { id } of users) await eraseFromJob(ctx, id);
  await ctx.write((tx) => tx.delete(datasetTokens).where(inArray(datasetTokens.versionId, versions)));
  await ctx.emptyLog();
}

/** Erases the traces of a deleted dataset. May be interrupted, and run again. */
export async function eraseTraces(ctx: Ctx, { id, org }: { id: string; org: string }): Promise<void> {
  const versions = (
    await ctx.db.select({ id: datasetVersion.id }).from(datasetVersion).where(eq(datasetVersion.datasetId, id))
  ).map((row) => row.id);
  for (const id of versions) await dropUnit(ctx, { folder: "datasets", id });
  await eraseTokens(ctx, versions);
  const users = await ctx.db
    .select({ id: job.id, state: job.state })
    .from(job)
    .where(
      and(
        eq(job.org, org),
        or(sql`"spec" ->> '$.dataset.dataset_id' = ${id}`, sql`"spec" ->> '$.validation.dataset_id' = ${id}`),
      ),
    );
  for (const user of users) await eraseFromJob(ctx, user.id);
  // Its trainer may still send something: the next round erases that.
  const stopping = users.some(({ state }) => !isFinal(state));
  // Last: the report marks a dataset whose traces are not erased.
  await ctx.write(async (tx) => {
    await tx.delete(datasetTokens).where(inArray(datasetTokens.versionId, versions));
    await tx.delete(piiScan).where(eq(piiScan.datasetId, id));
    await tx.delete(datasetImport).where(eq(datasetImport.datasetId, id));
    if (!stopping)
      await tx.update(datasetVersion).set({ report: null, error: null }).where(eq(datasetVersion.datasetId, id));
  });
  await ctx.emptyLog();
}

/** Erases what an interruption, or an earlier version of the server, left of deleted datasets. */
export async function eraseLeft(ctx: Ctx): Promise<void> {
  const left = await ctx.db
    .selectDistinct({ id: dataset.id, org: dataset.org })
    .from(dataset)
    .innerJoin(datasetVersion, eq(datasetVersion.datasetId, dataset.id))
    .where(and(isNotNull(dataset.deletedAt), or(isNotNull(datasetVersion.report), isNotNull(datasetVersion.error))));
  for (const row of left) await eraseTraces(ctx, row);
}
