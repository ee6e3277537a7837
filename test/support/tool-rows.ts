/** A tiny base model whose chat template has tools, and rows that teach it one call in seconds. */
import { join } from "node:path";
import { TRAINER_ENV } from "./live.ts";

const TRAINER = join(import.meta.dir, "../../trainer");
export const COLORS = ["red", "green", "blue"] as const;
export const TOOLS = [
  {
    type: "function" as const,
    function: { name: "pick", parameters: { type: "object", properties: { color: { type: "string" } } } },
  },
];

/** Makes the model that the trainer's own tests make: 400 tokens, so that a LoRA adapter can teach it anything. */
export function makeToolModel(to: string): void {
  const script = `
import sys
from pathlib import Path
from conftest import make_tiny_model
from tool_rows import TEMPLATE, TEXTS
make_tiny_model(Path(sys.argv[1]), TEXTS, TEMPLATE)`;
  const run = Bun.spawnSync([join(TRAINER_ENV, "bin/python"), "-c", script, to], {
    env: { ...process.env, PYTHONPATH: `${join(TRAINER, "tests")}:${TRAINER}`, PYTHONDONTWRITEBYTECODE: "1" },
  });
  if (run.exitCode !== 0) throw new Error(run.stderr.toString());
}

/** What asks for the nth color. */
export const question = (n: number) => `number ${n}`;

/** `n` rows as JSONL, all of them calls; the ids of calls differ, and so do the questions of most. */
export function toolLines(n: number): string {
  const rows = Array.from({ length: n }, (_, i) => {
    const call = { name: "pick", arguments: JSON.stringify({ color: COLORS[i % 3] }) };
    return {
      messages: [
        { role: "user", content: "please ".repeat(i % 4) + question(i % 3) },
        { role: "assistant", tool_calls: [{ id: `call_${i}`, type: "function", function: call }] },
      ],
      tools: TOOLS,
    };
  });
  return `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`;
}
