/** The memory of a plan: one bar of its parts against what the machine has, with the same in words below. */

import { formatBytes, formatNumber, plural } from "../../../src/lib/text/format.ts";
import type { Part } from "../../../src/training/plan/memory.ts";
import type { TrainPlan } from "../../../src/training/plan/plan.ts";
import { Icon } from "../../parts/icons.tsx";

const WORDS: Record<Part | "margin", string> = {
  runtime: "Libraries",
  weights: "Weights",
  adapter: "Adapter",
  gradients: "Gradients",
  optimizer: "Optimizer",
  activations: "Activations",
  logits: "Logits",
  reference: "Reference",
  generation: "Generation",
  margin: "Margin",
};
const PARTS = Object.keys(WORDS).filter((name): name is Part => name !== "margin");
/** Parts too small to be seen are told together. */
const SMALL = 0.01;

const mb = (value: number) => formatBytes(value * 1024 ** 2);

interface Piece {
  words: string;
  mb: number;
  /** Which color of the charts. */
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
  const found: Piece[] = shown.map(([part, value]) => ({ words: WORDS[part], mb: value, color: part }));
  if (rest.length)
    found.push({
      words: rest.map(([part], i) => (i ? WORDS[part].toLowerCase() : WORDS[part])).join(", "),
      mb: rest.reduce((sum, [, value]) => sum + value, 0),
      color: "rest",
    });
  return found;
}

/** What the runs of before did to the figure, in a sentence. */
function learned({ memory, memoryRuns, outOfMemoryRuns }: TrainPlan): string {
  if (memoryRuns === 0) return "By the formula; no finished run of this kind here yet corrects it.";
  const short = outOfMemoryRuns ? `, ${plural(outOfMemoryRuns, "run")} of them out of memory` : "";
  return `The formula times ${formatNumber(memory.factor, 2)}, from ${plural(memoryRuns, "finished run")} here${short}.`;
}

/** @param roomMb what the best machine has; null while none is known */
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
            {mb(memory.total - (roomMb ?? 0))} more than there is {where}.
          </span>
        </p>
      ) : null}
      <details class="more">
        <summary>
          <Icon name="right" />
          What it is for
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
        {learned(plan)} Before the first step the longest{" "}
        {plan.spec.method.type === "grpo" ? "prompts and answers" : "rows"} are tried on the real machine.
      </p>
    </section>
  );
}
