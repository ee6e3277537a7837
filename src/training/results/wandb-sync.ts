/**
 * Sends the runs of jobs with the Weights & Biases integration to the organization's server while they train. What was
 * sent is in the table, so that a restart continues there. A server that fails never changes the job.
 */
import { and, eq, isNull } from "drizzle-orm";
import { isFinal } from "../../contract/job.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { wandbRun } from "../../db/schema/integrations.ts";
import { job } from "../../db/schema/jobs.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { JobRow } from "../jobs/model.ts";
import { note } from "../jobs/transitions.ts";
import { openWandbRun, streamWandbRun, type WandbAccess, type WandbTarget } from "./wandb-client.ts";
import { runsOf, stepsOf } from "./wandb-runs.ts";
import { wandbOf } from "./wandb-settings.ts";

const EVERY_MS = 5000;
const HEARTBEAT_MS = 30_000;
/** After this time a run that ended is given up. */
const GIVE_UP_MS = 7 * 86_400_000;
const LINES_AT_ONCE = 2000;

type RunRow = typeof wandbRun.$inferSelect;

/** Known runs of servers, and when to try an organization's server again after it failed. */
const stateOf = perContext(() => ({
  open: new Map<string, { target: WandbTarget; sentAt: number }>(),
  failed: new Map<string, { times: number; until: number }>(),
}));

const keyOf = ({ url }: WandbAccess, { jobId, n }: RunRow) => `${jobId} ${n} ${url}`;

/** Remembers the runs of a job whose organization has a server. */
async function expectRuns(ctx: Ctx, org: string, jobId: string): Promise<void> {
  const [row] = await ctx.db.select().from(job).where(eq(job.id, jobId));
  if (!row?.startedAt) return;
  const runs = runsOf(row);
  if (runs.length === 0 || !(await wandbOf(ctx, org))) return;
  const rows = runs.map((_, n) => ({ jobId, n, org }));
  await ctx.write((tx) => tx.insert(wandbRun).values(rows).onConflictDoNothing());
}

/** Sends what is new of one run. @throws Error of the server */
async function syncRun(ctx: Ctx, access: WandbAccess, row: JobRow, run: RunRow): Promise<void> {
  const known = stateOf(ctx);
  const ended = isFinal(row.state);
  const found = await stepsOf(ctx, row.id, run.lastStep + 1);
  // The newest step may still get the values of its evaluation.
  const steps = ended ? found : found.slice(0, -1);
  const key = keyOf(access, run);
  const open = known.open.get(key);
  if (steps.length === 0 && !ended && open && ctx.clock.monotonic() - open.sentAt < HEARTBEAT_MS) return;
  const wanted = runsOf(row)[run.n];
  if (!wanted) return;
  const target = open?.target ?? (await openWandbRun(access, wanted, ctx.signal));
  const summary: Record<string, number> = { ...run.summary };
  let { lines } = run;
  for (let at = 0; at === 0 || at < steps.length; at += LINES_AT_ONCE) {
    const some = steps
      .slice(at, at + LINES_AT_ONCE)
      .map(([step, values]) => ({ ...Object.fromEntries(values), _step: step }));
    for (const line of some) Object.assign(summary, line);
    const last = at + LINES_AT_ONCE >= steps.length;
    const runtime = seconds(row.finishedAt ?? ctx.clock.now()) - wanted.startedAt;
    await streamWandbRun(
      access,
      target,
      {
        offset: lines,
        lines: some,
        summary: { ...summary, _runtime: runtime, _wandb: { runtime } },
        exitCode: ended && last ? Number(row.state !== "succeeded") : null,
      },
      ctx.signal,
    );
    lines += some.length;
  }
  if (ended) known.open.delete(key);
  else known.open.set(key, { target, sentAt: ctx.clock.monotonic() });
  const change = {
    lines,
    summary,
    lastStep: steps.at(-1)?.[0] ?? run.lastStep,
    error: null,
    endedAt: ended ? ctx.clock.now() : null,
  };
  await ctx.write((tx) =>
    tx
      .update(wandbRun)
      .set(change)
      .where(and(eq(wandbRun.jobId, run.jobId), eq(wandbRun.n, run.n))),
  );
}

/** Keeps why a run was not sent; the job's events say it once. */
async function keepFailure(ctx: Ctx, row: JobRow, run: RunRow, message: string): Promise<void> {
  const late = isFinal(row.state) && (row.finishedAt ?? 0) < ctx.clock.now() - GIVE_UP_MS;
  if (message === run.error && !late) return;
  await ctx.write(async (tx) => {
    await tx
      .update(wandbRun)
      .set({ error: message, endedAt: late ? ctx.clock.now() : null })
      .where(and(eq(wandbRun.jobId, run.jobId), eq(wandbRun.n, run.n)));
    if (run.error === null)
      await note(tx, ctx, row, `Not sent to Weights & Biases yet: ${message}. It is tried again.`, "warn");
  });
}

/** Sends what is new of all runs. An organization whose server failed waits 10 seconds, then twice as long. */
export async function syncWandb(ctx: Ctx): Promise<void> {
  const { failed } = stateOf(ctx);
  const rows = await ctx.db
    .select({ job, run: wandbRun })
    .from(wandbRun)
    .innerJoin(job, eq(job.id, wandbRun.jobId))
    .where(isNull(wandbRun.endedAt))
    .limit(500);
  for (const { job: row, run } of rows) {
    const wait = failed.get(row.org);
    if (ctx.signal.aborted || (wait && wait.until > ctx.clock.monotonic())) continue;
    const access = await wandbOf(ctx, row.org);
    if (!access) continue;
    try {
      await syncRun(ctx, access, row, run);
      failed.delete(row.org);
    } catch (cause) {
      if (ctx.signal.aborted) return;
      const times = (wait?.times ?? 0) + 1;
      failed.set(row.org, { times, until: ctx.clock.monotonic() + Math.min(EVERY_MS * 2 ** times, 600_000) });
      await keepFailure(ctx, row, run, cause instanceof Error ? cause.message : String(cause));
    }
  }
}

/** Sends runs while the server runs. @returns a function that stops it */
export function startWandb(ctx: Ctx): () => void {
  let busy = false;
  const safely = (work: () => Promise<void>) =>
    work().catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "a run was not sent to Weights & Biases", { cause });
    });
  const round = async () => {
    if (busy) return;
    busy = true;
    await safely(() => syncWandb(ctx));
    busy = false;
  };
  const off = ctx.bus.on("job.changed", ({ org, jobId, kind }) => {
    if (kind === "train") void safely(() => expectRuns(ctx, org, jobId));
  });
  const timer = setInterval(() => void round(), EVERY_MS);
  return () => {
    clearInterval(timer);
    off();
  };
}
