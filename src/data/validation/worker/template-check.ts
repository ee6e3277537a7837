/**
 * Renders a model's chat templates once, so that one that never ends or writes without end is found before it is used.
 * Runs in a worker.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";

export interface TemplateTask {
  /** Directory of the base model. */
  modelDir: string;
}

const MAX_TEMPLATES = 20;
/** Characters a template may have, and may write for a short conversation. Published ones stay below 20,000. */
const MAX_SOURCE = 1_000_000;
const MAX_OUTPUT = 1_000_000;

const turn = (role: string, content: string) => ({ role, content });
const CONVERSATIONS = [
  [turn("user", "Hello")],
  [turn("system", "Be brief."), turn("user", "Hello"), turn("assistant", "Hi"), turn("user", "Bye")],
];

function readJson(path: string): Record<string, unknown> {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>) : {};
}

/** Every template of the model: in its own file, or in the tokenizer's configuration, one or several by name. */
function templatesOf(dir: string): string[] {
  const jinja = join(dir, "chat_template.jinja");
  const found: unknown[] = existsSync(jinja) ? [readFileSync(jinja, "utf8")] : [];
  for (const name of ["tokenizer_config.json", "chat_template.json"]) {
    const { chat_template: given } = readJson(join(dir, name));
    if (Array.isArray(given)) found.push(...given.map((entry: { template?: unknown } | null) => entry?.template));
    else found.push(given);
  }
  return found.filter((source) => typeof source === "string");
}

/**
 * Renders each template for two short conversations; reports after every one.
 * @returns what is wrong with a template, as a whole sentence; null when they stay within the limits. One that refuses
 *   a conversation
 * or uses what only Python's Jinja knows is not wrong: the trainer is the judge of that.
 */
export function checkTemplates(task: TemplateTask, onProgress: (done: number) => void): string | null {
  const templates = templatesOf(task.modelDir);
  if (templates.length > MAX_TEMPLATES)
    return `It has ${templates.length} chat templates; at most ${MAX_TEMPLATES} are taken.`;
  let done = 0;
  for (const source of templates) {
    if (source.length > MAX_SOURCE) return `Its chat template is longer than ${MAX_SOURCE} characters.`;
    for (const messages of CONVERSATIONS) {
      const length = lengthOf(source, messages);
      if (length > MAX_OUTPUT)
        return `Its chat template writes ${length} characters for a short conversation; at most ${MAX_OUTPUT} are taken.`;
      onProgress(++done);
    }
  }
  return null;
}

function lengthOf(source: string, messages: (typeof CONVERSATIONS)[number]): number {
  const values = { bos_token: "<s>", eos_token: "</s>", tools: null, documents: null, add_generation_prompt: true };
  try {
    return new Template(source).render({ ...values, messages }).length;
  } catch {
    return 0;
  }
}
