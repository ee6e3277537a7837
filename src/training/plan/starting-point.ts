/**
 * What a run begins from: a base model alone, or the adapter or weights of a tuned model or checkpoint, which it then
 * goes on training.
 */
import { eq } from "drizzle-orm";
import type { AdapterSettings, MethodName, TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import type { BaseModelRow } from "../../models/base/model.ts";
import { requireReadyBase } from "../../models/base/service.ts";
import { resolveModel } from "../../models/tuned/service.ts";

export interface Beginning {
  base: BaseModelRow;
  /** Null: the base alone. */
  from: { start: NonNullable<TrainSpec["start"]>; adapter: AdapterSettings; method: MethodName } | null;
}

/**
 * Finds what `model` means as a beginning.
 * @throws AppError for models that are unknown, not ready, or whose training is no longer known
 */
export async function beginningOf(ctx: Ctx, actor: Actor, model: string): Promise<Beginning> {
  if (!model.startsWith("ft:")) return { base: await requireReadyBase(ctx, actor, model), from: null };
  const { id, base, adapter, checkpointId, jobId } = await resolveModel(ctx, actor, model);
  const [row] = jobId ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, jobId)).limit(1) : [];
  if (!adapter || !checkpointId || row?.spec.kind !== "train")
    throw new AppError("invalid", "model_not_trainable", `How ${id.slice(0, 200)} was trained is no longer known.`, {
      param: "model",
    });
  const { method } = row.spec;
  return {
    base,
    from: {
      start: { model: id, checkpoint_id: checkpointId, artifact_id: adapter.artifactId },
      adapter: method.adapter,
      method: method.type,
    },
  };
}
