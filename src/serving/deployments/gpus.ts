/** How many GPUs an endpoint gets, of how much memory, and which part of it: pure. */
import type { GpuGroup } from "../../compute/hosts/gpu-groups.ts";
import { AppError } from "../../errors.ts";

/** Part of a card vLLM may fill; the rest is the driver's and for fragments. */
const FRACTION = 0.9;
/** MiB on every card besides weights: context and compiled graphs, adapters, and keys and values of a few requests. */
const BESIDE_MB = 2500 + 500 + 1024;
/** MiB of main memory: the engine's processes, and weights on their way to the card. */
const HOST_MB = 6000;
/** Attention heads are dealt out evenly: models have numbers of them that these divide. */
const COUNTS = [1, 2, 4, 8];

interface ServingGpus {
  gpus: number;
  gpu_memory_mb: number;
  gpu_memory_fraction: number;
  memory_mb: number;
  /** Every card it could be placed on multiplies bfloat16. */
  bf16: boolean;
}

/**
 * The fewest GPUs of this machine the model fits on.
 * @param parameters of the base model
 * @throws AppError `no_gpu`, `gpu_too_small`: what is there, and what to do
 */
export function gpusForServing(parameters: number, groups: GpuGroup[]): ServingGpus {
  const own = groups.filter((group) => group.local);
  if (own.length === 0)
    throw new AppError(
      "conflict",
      "no_gpu",
      "The inference image is the one for GPUs, and no GPU of this machine is ready. Look at the hosts page, or build the image for processors: finetune-lab images build --role inference.",
    );
  const weightsMb = Math.ceil((parameters * 2) / 2 ** 20);
  for (const gpus of COUNTS) {
    const eachMb = Math.ceil(weightsMb / gpus + BESIDE_MB);
    const whole = own.filter((group) => group.count >= gpus);
    // A card that several jobs may hold is filled to one share only, wherever among those large enough it is.
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
    `The model's weights take ${weightsMb} MiB, and the largest GPU of this machine has ${largest} MiB (of a shared one, a share is used). Serve a smaller base model, or add GPUs.`,
  );
}
