/** The memory of a plan: a bar of its parts against the available memory, and the same as a list. */

import { formatBytes, formatNumber, plural } from "../../../src/lib/text/format.ts";
import type { Part } from "../../../src/training/plan/memory.ts";
import type { TrainPlan } from "../../../src/training/plan/plan.ts";
import { Icon } from "../../parts/icons.tsx";

const LABELS: Record<Part | "margin", string> = {
  runtime: "Runtime",
  weights: "Weights",
  adapter: "Adapter",
  gradients: "Gradients",
  optimizer: "Optimizer",
  activations: "Activations",
  logits: "Logits",
  reference: "Reference model",
  generation: "KV cache",
  margin: "Margin",
};
const PARTS = Object.keys(LABELS).filter((name): name is Part => name !== "margin");
/** Parts below this share are combined. */
const SMALL = 0.01;

const mb = (value: number) => formatBytes(value * 1024 ** 2);

interface Piece {
  words: string;
  mb: number;
  /** Class of the color. */
  color: string;
}

function pieces({ memory }: TrainPlan): Piece[] {
  const together = memory.device === "gpu" ? 1 : memory.processes;
  const all = [
    ...PARTS.map((part) => [part, memory.parts[part] * together] as const),
    ["margin", memory.margin] as const,
  ];
  const shown = all.filter(([, value]) => value >= SMALL * memory.total);
  const rest = all.filter(([, value]) => value > 0 && value < SMALL * memory.total);
  const found: Piece[] = shown.map(([part, value]) => ({ words: LABELS[part], mb: value, color: part }));
  if (rest.length)
    found.push({
      words: rest.map(([part], i) => (i ? LABELS[part].toLowerCase() : LABELS[part])).join(", "),
      mb: rest.reduce((sum, [, value]) => sum + value, 0),
      color: "rest",
    });
  return found;
}

/** How the estimate was corrected by earlier runs, as a sentence. */
function learned({ memory, memoryRuns, outOfMemoryRuns }: TrainPlan): string {
  if (memoryRuns === 0) return "Estimate, becomes exact after the first run here.";
  const short = outOfMemoryRuns ? `, ${outOfMemoryRuns} of which ran out of memory` : "";
  return `Estimate corrected by a factor of ${formatNumber(memory.factor, 2)}, from ${plural(memoryRuns, "finished run")} here${short}.`;
}

/** @param roomMb memory of the best machine; null while unknown */
export function PlanMemory({ plan, roomMb }: { plan: TrainPlan; roomMb: number | null }) {
  const { memory } = plan;
  const parts = pieces(plan);
  const width = Math.max(memory.total, roomMb ?? 0);
  const over = roomMb !== null && memory.total > roomMb;
  const where = memory.device === "gpu" ? "on each GPU" : "of the machine";
  const at = (value: number) => Math.round((1000 * value) / width);
  const said = parts.map((part) => `${part.words} ${mb(part.mb)}`).join(", ");
  return (
    <section class="stack tight" aria-labelledby="plan-memory">
      <h3 id="plan-memory" class="plan-part">
        Memory
        <span class="num">
          {mb(memory.total)}
          {roomMb === null ? null : <span class="muted"> of {mb(roomMb)}</span>}
        </span>
      </h3>
      <svg
        class="memory-bar"
        viewBox="0 0 1000 14"
        preserveAspectRatio="none"
        role="img"
        aria-label={`${mb(memory.total)} ${where}: ${said}`}
      >
        {parts.map((part, i) => (
          <rect
            class={`memory-${part.color}`}
            x={at(parts.slice(0, i).reduce((sum, one) => sum + one.mb, 0))}
            width={Math.max(0, at(part.mb) - 2)}
            height="14"
          />
        ))}
        {over ? <rect class="memory-limit" x={at(roomMb ?? 0) - 3} width="6" height="14" /> : null}
      </svg>
      {over ? (
        <p class="row fixed top-aligned bad-text small">
          <Icon name="warn" />
          <span>
            Exceeds the available memory {where} by {mb(memory.total - (roomMb ?? 0))}.
          </span>
        </p>
      ) : null}
      <details class="more">
        <summary>
          <Icon name="right" />
          Parts
        </summary>
        <dl class="memory-parts">
          {parts.map((part) => (
            <div>
              <dt>
                <span class={`memory-mark memory-${part.color}`} aria-hidden="true" />
                {part.words}
              </dt>
              <dd class="num">{mb(part.mb)}</dd>
            </div>
          ))}
        </dl>
      </details>
      <p class="xs muted">
        {learned(plan)} Before the first step, a memory test runs the longest{" "}
        {plan.spec.method.type === "grpo" ? "prompts and completions" : "batches"} on the real machine.
      </p>
    </section>
  );
}
