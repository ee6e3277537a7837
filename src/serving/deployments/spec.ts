/**
 * The frozen spec of a serve job: the base model with the adapter and the newest checkpoints of its run in one process;
 * or one full model.
 */
import { eq } from "drizzle-orm";
import { gpuGroups } from "../../compute/hosts/gpu-groups.ts";
import { bf16Supported, inferenceImage, trainerIdentity } from "../../compute/providers/registry.ts";
import type { ServeSpec, TrainSpec } from "../../contract/spec.ts";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { baseModelRef } from "../../models/base/service.ts";
import { artifactProblem, getArtifact, listCheckpoints, resolveChatModel } from "../../models/tuned/service.ts";
import { gpusForServing } from "./gpus.ts";

/** Checkpoints loaded together with the fine-tuned model; older ones are loaded on request. */
const MAX_CHECKPOINTS = 4;
/** MiB for the keys and values of running answers on a processor: the limit of the trainer's serving/speed.py. */
const CACHE_MB = 1024;

const MAX_NEW_TOKENS = 4096;

/**
 * The spec that serves `model`.
 * @param idleAfterS seconds without a request until the deployment sleeps; null = never
 * @throws AppError when the model does not exist, its base is not ready, or its files are damaged
 */
export async function buildServeSpec(
  ctx: Ctx,
  actor: Actor,
  model: string,
  idleAfterS: number | null = null,
): Promise<ServeSpec> {
  const resolved = await resolveChatModel(ctx, actor, model);
  const base = baseModelRef(resolved.base);
  const owner = resolved.org === null ? actor : systemActor(resolved.org);
  const wanted = resolved.adapter ? [resolved.adapter] : [];
  // Of another organization, only what it shares.
  if (resolved.jobId && !resolved.whole && resolved.org === actor.org)
    for (const row of await listCheckpoints(ctx, resolved.jobId, { limit: MAX_CHECKPOINTS }))
      wanted.push({ name: row.model, artifactId: row.artifactId });
  const adapters: ServeSpec["adapters"] = [];
  let whole: ServeSpec["whole"];
  if (resolved.whole && resolved.adapter) {
    const { artifactId, name } = resolved.adapter;
    await getArtifact(ctx, owner, artifactId);
    whole = { name, artifact_id: artifactId, input: "whole" };
    // Each of its checkpoints is a model of the same size and gets its own endpoint on request.
    wanted.length = 0;
  }
  for (const { name, artifactId } of wanted) {
    if (adapters.some((one) => one.name === name)) continue;
    const artifact = await getArtifact(ctx, owner, artifactId).catch((cause) => {
      // The model itself must exist; a checkpoint may have been deleted.
      if (name === resolved.adapter?.name) throw cause;
      return null;
    });
    if (!artifact || (name !== resolved.adapter?.name && (await artifactProblem(ctx, artifact)))) continue;
    adapters.push({ name, artifact_id: artifactId, input: `adapter-${adapters.length}` });
  }
  const [run] = resolved.jobId
    ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, resolved.jobId)).limit(1)
    : [];
  const trained = run?.spec as TrainSpec | undefined;
  const image = inferenceImage(ctx);
  const gpus = image?.engine === "vllm" ? gpusForServing(base.parameters, await gpuGroups(ctx, null)) : null;
  const bf16 = gpus?.bf16 ?? bf16Supported(ctx);
  const precision = gpus && !bf16 ? "float32" : (trained?.hyperparameters.precision ?? (bf16 ? "bfloat16" : "float32"));
  const bytes = base.parameters * (precision === "float32" ? 4 : 2);
  return {
    version: 1,
    kind: "serve",
    base_model: base,
    adapters,
    ...(whole ? { whole } : {}),
    max_new_tokens: Math.min(MAX_NEW_TOKENS, base.context_length || MAX_NEW_TOKENS),
    max_waiting: ctx.config.endpoint_queue,
    ...(idleAfterS === null ? {} : { idle_after_s: idleAfterS }),
    precision,
    ...(gpus ? { gpu_memory_fraction: gpus.gpu_memory_fraction } : {}),
    trainer: await trainerIdentity(ctx, "inference"),
    need: {
      gpus: gpus?.gpus ?? 0,
      gpu_memory_mb: gpus?.gpu_memory_mb ?? 0,
      cpus: 1,
      memory_mb: gpus?.memory_mb ?? Math.ceil((bytes * 1.3) / 1024 ** 2) + 700 + CACHE_MB,
      disk_mb: 100,
      max_price_per_hour: null,
      provider: null,
    },
    // Served until stopped: neither progress nor an end is expected, and the deployment counts the restarts.
    // On GPUs, kernels are compiled before the first answer.
    limits: { queued_s: 86_400, no_progress_s: gpus ? 1800 : 120, total_s: 10 * 365 * 86_400, max_attempts: 1 },
  };
}
