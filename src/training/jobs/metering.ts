/**
 * Meters attempts while they run: intervals of use, cut at every hour (UTC) and where the job's state, or what is
 * charged, changes. Each is written in the transaction that moves the attempt's position, so none is lost or doubled.
 */
import { and, eq, isNull, ne, or, sql } from "drizzle-orm";
import { recordUse, type Use } from "../../billing/ledger/record.ts";
import { METERS } from "../../billing/meters/meters.ts";
import { microsFrom } from "../../billing/meters/money.ts";
import type { Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { trial } from "../../db/schema/sweeps.ts";
import type { Db } from "../../db/types.ts";
import { joulesOf } from "./energy.ts";
import type { AttemptRow, JobRow } from "./model.ts";

const HOUR_MS = 3_600_000;

/** Phases in which a trainer prepares. Until another one begins, the attempt is starting up. */
const PREPARING = new Set(["starting", "downloading", "loading_data", "loading_model", "canary"]);

/** Why time in a phase is not charged; null = it is charged. `worked`: the trainer has begun to work before. */
export function freeReason(phase: string | undefined, worked: boolean): string | null {
  if (phase === "canary") return "memory_test";
  if (phase === "downloading") return "download";
  return worked ? null : "start_up";
}

/** True for a phase in which a trainer does what it was asked to do. */
export const isWork = (phase: string): boolean => !PREPARING.has(phase);

/** What all rows of an attempt share. */
type Shared = Omit<Use, "source" | "meter" | "from" | "to" | "quantity" | "free" | "costMicros" | "deploymentId">;

/** The sweep of a job; its trial may not know the job yet when that starts at once. */
export async function sweepOf(db: Db, row: JobRow): Promise<string | null> {
  const { sweep = "", trial: number = "" } = row.metadata;
  const started = and(eq(trial.sweepId, sweep), sql`${trial.number} = ${number}`, isNull(trial.jobId));
  const [found] = await db
    .select({ id: trial.sweepId })
    .from(trial)
    .where(or(eq(trial.jobId, row.id), started))
    .limit(1);
  return found?.id ?? null;
}

async function sharedOf(tx: Db, row: JobRow, which: AttemptRow): Promise<Shared> {
  return {
    org: row.org,
    userId: row.createdBy,
    keyId: row.keyId,
    kind: row.kind,
    jobId: row.id,
    attemptId: which.id,
    sweepId: await sweepOf(tx, row),
    model: row.spec.base_model.id,
    provider: which.provider,
    gpuModel: which.offer.gpuName,
  };
}

/** The cores that work without GPUs is given. */
export const coresOf = (row: Pick<JobRow, "spec">): number => Math.max(1, Math.ceil(row.spec.need.cpus));

/** A part of an attempt, in milliseconds since its start. */
interface Part {
  from: number;
  to: number;
}

/** Whole seconds in a part: of all parts together, nothing is lost by rounding. */
const secondsIn = ({ from, to }: Part) => Math.floor(to / 1000) - Math.floor(from / 1000);

/** Tokens of a training that are not metered yet, over all of its attempts. */
async function newTokens(tx: Db, row: JobRow): Promise<number> {
  const seen = row.progress.tokens_seen;
  if (row.kind !== "train" || !seen) return 0;
  const [known] = await tx
    .select({ tokens: sql<number>`coalesce(sum(${meterInterval.quantity}), 0)` })
    .from(meterInterval)
    .where(and(eq(meterInterval.jobId, row.id), eq(meterInterval.meter, "training_tokens")));
  return Math.max(0, Math.floor(seen) - (known?.tokens ?? 0));
}

/** The endpoints that are ready on the engine of a serve job. */
const endpointsOf = (tx: Db, jobId: string) =>
  tx
    .select({ id: deployment.id, model: deployment.model })
    .from(deployment)
    .where(and(eq(deployment.jobId, jobId), eq(deployment.state, "ready")))
    .orderBy(deployment.createdAt, deployment.id)
    .limit(1000);

/** What a part of an attempt used, by meter. */
async function usesOf(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow & { startedAt: number },
  part: Part,
  last: boolean,
) {
  const seconds = secondsIn(part);
  const { gpus, pricePerHour } = which.offer;
  const units = gpus > 0 ? gpus : coresOf(row);
  const price = microsFrom(Math.round(pricePerHour * 1e6) / 1e6) ?? 0;
  const endpoints = row.kind === "serve" ? await endpointsOf(tx, row.id) : [];
  const only = endpoints.length === 1 ? endpoints[0] : undefined;
  const tokens = last ? await newTokens(tx, row) : 0;
  const uses: (Pick<Use, "meter" | "quantity" | "costMicros" | "deploymentId"> & { model?: string })[] = [
    {
      meter: gpus > 0 ? "gpu_seconds" : "cpu_seconds",
      quantity: seconds * units,
      costMicros: price > 0 ? Math.round(price / units) : null,
      deploymentId: only?.id ?? null,
    },
  ];
  if (tokens > 0) uses.push({ meter: "training_tokens", quantity: tokens, costMicros: null, deploymentId: null });
  for (const { id, model } of endpoints)
    if (seconds > 0)
      uses.push({ meter: "endpoint_seconds", quantity: seconds, costMicros: null, deploymentId: id, model });
  const { startedAt } = which;
  const joules = await joulesOf(
    tx,
    ctx,
    { attemptId: which.id, gpus, cores: coresOf(row) },
    { from: startedAt + part.from, to: startedAt + part.to },
  );
  if (joules > 0) uses.push({ meter: "joules", quantity: joules, costMicros: null, deploymentId: null });
  return uses;
}

/** Parts of `from` to `until` (milliseconds since `startedAt`), each within one hour of the clock. */
function partsOf(startedAt: number, from: number, until: number): Part[] {
  const parts: Part[] = [];
  for (let at = from; at < until; ) {
    const hour = (Math.floor((startedAt + at) / HOUR_MS) + 1) * HOUR_MS - startedAt;
    const to = Math.min(until, hour);
    parts.push({ from: at, to });
    at = to;
  }
  return parts;
}

/**
 * Meters an attempt up to `now`. Without a whole second since its position nothing is written, unless it ends.
 * @param row with the progress of the time that is metered: call it before the progress changes
 */
export async function meterAttempt(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  id: string,
  { now, ends = false }: { now: number; ends?: boolean },
): Promise<void> {
  const [which] = await tx.select().from(attempt).where(eq(attempt.id, id)).limit(1);
  if (!which || which.startedAt === null || (which.state === "ended" && !ends)) return;
  const { startedAt, meteredMs } = which;
  const until = Math.max(now - startedAt, meteredMs);
  if (!ends && secondsIn({ from: meteredMs, to: until }) === 0) return;
  const parts = partsOf(startedAt, meteredMs, until);
  // An attempt that ended at once has an interval too.
  if (parts.length === 0 && ends && meteredMs === 0) parts.push({ from: 0, to: 0 });
  if (parts.length === 0) return;
  const shared = await sharedOf(tx, row, which);
  const why = freeReason(row.progress.phase, which.worked);
  for (const part of parts) {
    const uses = await usesOf(tx, ctx, row, { ...which, startedAt }, part, part === parts.at(-1));
    for (const use of uses) {
      const of = use.meter === "endpoint_seconds" ? ` ${use.deploymentId}` : "";
      await recordUse(tx, now, {
        ...shared,
        ...use,
        source: `${id} ${use.meter} ${part.from}${of}`,
        from: startedAt + part.from,
        to: startedAt + part.to,
        free: METERS[use.meter].priced === null ? null : why,
      });
    }
  }
  ctx.failPoint("meter.open");
  await tx.update(attempt).set({ meteredMs: until }).where(eq(attempt.id, id));
}

/** Meters the open attempt of a job up to now, if there is one. */
export async function meterOpen(tx: Db, ctx: Ctx, row: JobRow): Promise<void> {
  const [open] = await tx
    .select({ id: attempt.id })
    .from(attempt)
    .where(and(eq(attempt.jobId, row.id), ne(attempt.state, "ended")))
    .limit(1);
  if (open) await meterAttempt(tx, ctx, row, open.id, { now: ctx.clock.now() });
}
