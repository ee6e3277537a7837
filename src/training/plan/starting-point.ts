/**
 * The starting point of a run: a base model, or a fine-tuned model or checkpoint that the run continues from.
 */
import { eq } from "drizzle-orm";
import type { DataSettings } from "../../contract/data-settings.ts";
import type { AdapterSettings, MethodName, TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { baseForRun } from "../../models/base/for-runs.ts";
import type { BaseModelRow } from "../../models/base/model.ts";
import { requireAllowedModel } from "../../models/tuned/allowed.ts";
import { resolveUsableModel } from "../../models/tuned/service.ts";

export interface StartingPoint {
  base: BaseModelRow;
  /** Why the run has to wait for its base model; null when it is installed. */
  waits: string | null;
  /** Null: the run starts from the base model. */
  from: {
    start: NonNullable<TrainSpec["start"]>;
    adapter: AdapterSettings;
    method: MethodName;
    chatTemplate: DataSettings["chat_template"];
  } | null;
}

/**
 * Resolves the `model` of a request.
 * @throws AppError for models that are unknown or cannot be installed, or whose training job no longer exists
 */
export async function startingPointOf(ctx: Ctx, actor: Actor, model: string): Promise<StartingPoint> {
  if (!model.startsWith("ft:")) {
    const { row, waits } = await baseForRun(ctx, actor, model);
    await requireAllowedModel(ctx, actor, row.id);
    return { base: row, waits, from: null };
  }
  const { id, base, adapter, checkpointId, jobId } = await resolveUsableModel(ctx, actor, model);
  const [row] = jobId ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, jobId)).limit(1) : [];
  if (!adapter || !checkpointId || row?.spec.kind !== "train")
    throw new AppError(
      "invalid",
      "model_not_trainable",
      `The training job of ${id.slice(0, 200)} no longer exists, so training cannot continue from it.`,
      {
        param: "model",
      },
    );
  const { method } = row.spec;
  return {
    base,
    waits: null,
    from: {
      start: { model: id, checkpoint_id: checkpointId, artifact_id: adapter.artifactId },
      adapter: method.adapter,
      method: method.type,
      chatTemplate: row.spec.data?.chat_template,
    },
  };
}
