/**
 * The result file of a finished training job: its metrics as the CSV that OpenAI's clients expect, stored as a file.
 */
import { and, desc, eq, gt, gte, sql } from "drizzle-orm";
import { type Ctx, perContext, systemActor } from "../../ctx.ts";
import { createFile } from "../../data/files/service.ts";
import { file } from "../../db/schema/datasets.ts";
import { job } from "../../db/schema/jobs.ts";
import type { JobRow } from "../jobs/model.ts";
import { readSeries } from "../metrics/service.ts";

const COLUMNS = {
  train_loss: "train/loss",
  train_accuracy: "train/token_accuracy",
  valid_loss: "eval/loss",
  valid_mean_token_accuracy: "eval/token_accuracy",
} as const;
/** Longer runs are downsampled to this number of steps, keeping minima and maxima. */
const MAX_STEPS = 10_000;
const LOOK_BACK_MS = 7 * 86_400_000;

/** `step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy`, one line per step that has a value. */
async function resultCsv(ctx: Ctx, jobId: string): Promise<string> {
  const keys = Object.values(COLUMNS);
  const { series } = await readSeries(ctx, jobId, { keys: [...keys], maxPoints: MAX_STEPS });
  const byStep = new Map<number, Map<string, number>>();
  for (const [key, one] of Object.entries(series))
    for (const [step, value] of one.points) {
      if (value === null) continue;
      const line = byStep.get(step) ?? new Map<string, number>();
      byStep.set(step, line.set(key, value));
    }
  const lines = [...byStep]
    .sort(([a], [b]) => a - b)
    .map(([step, line]) => [step, ...keys.map((key) => line.get(key) ?? "")].join(","));
  return `step,${Object.keys(COLUMNS).join(",")}\n${lines.map((line) => `${line}\n`).join("")}`;
}

/** Creates the file and stores its id on the job. @returns the file's id */
async function createResultFile(ctx: Ctx, row: JobRow): Promise<string> {
  const filename = `step_metrics_${row.id}.csv`;
  // A server that stopped between the two writes below has already created the file.
  const [existing] = await ctx.db
    .select({ id: file.id })
    .from(file)
    .where(and(eq(file.org, row.org), gte(file.createdAt, row.finishedAt ?? 0), eq(file.filename, filename)))
    .limit(1);
  const { id } =
    existing ??
    (await createFile(
      ctx,
      { ...systemActor(row.org), userId: row.createdBy },
      { filename, purpose: "fine-tune-results", body: new Blob([await resultCsv(ctx, row.id)]).stream() },
    ));
  await ctx.write((tx) =>
    tx
      .update(job)
      .set({ result: { ...row.result, result_files: [id] } })
      .where(eq(job.id, row.id)),
  );
  ctx.bus.emit("job.progress", { org: row.org, jobId: row.id });
  return id;
}

const pendingFiles = perContext(() => new Map<string, Promise<string>>());

/** The same, shared by concurrent callers. */
async function createOnce(ctx: Ctx, row: JobRow): Promise<string> {
  const all = pendingFiles(ctx);
  let one = all.get(row.id);
  if (!one) {
    one = createResultFile(ctx, row).finally(() => all.delete(row.id));
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
    return { ...row, result: { ...row.result, result_files: [await createOnce(ctx, row)] } };
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
