/** What an evaluation will be charged, from the time that earlier ones of the same base model took for a row. */
import { and, desc, eq, isNotNull, sql } from "drizzle-orm";
import * as v from "valibot";
import { listIds } from "../billing/prices/lists.ts";
import type { EvaluateSpec } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { job } from "../db/schema/jobs.ts";
import { machineCharge } from "../training/plan/offers.ts";
import { type CreateRequest, evaluationSpec } from "./service.ts";

const PAST = 10;
const SPREAD = [0.6, 1.8] as const;

const range = v.nullable(v.tuple([v.number(), v.number()]));
/** In US dollars, before free allowances. */
export const EvaluationCost = v.strictObject({
  object: v.literal("evaluation.plan"),
  rows: v.number(),
  /** Null before an evaluation of the same base model has finished. */
  seconds_range: range,
  /** From the cheapest to the dearest machine; null while no machine is offered. */
  per_hour_usd: range,
  cost_usd: range,
  price_lists: v.array(v.string()),
});
export type EvaluationCost = v.InferOutput<typeof EvaluationCost>;

/** Seconds for a row in the newest finished evaluations of an organization with a base model; null without any. */
async function secondsPerRow(ctx: Ctx, org: string, base: string): Promise<number | null> {
  const past = await ctx.db
    .select({ spec: job.spec, from: job.startedAt, to: job.finishedAt })
    .from(job)
    .where(
      and(
        eq(job.org, org),
        eq(job.kind, "evaluate"),
        eq(job.state, "succeeded"),
        isNotNull(job.startedAt),
        sql`json_extract(${job.spec}, '$.base_model.id') = ${base}`,
      ),
    )
    .orderBy(desc(job.createdAt))
    .limit(PAST);
  const rows = past.reduce((sum, one) => sum + (one.spec as EvaluateSpec).max_rows, 0);
  const ms = past.reduce((sum, one) => sum + Math.max(0, (one.to ?? 0) - (one.from ?? 0)), 0);
  return rows > 0 ? ms / 1000 / rows : null;
}

/** Plans an evaluation without starting it. @throws AppError like `createEvaluation` */
export async function planEvaluation(ctx: Ctx, actor: Actor, request: CreateRequest): Promise<EvaluationCost> {
  const { spec } = await evaluationSpec(ctx, actor, request);
  const each = await secondsPerRow(ctx, actor.org, spec.base_model.id);
  const of = (factor: number) => (each ?? 0) * spec.max_rows * factor;
  const seconds: [number, number] | null = each === null ? null : [of(SPREAD[0]), of(SPREAD[1])];
  const { perHour, total, lists } = await machineCharge(ctx, actor.org, spec, { seconds });
  return {
    object: "evaluation.plan",
    rows: spec.max_rows,
    seconds_range: seconds,
    per_hour_usd: perHour,
    cost_usd: total,
    price_lists: listIds(lists),
  };
}
