/** The number of GPUs of an endpoint, their memory, and the fraction of it to use. Pure. */
import type { GpuGroup } from "../../compute/hosts/gpu-groups.ts";
import { AppError } from "../../errors.ts";

/** Fraction of GPU memory that vLLM may use; the rest is for the driver and for fragmentation. */
const FRACTION = 0.9;
/** MiB on every GPU besides weights: CUDA context and compiled graphs, adapters, and the KV cache of a few requests. */
const OVERHEAD_MB = 2500 + 500 + 1024;
/** MiB of main memory: the engine's processes, and buffers for loading the weights. */
const HOST_MB = 6000;
/** Numbers of GPUs to try: tensor parallelism splits attention heads evenly, and these divide the usual numbers. */
const COUNTS = [1, 2, 4, 8];

interface ServingGpus {
  gpus: number;
  gpu_memory_mb: number;
  gpu_memory_fraction: number;
  memory_mb: number;
  /** Every eligible GPU supports bfloat16. */
  bf16: boolean;
}

/**
 * The smallest number of GPUs of this machine that the model fits on.
 * @param parameters of the base model
 * @throws AppError `no_gpu`, `gpu_too_small`; the message says what is available and what to do
 */
export function gpusForServing(parameters: number, groups: GpuGroup[]): ServingGpus {
  const own = groups.filter((group) => group.local);
  if (own.length === 0)
    throw new AppError(
      "conflict",
      "no_gpu",
      "The inference image needs a GPU, and no GPU of this machine is ready. Check the Hosts page, or build the image for CPUs: finetune-lab images build --role inference.",
    );
  const weightsMb = Math.ceil((parameters * 2) / 2 ** 20);
  for (const gpus of COUNTS) {
    const eachMb = Math.ceil(weightsMb / gpus + OVERHEAD_MB);
    const whole = own.filter((group) => group.count >= gpus);
    // On a GPU that several jobs share, only one share is used; all eligible GPUs must allow for that.
    for (const shares of [...new Set(whole.map((group) => group.shares))].sort((a, b) => a - b)) {
      const needMb = Math.ceil(eachMb / FRACTION) * shares;
      const fit = whole.filter((group) => group.memoryMb >= needMb);
      if (fit.length === 0 || fit.some((group) => group.shares > shares)) continue;
      return {
        gpus,
        gpu_memory_mb: needMb,
        gpu_memory_fraction: Number((FRACTION / shares).toFixed(3)),
        memory_mb: HOST_MB + weightsMb,
        bf16: fit.every((group) => group.bf16),
      };
    }
  }
  const largest = Math.max(...own.map((group) => group.memoryMb));
  throw new AppError(
    "conflict",
    "gpu_too_small",
    `The model's weights take ${weightsMb} MiB, and the largest GPU of this machine has ${largest} MiB (a shared GPU counts as one share). Serve a smaller base model, or add GPUs.`,
  );
}
