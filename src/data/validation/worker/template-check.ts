/**
 * Renders a model's chat templates once, to detect a template with an endless loop or unlimited output before it is
 * used. Runs in a worker.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";

export interface TemplateTask {
  /** Directory of the base model. */
  modelDir: string;
}

const MAX_TEMPLATES = 20;
/** Most characters of a template, and of its output for a short conversation. Published templates have under 20,000. */
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

/**
 * All templates of the model: from the template file, and from the tokenizer configuration (one, or several by name).
 */
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
 * Renders each template with two short conversations, and reports progress after each.
 * @returns the first problem as a sentence; null when all templates stay within the limits. A template that rejects a
 *   conversation, or uses features that only Python's Jinja has, is no problem here: the trainer checks that.
 */
export function checkTemplates(task: TemplateTask, onProgress: (done: number) => void): string | null {
  const templates = templatesOf(task.modelDir);
  if (templates.length > MAX_TEMPLATES)
    return `It has ${templates.length} chat templates; at most ${MAX_TEMPLATES} are accepted.`;
  let done = 0;
  for (const source of templates) {
    if (source.length > MAX_SOURCE) return `Its chat template is longer than ${MAX_SOURCE} characters.`;
    for (const messages of CONVERSATIONS) {
      const length = lengthOf(source, messages);
      if (length > MAX_OUTPUT)
        return `Its chat template writes ${length} characters for a short conversation; at most ${MAX_OUTPUT} are accepted.`;
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
