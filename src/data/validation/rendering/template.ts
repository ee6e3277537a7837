/** Loads a base model's chat template and renders conversations as the trainer does. Runs in a worker. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { fenced, unfenced } from "../../../lib/text/exact-json.ts";
import { parseJson, type Tool } from "../rows/tools.ts";
import type { Message } from "../rows/types.ts";

export type Json = Record<string, unknown>;

/** The reason that a chat template gave with `raise_exception`. */
export class TemplateRefusal extends Error {}

/**
 * The conversation as text; `prompt` opens the assistant's turn at the end.
 * @throws TemplateRefusal, or an error of the renderer
 */
export type Render = (messages: Message[], tools: Tool[] | undefined, prompt?: boolean) => string;

export function readJson(path: string): Json {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Json) : {};
}

/** The chat template of a base model. @throws Error when it has none */
export function templateSource(dir: string, config: Json): string {
  const path = join(dir, "chat_template.jinja");
  if (existsSync(path)) return readFileSync(path, "utf8");
  const { chat_template: template } = config;
  if (typeof template === "string") return template;
  // With several named templates, training uses the default one.
  const named = Array.isArray(template) ? (template as Json[]).find((entry) => entry.name === "default") : undefined;
  if (typeof named?.template === "string") return named.template;
  throw new Error("the base model has no chat template");
}

/** Messages as chat templates expect them: without weights, and with tool arguments as objects. */
function templateMessages(messages: Message[]): Json[] {
  return messages.map(({ weight: _, tool_calls: calls, ...turn }) => ({
    ...turn,
    ...(calls && {
      tool_calls: calls.map((call) => ({
        ...call,
        function: {
          ...call.function,
          arguments: fenced(parseJson(call.function.arguments) ?? call.function.arguments),
        },
      })),
    }),
  }));
}

const REFUSE = "refuse_row";

/**
 * Renames `raise_exception` in a parsed template, so that our own function is called. A refusal by the template then
 * differs from an error of the renderer, which Python's Jinja may not have.
 */
function renameRefusal(node: unknown): void {
  if (typeof node !== "object" || node === null) return;
  const own = node as Json;
  if (own.type === "Identifier" && own.value === "raise_exception") own.value = REFUSE;
  for (const value of Object.values(own)) {
    if (value instanceof Map) for (const pair of value) renameRefusal(pair);
    else renameRefusal(value);
  }
}

/**
 * Creates the renderer of a chat template.
 * @param source the text of the template, read on first use
 * @param special the special tokens that templates may name, such as `bos_token`
 */
export function createRender(source: () => string, special: Json): Render {
  // Created on first use: plain text needs no chat template, and some base models have none.
  let template: Template | null = null;
  const refuse = (reason: unknown) => {
    throw new TemplateRefusal(String(reason ?? "no reason given"));
  };
  return (messages, tools, prompt = false) => {
    if (!template) {
      template = new Template(source());
      renameRefusal(template.parsed);
    }
    const text = template.render({
      ...special,
      [REFUSE]: refuse,
      messages: templateMessages(messages),
      tools: tools ? fenced(tools) : null,
      documents: null,
      add_generation_prompt: prompt,
    });
    return unfenced(text);
  };
}
