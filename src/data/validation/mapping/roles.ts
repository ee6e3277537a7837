/** The one table of who speaks in a turn: every name of a role that is read, in any case. */

import { words } from "./words.ts";

/** The speaker of a turn; `call` is a turn that consists of tool calls, as in ShareGPT. */
type Speaker = "system" | "user" | "assistant" | "tool" | "call";

const NAMES: Record<Speaker, string[]> = {
  system: ["system", "developer", "system_prompt", "preamble"],
  user: ["user", "human", "prompter", "customer", "client", "instruction", "question"],
  assistant: words(`
      assistant gpt model bot chatbot chatgpt bing bard ai agent llm claude gemini answer response
    `),
  tool: ["tool", "function", "observation", "function_response", "tool_response", "tool_result", "ipython"],
  call: ["function_call", "tool_call", "function-call", "tool-call"],
};

const SPEAKERS = new Map<string, Speaker>(
  Object.entries(NAMES).flatMap(([speaker, names]) => names.map((name) => [name, speaker as Speaker])),
);

/** Roles of OpenAI's format, as they are written there. */
const OPENAI = new Set(["system", "developer", "user", "assistant", "tool", "function"]);

/** Who speaks under this name, in any case; undefined for an unknown name. */
export const speakerOf = (name: unknown): Speaker | undefined =>
  typeof name === "string" ? SPEAKERS.get(name.trim().toLowerCase()) : undefined;

/** True for a role exactly as OpenAI writes it. */
export const isOpenaiRole = (name: unknown): boolean => typeof name === "string" && OPENAI.has(name);
