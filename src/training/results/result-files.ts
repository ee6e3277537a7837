/**
 * The result files of a finished training job: its metrics as the CSV that OpenAI's clients expect, and a run for each
 * of its integrations.
 */
import { and, desc, eq, gt, gte, sql } from "drizzle-orm";
import { type Ctx, perContext, systemActor } from "../../ctx.ts";
import { createFile } from "../../data/files/service.ts";
import { file } from "../../db/schema/datasets.ts";
import { job } from "../../db/schema/jobs.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { JobRow } from "../jobs/model.ts";
import { wandbFile } from "./wandb-file.ts";
import { COLUMNS, runsOf, type Steps, stepsOf } from "./wandb-runs.ts";

const LOOK_BACK_MS = 7 * 86_400_000;

/** `step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy`, one line per step that has a value. */
function resultCsv(steps: Steps): string {
  const columns = Object.keys(COLUMNS);
  const lines = steps.map(([step, line]) => [step, ...columns.map((name) => line.get(name) ?? "")].join(","));
  return `step,${columns.join(",")}\n${lines.map((line) => `${line}\n`).join("")}`;
}

/** The files for the job's integrations: a run of Weights & Biases each. */
const integrationFiles = (row: JobRow, history: Steps) =>
  runsOf(row).map((run) => ({
    filename: `run-${run.id}.wandb`,
    content: wandbFile({ ...run, runtimeS: seconds(row.finishedAt ?? row.createdAt) - run.startedAt, history }),
  }));

/** Stores a result file. A server that stopped before the job names it has already created it. @returns its id */
async function storeFile(ctx: Ctx, row: JobRow, filename: string, content: string | Buffer): Promise<string> {
  const [existing] = await ctx.db
    .select({ id: file.id })
    .from(file)
    .where(and(eq(file.org, row.org), gte(file.createdAt, row.finishedAt ?? 0), eq(file.filename, filename)))
    .limit(1);
  if (existing) return existing.id;
  const body = new Blob([typeof content === "string" ? content : new Uint8Array(content)]).stream();
  const actor = { ...systemActor(row.org), userId: row.createdBy };
  const { id } = await createFile(ctx, actor, { filename, purpose: "fine-tune-results", body });
  return id;
}

/** Creates the files and stores their ids on the job. @returns the ids */
async function createResultFiles(ctx: Ctx, row: JobRow): Promise<string[]> {
  const steps = await stepsOf(ctx, row.id);
  const wanted = [
    { filename: `step_metrics_${row.id}.csv`, content: resultCsv(steps) },
    ...integrationFiles(row, steps),
  ];
  const ids: string[] = [];
  for (const { filename, content } of wanted) ids.push(await storeFile(ctx, row, filename, content));
  await ctx.write((tx) =>
    tx
      .update(job)
      .set({ result: { ...row.result, result_files: ids } })
      .where(eq(job.id, row.id)),
  );
  ctx.bus.emit("job.progress", { org: row.org, jobId: row.id });
  return ids;
}

const pendingFiles = perContext(() => new Map<string, Promise<string[]>>());

/** The same, shared by concurrent callers. */
async function createOnce(ctx: Ctx, row: JobRow): Promise<string[]> {
  const all = pendingFiles(ctx);
  let one = all.get(row.id);
  if (!one) {
    one = createResultFiles(ctx, row).finally(() => all.delete(row.id));
    all.set(row.id, one);
  }
  return one;
}

/** True for jobs that have a result file or will get one. */
const needsResultFile = (ctx: Ctx, row: JobRow) =>
  row.kind === "train" && row.state === "succeeded" && (row.finishedAt ?? 0) > ctx.clock.now() - LOOK_BACK_MS;

/**
 * The job for clients: whoever reads that it succeeded also gets its result file, even before `keepResults` ran.
 */
export async function withResults(ctx: Ctx, row: JobRow): Promise<JobRow> {
  if (!needsResultFile(ctx, row) || row.result?.result_files) return row;
  try {
    return { ...row, result: { ...row.result, result_files: await createOnce(ctx, row) } };
  } catch (cause) {
    ctx.log("error", "could not create a job's result file; it will be tried again", { cause });
    return row;
  }
}

/**
 * Creates the missing result files of training jobs that succeeded recently: right after their end, or after a restart.
 */
export async function keepResults(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select()
    .from(job)
    .where(
      and(
        eq(job.state, "succeeded"),
        eq(job.kind, "train"),
        gt(job.finishedAt, ctx.clock.now() - LOOK_BACK_MS),
        sql`json_extract(${job.result}, '$.result_files') is null`,
      ),
    )
    .orderBy(desc(job.finishedAt))
    .limit(20);
  for (const row of rows) await createOnce(ctx, row);
}
