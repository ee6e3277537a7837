/** What an endpoint of a model will be charged: by the hour, and by the tokens of its requests. */
import * as v from "valibot";
import { usdOf } from "../../billing/meters/money.ts";
import { listIds } from "../../billing/prices/lists.ts";
import { rateOf } from "../../billing/prices/rate.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { machineCharge } from "../../training/plan/offers.ts";
import { buildServeSpec } from "./spec.ts";

export const PlanDeployment = v.strictObject({ model: v.pipe(v.string(), v.minLength(1), v.maxLength(400)) });

/** In US dollars, before free allowances. */
export const DeploymentPlan = v.strictObject({
  object: v.literal("deployment.plan"),
  model: v.string(),
  /** While it runs, from the cheapest to the dearest machine; null while no machine is offered. */
  per_hour_usd: v.nullable(v.tuple([v.number(), v.number()])),
  per_million_input_tokens_usd: v.number(),
  per_million_output_tokens_usd: v.number(),
  price_lists: v.array(v.string()),
});
export type DeploymentPlan = v.InferOutput<typeof DeploymentPlan>;

/**
 * Plans an endpoint without starting it.
 * @throws AppError when the model does not exist, its base is not ready, or its files are damaged
 */
export async function planDeployment(ctx: Ctx, actor: Actor, model: string): Promise<DeploymentPlan> {
  const spec = await buildServeSpec(ctx, actor, model);
  const { perHour, lists } = await machineCharge(ctx, actor.org, spec, { endpoint: model });
  const tokens = (meter: "input_tokens" | "output_tokens") =>
    usdOf(rateOf(lists, { meter, gpuModel: null, provider: null, model, costMicros: null })?.unitMicros ?? 0);
  return {
    object: "deployment.plan",
    model,
    per_hour_usd: perHour,
    per_million_input_tokens_usd: tokens("input_tokens"),
    per_million_output_tokens_usd: tokens("output_tokens"),
    price_lists: listIds(lists),
  };
}

/** The plan of an endpoint for its pages; null when nothing has a price, or the model cannot be served now. */
export async function endpointPrice(ctx: Ctx, actor: Actor, model: string): Promise<DeploymentPlan | null> {
  try {
    const plan = await planDeployment(ctx, actor, model);
    return plan.price_lists.length > 0 ? plan : null;
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return null;
  }
}
