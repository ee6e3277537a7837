/** The models that an API key may use: by their ids, other names of base models, and names of deployments. */
import { and, eq, inArray, isNull, or } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { baseModel } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";
import { findCatalogue } from "../base/catalogue.ts";
import { getBaseModel } from "../base/service.ts";
import { findTuned } from "./lookup.ts";

/** The ids of models behind names; a name that is none stands for itself. */
async function idsOf(ctx: Ctx, org: string, names: readonly string[]): Promise<Set<string>> {
  const wanted = [...names];
  const known = wanted.map((name) => findCatalogue(name)?.id ?? name);
  const bases = await ctx.db
    .select({ id: baseModel.id })
    .from(baseModel)
    .where(and(eq(baseModel.source, "hub"), inArray(baseModel.sourceRef, wanted)));
  const deployed = await ctx.db
    .select({ model: deployment.model })
    .from(deployment)
    .where(
      and(
        eq(deployment.org, org),
        isNull(deployment.deletedAt),
        or(inArray(deployment.name, wanted), inArray(deployment.id, wanted)),
      ),
    );
  return new Set([...known, ...bases.map(({ id }) => id), ...deployed.map(({ model }) => model)]);
}

/** Says of a model's id whether the actor may use it. */
export async function modelFilter(ctx: Ctx, actor: Actor): Promise<(id: string) => boolean> {
  const sets: Set<string>[] = [];
  for (const { models } of actor.limits ?? []) if (models) sets.push(await idsOf(ctx, actor.org, models));
  return (id) => sets.every((set) => set.has(id));
}

/**
 * Refuses a key that may not use a model.
 * @param id of the resolved model
 * @throws AppError `model_not_allowed` (403)
 */
export async function requireAllowedModel(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (!actor.limits?.some(({ models }) => models !== null) || (await modelFilter(ctx, actor))(id)) return;
  const names = actor.limits.find(({ models }) => models !== null)?.models ?? [];
  throw new AppError(
    "forbidden",
    "model_not_allowed",
    `This API key may not use the model ${id.slice(0, 200)}. It may use: ${names.slice(0, 10).join(", ")}${names.length > 10 ? ", …" : ""}. Its owner can change that in Settings > API keys.`,
    { param: "model" },
  );
}

/** Whether a name is that of a model or a deployment which the organization can use. */
async function isKnown(ctx: Ctx, org: string, name: string): Promise<boolean> {
  const [deployed] = await ctx.db
    .select({ id: deployment.id })
    .from(deployment)
    .where(
      and(
        eq(deployment.org, org),
        isNull(deployment.deletedAt),
        or(eq(deployment.name, name), eq(deployment.id, name)),
      ),
    )
    .limit(1);
  if (deployed) return true;
  if (!name.startsWith("ft:")) return findCatalogue(name) !== null || (await getBaseModel(ctx, name)) !== null;
  return findTuned(ctx, org, name, true).then(
    () => true,
    (error: unknown) => {
      if (error instanceof AppError && error.code === "model_not_found") return false;
      throw error;
    },
  );
}

/**
 * Checks the names to which a key is restricted: a wrong one would refuse requests later.
 * @throws AppError `unknown_model` (400) naming the entry
 */
export async function checkModelNames(
  ctx: Ctx,
  actor: Actor,
  names: readonly string[] | null | undefined,
): Promise<void> {
  for (const [n, name] of (names ?? []).entries())
    if (!(await isKnown(ctx, actor.org, name)))
      throw new AppError(
        "invalid",
        "unknown_model",
        `Neither a model nor a deployment of your team is called "${name.slice(0, 200)}". GET /v1/models lists the models.`,
        { param: `allowed_models.${n}` },
      );
}
