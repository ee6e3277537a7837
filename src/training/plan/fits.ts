/** Which base models can be fine-tuned on the machines here: a small run of each, by the memory formula of plans. */
import { availableParallelism } from "node:os";
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { gpuGroups } from "../../compute/hosts/gpu-groups.ts";
import { bf16Supported, memoryLimit } from "../../compute/providers/registry.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { host } from "../../db/schema/hosts.ts";
import { AppError } from "../../errors.ts";
import { installationOf } from "../../models/base/for-runs.ts";
import { BaseModelView } from "../../models/base/model.ts";
import { type Facts, resolveAuto } from "./defaults.ts";
import { modelShape } from "./memory.ts";
import type { TrainRequest } from "./request.ts";

/** Tokens of the rows that the run is planned for. */
const LENGTH = 1024;
const ROWS = 100;
/** Hosts that are looked at. */
const MAX_HOSTS = 1000;

/**
 * Whether a LoRA run with short rows fits the largest machine or GPU here, and the quantization it needs for that.
 * Memory in MiB: of one GPU, or the main memory of a machine without GPUs. Of a model that does not fit, `needed_mb` is
 * that of the smallest run.
 */
export const Fit = v.strictObject({
  fits: v.boolean(),
  device: v.picklist(["cpu", "gpu"]),
  gpus: v.number(),
  quantization: v.picklist(["none", "nf4"]),
  needed_mb: v.number(),
  available_mb: v.number(),
});
export type Fit = v.InferOutput<typeof Fit>;

/** A base model, what its install takes, and whether it can be fine-tuned here; null while its size is unknown. */
export const FittedModel = v.strictObject({
  ...BaseModelView.entries,
  /** What an install downloads, about; null when it is installed or downloads nothing. */
  download_bytes: v.nullable(v.number()),
  /** Why it cannot be installed; null when it can, or is installed. */
  install_refused: v.nullable(v.string()),
  fit: v.nullable(Fit),
});
export type FittedModel = v.InferOutput<typeof FittedModel>;

/** Every base model at once, without paging. */
export const FittedModelList = v.strictObject({
  object: v.literal("list"),
  data: v.array(FittedModel),
  has_more: v.literal(false),
});

/** What the machines here have. */
export type Machines = Required<Pick<Facts, "machine" | "gpus">>;

/** The GPUs of all ready hosts, and the main memory of the largest. */
async function machinesHere(ctx: Ctx): Promise<Machines> {
  const gpus = await gpuGroups(ctx, null);
  const hosts = await ctx.db
    .select({ provider: host.provider, local: host.local, memoryMb: host.memoryMb })
    .from(host)
    .where(eq(host.state, "ready"))
    .limit(MAX_HOSTS);
  const here = Math.floor(memoryLimit() / 2 ** 20);
  const memory = hosts.flatMap(({ provider, local, memoryMb }) => {
    const plugin = ctx.compute.get(provider)?.plugin;
    if (!plugin) return [];
    return [(local ?? plugin.capabilities.local) ? Math.min(memoryMb, here) : memoryMb];
  });
  const machine = { cpus: availableParallelism(), memoryMb: Math.max(0, ...memory) || here, bf16: bf16Supported(ctx) };
  return { machine, gpus };
}

/** Whether a model can be fine-tuned on `machines`. Pure. */
export function fitOn(
  { machine, gpus }: Machines,
  model: Pick<BaseModelView, "parameters" | "context_length" | "architecture">,
): Fit | null {
  const { parameters, context_length, architecture } = model;
  if (!parameters) return null;
  const context = context_length ?? LENGTH;
  const facts: Facts = {
    trainRows: ROWS,
    holdoutRows: 0,
    tokens: null,
    base: { ...modelShape(parameters, architecture), context_length: context },
    machine,
    ...(gpus.length ? { gpus } : {}),
  };
  const available_mb = gpus.length ? Math.max(...gpus.map((kind) => kind.memoryMb)) : machine.memoryMb;
  const fitWith = (quantization: Fit["quantization"], anyMemory: boolean): Fit => {
    const request: TrainRequest = {
      model: "",
      training_file: "",
      method: "sft",
      max_length: Math.min(LENGTH, context),
      per_device_batch_size: 1,
      gradient_checkpointing: true,
      quantization,
    };
    const { memory, need } = resolveAuto(request, facts, { anyMemory });
    const host = need.gpus === 0 || need.memory_mb <= machine.memoryMb;
    return {
      fits: host && memory.total <= available_mb,
      device: memory.device,
      gpus: need.gpus,
      quantization,
      needed_mb: memory.total,
      available_mb,
    };
  };
  for (const quantization of ["none", "nf4"] as const)
    try {
      const fit = fitWith(quantization, false);
      if (fit.fits) return fit;
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "does_not_fit") throw error;
    }
  return fitWith("nf4", true);
}

/** A function that adds to a base model what its install takes and whether it can be fine-tuned here. */
export async function fitter(ctx: Ctx, actor: Actor): Promise<(model: BaseModelView) => FittedModel> {
  const machines = await machinesHere(ctx);
  return (model) => ({ ...model, ...installationOf(ctx, actor, model), fit: fitOn(machines, model) });
}
