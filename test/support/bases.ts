/** Base models for tests of data: SmolLM2's tokenizer with its own or another chat template, without weights. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestApp } from "./app.ts";
import { readyBase } from "./models.ts";
import { TINY_MODEL } from "./tiny.ts";

const CASES = join(import.meta.dir, "../cases");
/** The tiny model has the files of SmolLM2's tokenizer. */
const FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/** Whether the tokenizer is on this machine; the test command puts it there. */
export const hasTokenizer = FILES.every((name) => existsSync(join(TINY_MODEL, name)));

/** A template below test/cases/templates, such as `strict`. */
export const templateCase = (name: string): string => readFileSync(join(CASES, `templates/${name}.jinja`), "utf8");

/** Rows below test/cases/base-and-data, such as `all-good`. */
export const rowsCase = (name: string): string => readFileSync(join(CASES, `base-and-data/${name}.jsonl`), "utf8");

/**
 * Installs a base model with SmolLM2's tokenizer.
 * @param template replaces SmolLM2's chat template
 * @param rename gives the special tokens of ChatML other names: `<|im_end|>` becomes `<|xx_end|>`
 */
export async function installBase(lab: TestApp, id: string, template?: string, rename = false): Promise<void> {
  const dir = lab.ctx.files.path("models", id);
  mkdirSync(dir, { recursive: true });
  for (const name of FILES) copyFileSync(join(TINY_MODEL, name), join(dir, name));
  if (rename)
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      writeFileSync(join(dir, name), readFileSync(join(dir, name), "utf8").replaceAll("<|im_", "<|xx_"));
  if (template !== undefined) writeFileSync(join(dir, "chat_template.jinja"), template);
  await readyBase(lab.ctx, id, "apache-2.0", 2048);
}
