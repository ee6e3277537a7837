/**
 * Estimated and measured memory: `bun run bench memory [--only "smollm2 dpo"]` trains a grid of runs on CPUs and prints
 * the error of the plan's memory formula.
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { modelPath, needs, trainerEnvironmentPath } from "../scripts/setup.ts";
import { memoryParts, modelShape, PARTS, totalMb } from "../src/training/plan/memory.ts";
import { grid, specOf } from "./memory-grid.ts";

const only = process.argv[process.argv.indexOf("--only") + 1];
const runs = grid(process.argv.includes("--only") ? only : undefined);
const trainer = join(import.meta.dir, "../trainer");
needs("trainer environment", "tiny model", "SmolLM2 model");

/** The shape of a model, from its configuration and weights. */
function shapeOf(directory: string) {
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  const file = join(directory, "model.safetensors");
  const parameters = Math.round(statSync(file).size / (config.dtype === "float32" ? 4 : 2));
  return modelShape(parameters, {
    layers: config.num_hidden_layers,
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    attention_heads: config.num_attention_heads,
    key_value_heads: config.num_key_value_heads,
    head_dim: config.head_dim,
    vocab_size: config.vocab_size,
    tied_embeddings: config.tie_word_embeddings,
  });
}

const child = Bun.spawn([join(trainerEnvironmentPath(), "bin/python"), join(trainer, "tests/memory.py")], {
  stdin: "pipe",
  stdout: "pipe",
  stderr: "inherit",
  cwd: trainer,
});
for (const [id, one] of runs.entries()) {
  const model = modelPath(one.model);
  const asked = { id, model, spec: specOf(one, shapeOf(model)), row_tokens: one.run.length, answer_tokens: one.answer };
  child.stdin.write(`${JSON.stringify(asked)}\n`);
}
await child.stdin.end();

interface Answer {
  id: number;
  peak_mb: number | null;
  canary_mb: number | null;
  length: number | null;
  message: string | null;
}
const errors: { name: string; off: number }[] = [];
let rest = "";
for await (const bytes of child.stdout) {
  rest += new TextDecoder().decode(bytes);
  const lines = rest.split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    const { id, peak_mb: peak, canary_mb: canary, length, message } = JSON.parse(line) as Answer;
    const one = runs[id];
    if (!one) continue;
    const name = `${one.model} ${one.name}`;
    if (message || !peak) {
      process.stdout.write(`${name.padEnd(42)} failed: ${message}\n`);
      continue;
    }
    const shape = shapeOf(modelPath(one.model));
    const parts = memoryParts(shape, { ...one.run, length: length ?? one.run.length });
    const total = totalMb(parts);
    errors.push({ name, off: total / peak - 1 });
    const list = PARTS.filter((part) => parts[part] >= 1).map((part) => `${part} ${Math.round(parts[part])}`);
    process.stdout.write(
      `${name.padEnd(42)} ${String(Math.round(total)).padStart(6)} / ${String(peak).padStart(6)} ${(100 * (total / peak - 1)).toFixed(1).padStart(6)}%  canary ${canary}  ${list.join(", ")}\n`,
    );
  }
}
await child.exited;
const sizes = errors.map(({ off }) => Math.abs(off)).sort((a, b) => a - b);
const at = (share: number) =>
  `${(100 * (sizes[Math.min(sizes.length - 1, Math.floor(share * sizes.length))] ?? 0)).toFixed(1)}%`;
process.stdout.write(`${sizes.length} runs; off by: median ${at(0.5)}, p90 ${at(0.9)}, worst ${at(1)}\n`);
const under = errors.filter(({ off }) => off < 0).map(({ name, off }) => `${name} ${(off * 100).toFixed(1)}%`);
process.stdout.write(under.length ? `estimated too low: ${under.join("; ")}\n` : "none was estimated too low\n");
