/** What an attempt will use at most, for the budgets that apply to its job: reserved when it opens. */
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { reserve, reserveAgain, type Wanted, type Work } from "../../billing/budgets/reserve.ts";
import { MICROS } from "../../billing/meters/money.ts";
import { listsAt, listsOfJob } from "../../billing/prices/lists.ts";
import { rateOf } from "../../billing/prices/rate.ts";
import type { Progress } from "../../contract/job.ts";
import type { Offer } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { sweepOf } from "../jobs/metering.ts";
import type { JobRow } from "../jobs/model.ts";

const HOUR_S = 3600;
/** How far ahead work is watched that saves no checkpoints. */
const WATCH_S = 30;

/** What an hour at an offer costs, by the prices that the job was started with. */
async function paceOf(db: Db, row: JobRow, at: { provider: string; offer: Offer }, now: number) {
  const { gpus, gpuName, pricePerHour } = at.offer;
  const lists = (await listsOfJob(db, row.id)) ?? (await listsAt(db, row.org, now));
  const units = gpus > 0 ? gpus : Math.max(1, Math.ceil(row.spec.need.cpus));
  const what = { gpuModel: gpuName, provider: at.provider, model: row.spec.base_model.id };
  const price = Math.round(pricePerHour * MICROS);
  const costMicros = price > 0 ? Math.round(price / units) : null;
  const unit = rateOf(lists, { ...what, meter: gpus > 0 ? "gpu_seconds" : "cpu_seconds", costMicros });
  const endpoint =
    row.kind === "serve" ? rateOf(lists, { ...what, meter: "endpoint_seconds", costMicros: null }) : null;
  const microsPerHour = (unit?.unitMicros ?? costMicros ?? 0) * units + (endpoint?.unitMicros ?? 0);
  return { microsPerHour, gpus };
}

/**
 * Seconds until a training saves its next checkpoint or ends, whichever is first, by the pace that it last reported. A
 * second without one: nothing is charged before its first step.
 * @param whole from one checkpoint to the next instead
 */
export function checkpointAheadS(
  { eta_s: eta, step = 0, total_steps: total }: Pick<Progress, "eta_s" | "step" | "total_steps">,
  saveEvery: number | null,
  whole = false,
): number {
  if (!saveEvery) return WATCH_S;
  if (typeof eta !== "number" || !total || total <= step) return 1;
  const steps = whole ? saveEvery : saveEvery - (step % saveEvery);
  return (Math.min(steps, total - step) * Math.max(0, eta)) / (total - step);
}

/** Seconds that the rest of a job takes at most; an hour at a time where that is not known. */
function upperSeconds({ kind, progress, estimateHighS, spec }: JobRow): number {
  const eta = progress.eta_s;
  if (kind === "serve") return HOUR_S;
  if (typeof eta === "number" && (progress.step ?? 0) > 0) return Math.min(spec.limits.total_s, eta * 1.25 + 60);
  if (estimateHighS === null) return HOUR_S;
  return Math.min(spec.limits.total_s, estimateHighS * (1 - Math.min(1, Math.max(0, progress.fraction ?? 0))));
}

/** What the next attempt of a job may use at an offer, by the prices that the job was started with. */
export async function wantedBy(
  db: Db,
  row: JobRow,
  at: { provider: string; offer: Offer },
  now: number,
): Promise<Wanted> {
  const saveEvery = row.spec.kind === "train" ? row.spec.schedule.save_every : null;
  const leastSeconds =
    row.spec.kind === "train" && row.attempts > 0 ? checkpointAheadS(row.progress, saveEvery, true) : 0;
  return {
    ...(await paceOf(db, row, at, now)),
    seconds: Math.max(upperSeconds(row), leastSeconds),
    leastSeconds,
  };
}

/**
 * Reserves what the next attempt of a job uses at most, in the transaction that opens it.
 * @returns why it waits for a budget; null = it is reserved
 */
export async function reserveAttempt(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  at: { provider: string; offer: Offer },
): Promise<string | null> {
  const now = ctx.clock.now();
  const wanted = await wantedBy(tx, row, at, now);
  const work: Work = {
    org: row.org,
    userId: row.createdBy,
    keyId: row.keyId,
    jobId: row.id,
    sweepId: await sweepOf(tx, row),
  };
  const short = await reserve(tx, now, work, wanted);
  if (short !== null) budgetMarks(ctx).waiting.set(row.id, { work, wanted });
  return short;
}

/** Reserves again for the attempt of a job whose machine costs something else now: see `reserveAgain`. */
export async function repriceAttempt(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  at: { provider: string; offer: Offer },
): Promise<void> {
  const now = ctx.clock.now();
  const pace = await paceOf(tx, row, at, now);
  await reserveAgain(tx, now, row.id, { ...pace, seconds: upperSeconds(row) });
}
