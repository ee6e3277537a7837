/** The log of a deployment's engine, also of one that failed to start or died. */
import { and, desc, eq, isNull, or, sql } from "drizzle-orm";
import { FINAL_STATES } from "../../contract/job.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { processOutput } from "../../training/jobs/service.ts";
import type { LogQuery, LogReply } from "../../training/metrics/model.ts";
import { readLogs } from "../../training/metrics/service.ts";
import type { DeploymentRow } from "./model.ts";
import { findRow } from "./records.ts";

/** Lines that the provider keeps of a process, which may have ended before it could report any. */
const OUTPUT_LINES = 100;

export interface EngineLog {
  /** Null before the first start. */
  jobId: string | null;
  /** The engine has ended. */
  over: boolean;
  log: LogReply;
  /** Last lines that the process wrote, as its provider keeps them; empty while the engine runs. */
  output: string[];
}

const EMPTY: LogReply = { lines: [], hasMore: false, next: null, trimmed: false };

/**
 * The current serve job of a deployment, else the newest one started for it. A deployment that only joined the engines
 * of others has the newest one of its base model.
 */
async function engineJob(ctx: Ctx, row: DeploymentRow) {
  const own = sql<number>`coalesce(json_extract(${job.metadata}, '$.deployment_id') = ${row.id}, 0)`;
  const sameBase = sql`json_extract(${job.spec}, '$.base_model.id') = ${row.baseModelId}`;
  const [found] = await ctx.db
    .select({ id: job.id, state: job.state })
    .from(job)
    .where(
      row.jobId
        ? eq(job.id, row.jobId)
        : and(eq(job.org, row.org), eq(job.kind, "serve"), isNull(job.deletedAt), or(own, sameBase)),
    )
    .orderBy(desc(own), desc(job.createdAt), desc(job.id))
    .limit(1);
  return found ?? null;
}

/**
 * The newest lines of the engine's log, or those before or after a line. For an engine that ended also the last output
 * of its process, which has what it wrote without reporting it.
 * @throws AppError `deployment_not_found`
 */
export async function readEngineLog(ctx: Ctx, actor: Actor, id: string, query: LogQuery): Promise<EngineLog> {
  const row = await findRow(ctx, actor, id);
  const engine = await engineJob(ctx, row);
  if (!engine) return { jobId: null, over: false, log: EMPTY, output: [] };
  const over = FINAL_STATES.some((state) => state === engine.state);
  return {
    jobId: engine.id,
    over,
    log: await readLogs(ctx, engine.id, query),
    output: over ? await processOutput(ctx, actor, engine.id, OUTPUT_LINES) : [],
  };
}
