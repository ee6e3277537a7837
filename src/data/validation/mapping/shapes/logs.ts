/** Logs of APIs: requests and answers of OpenAI's chat completions and responses, and traces of Langfuse. */
import { isObject, type JsonObject } from "../../rows/chat.ts";
import { plainText } from "../parts.ts";
import { fromJsonText, isTurns, openaiTurns } from "../turns.ts";

const bodyOf = (value: unknown): JsonObject | null => {
  const given = fromJsonText(value);
  if (!isObject(given)) return null;
  return isObject(given.body) ? given.body : given;
};

const isRequest = (body: JsonObject | null): body is JsonObject =>
  body !== null && (Array.isArray(body.messages) || Array.isArray(body.input) || typeof body.input === "string");
const isAnswer = (body: JsonObject | null): body is JsonObject =>
  body !== null && (Array.isArray(body.choices) || Array.isArray(body.output));

/** The request and the answer of a logged call, wherever the log puts them; null when the row is none. */
function callOf(row: JsonObject): { request: JsonObject; answer: JsonObject } | null {
  const request = bodyOf(row.request) ?? bodyOf(row.body) ?? (isRequest(row) ? row : null);
  const answer = bodyOf(row.response) ?? (isAnswer(row) ? row : null);
  return isRequest(request) && isAnswer(answer) ? { request, answer } : null;
}

export const isApiLog = (row: JsonObject): boolean => callOf(row) !== null;

/** Joins reasoning and calls, which the Responses API lists one by one, with the message that they belong to. */
function joined(turns: JsonObject[]): JsonObject[] {
  const out: JsonObject[] = [];
  for (const turn of turns) {
    const last = out.at(-1);
    const isOpen =
      last?.role === "assistant" && turn.role === "assistant" && (last.content === "" || turn.content === null);
    if (!last || !isOpen) {
      out.push(turn);
      continue;
    }
    const calls = [last.tool_calls, turn.tool_calls].flatMap((list) => (Array.isArray(list) ? list : []));
    const content = last.content === "" || last.content === null ? turn.content : last.content;
    out[out.length - 1] = { ...last, ...turn, content, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
  }
  return out;
}

const turnsIn = (items: unknown[]): JsonObject[] => items.filter(isObject).flatMap(openaiTurns);

/** Tools of the Responses API have no `function` inside; others than functions cannot be trained and are left out. */
const toolsOf = (tools: unknown) =>
  Array.isArray(tools) ? tools.filter((tool) => isObject(tool) && (tool.type ?? "function") === "function") : undefined;

export function readApiLog(row: JsonObject): JsonObject {
  const call = callOf(row);
  if (!call) return row;
  const { request, answer } = call;
  const messages: unknown[] = [];
  if (typeof request.instructions === "string") messages.push({ role: "system", content: request.instructions });
  if (typeof request.input === "string") messages.push({ role: "user", content: request.input });
  else if (Array.isArray(request.messages)) messages.push(...request.messages);
  else messages.push(...turnsIn(request.input as unknown[]));
  if (Array.isArray(answer.choices)) {
    const [first]: unknown[] = answer.choices;
    if (isObject(first)) messages.push(first.message);
  } else messages.push(...joined(turnsIn(answer.output as unknown[])));
  const tools = toolsOf(request.tools);
  return tools?.length ? { messages, tools } : { messages };
}

/** Choices beside the first one, and tools that are no functions. */
export function logRest(row: JsonObject): string | null {
  const call = callOf(row);
  if (Array.isArray(call?.answer.choices) && call.answer.choices.length > 1)
    return "of several choices, the first one was read";
  const tools = call?.request.tools;
  const isOther = Array.isArray(tools) && (toolsOf(tools)?.length ?? 0) < tools.length;
  return isOther ? "tools that are not functions were left out" : null;
}

/** The turns of an input or output of a trace; null when it is neither text nor turns. */
function sideOf(given: unknown, role: string): unknown[] | null {
  const value = fromJsonText(given);
  if (isTurns(value)) return value as unknown[];
  if (isObject(value)) {
    for (const name of ["messages", "input", "content", "output", "text", "question", "answer"]) {
      const inner = value[name];
      if (isTurns(inner)) return fromJsonText(inner) as unknown[];
      if (typeof inner === "string" && name !== "content") return [{ role, content: inner }];
    }
    if (isTurns([value])) return [value];
    const [choice] = Array.isArray(value.choices) ? (value.choices as unknown[]) : [];
    if (isObject(choice) && isObject(choice.message)) return [choice.message];
    if (typeof value.content === "string") return [{ role, content: value.content }];
  }
  const text = plainText(value);
  return text === undefined ? null : [{ role, content: text }];
}

/** A run of LangSmith: `inputs` and `outputs` are objects. */
export const isRun = (row: JsonObject): boolean =>
  isObject(row.inputs) &&
  isObject(row.outputs) &&
  sideOf(row.inputs, "user") !== null &&
  sideOf(row.outputs, "assistant") !== null;

export const readRun = ({ inputs, outputs }: JsonObject): JsonObject => ({
  messages: [...(sideOf(inputs, "user") ?? []), ...(sideOf(outputs, "assistant") ?? [])],
});

/** A trace or observation of Langfuse: `input` and `output` with fields that only traces have. */
export const isTrace = (row: JsonObject): boolean =>
  "input" in row &&
  "output" in row &&
  ["traceId", "trace_id", "observations", "sessionId", "startTime", "latency", "bookmarked"].some(
    (name) => name in row,
  );

export function readTrace(row: JsonObject): JsonObject {
  const [input, output] = [sideOf(row.input, "user"), sideOf(row.output, "assistant")];
  const scores = Array.isArray(row.scores) ? row.scores.filter(isObject) : [];
  const named = Object.fromEntries(
    scores.filter(({ name }) => typeof name === "string").map(({ name, value }) => [`score_${String(name)}`, value]),
  );
  if (!input || !output) return { input: row.input, output: row.output, ...named };
  return { messages: [...input, ...output], ...named };
}
