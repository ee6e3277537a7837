/** Whether a base model can be fine-tuned here, in words. */
import { formatBytes } from "../../src/lib/text/format.ts";
import type { Fit } from "../../src/training/plan/fits.ts";
import { StateBadge } from "./state.tsx";

const size = (mb: number) => formatBytes(mb * 2 ** 20);

/** `short` for a row, `detail` for a sentence. */
export function fitWords(fit: Fit): { short: string; detail: string } {
  const { fits, device, gpus, quantization, needed_mb, available_mb } = fit;
  const where = device === "gpu" ? (gpus > 1 ? `on each of ${gpus} GPUs` : "on one GPU") : "of memory";
  const bits = quantization === "nf4" ? " in 4 bits" : "";
  const has = device === "gpu" ? "the largest GPU has" : "the largest machine has";
  const short = `${size(needed_mb)} ${where}${fits ? bits : ""}`;
  if (!fits && needed_mb <= available_mb)
    return {
      short: "main memory too small",
      detail: `A LoRA run in 4 bits fits the GPU, but no machine has the main memory to load the weights.`,
    };
  if (!fits)
    return {
      short: `${size(needed_mb)} ${where}`,
      detail: `Even in 4 bits a LoRA run needs ${size(needed_mb)} ${where}; ${has} ${size(available_mb)}.`,
    };
  return {
    short,
    detail: `A LoRA run${bits} with rows of up to 1,024 tokens needs ${size(needed_mb)} ${where}; ${has} ${size(available_mb)}. The plan of a job has the exact number.`,
  };
}

/** A badge, and the memory that a run needs. */
export function FitBadge({ fit }: { fit: Fit }) {
  const { short, detail } = fitWords(fit);
  return (
    <>
      <StateBadge state={fit.fits ? "fits" : "too_large"} />
      <span class="sub" title={detail}>
        {short}
      </span>
    </>
  );
}
