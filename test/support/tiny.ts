/** A tiny random base model and small training data, for tests that need real training to take seconds. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { modelPath } from "../../scripts/setup.ts";
import type { Live } from "./live.ts";
import { until } from "./live.ts";

/** Where the test command puts the tiny model. */
export const TINY_MODEL = modelPath("tiny");
/** The prepared SmolLM2-135M-Instruct. */
export const SMOLLM2_MODEL = modelPath("smollm2");

/** Imports a model directory into a running server under `id` and waits until it is ready. */
export async function importModel(live: Live, path: string, id: string): Promise<void> {
  if (!existsSync(join(path, "config.json"))) throw new Error(`no model at ${path}; the test command creates it`);
  await live.call("POST", "/v1/base_models/import", { source: "local", directory: path, id, license: "apache-2.0" });
  await until(`base model ${id}`, async () => {
    const model = await live.call<{ status: string; error?: string }>("GET", `/v1/base_models/${id}`);
    if (model.status === "failed") throw new Error(`import of ${id} failed: ${model.error}`);
    return model.status === "ready";
  });
}

export const importTinyModel = (live: Live) => importModel(live, TINY_MODEL, "tiny");

const INTENTS = ["card_stolen", "balance", "transfer_failed", "loan_question"];

/** `n` chat rows as JSONL: a bank message answered by a small JSON object. */
export function trainingLines(n: number): string {
  const rows = Array.from({ length: n }, (_, i) => ({
    messages: [
      { role: "system", content: "Answer with JSON." },
      {
        role: "user",
        content: `Message ${i}: please help me with ${INTENTS[i % 4]?.replace("_", " ")} number ${i * 7}`,
      },
      { role: "assistant", content: JSON.stringify({ intent: INTENTS[i % 4] }) },
    ],
  }));
  return `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`;
}
