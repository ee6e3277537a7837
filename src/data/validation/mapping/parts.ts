/**
 * Content that is not one text: parts of OpenAI (`input_text`, `output_text`), blocks of Anthropic (`tool_use`,
 * `tool_result`, `thinking`) and of Bedrock (`toolUse`, `toolResult`), parts of Gemini and of the ChatGPT export.
 */
import { writeExact } from "../../../lib/text/exact-json.ts";

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** What the parts of a content say. */
interface Contents {
  /** The parts that OpenAI's format knows, and unknown ones, which the check reports. */
  parts: unknown[];
  calls: JsonObject[];
  results: JsonObject[];
  reasoning: string[];
}

const TEXT_TYPES = new Set(["text", "input_text", "output_text", "summary_text"]);

/** The text of a value of any of the formats; undefined when it has something other than texts. */
export function plainText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) {
    const texts = value.map(plainText);
    return texts.includes(undefined) ? undefined : texts.join("\n");
  }
  if (!isObject(value)) return undefined;
  if (Array.isArray(value.parts)) return plainText(value.parts);
  if (value.type !== undefined && !TEXT_TYPES.has(String(value.type))) return undefined;
  return typeof value.text === "string" ? value.text : undefined;
}

/** A result of a tool as text: texts unchanged, everything else as its JSON. */
const resultText = (value: unknown): string => plainText(value) ?? writeExact(value);

/** A result of Bedrock is a list of texts and of objects as `json`. */
const bedrockResult = (content: unknown): string =>
  Array.isArray(content)
    ? content.map((each: unknown) => resultText(isObject(each) && "json" in each ? each.json : each)).join("\n")
    : resultText(content);

function readPart(part: unknown, into: Contents): void {
  if (typeof part === "string") into.parts.push({ type: "text", text: part });
  else if (!isObject(part)) into.parts.push(part);
  else if (part.type === "tool_use")
    into.calls.push({ id: part.id, type: "function", function: { name: part.name, arguments: part.input ?? {} } });
  else if (part.type === "tool_result")
    into.results.push({ role: "tool", tool_call_id: part.tool_use_id, content: resultText(part.content ?? "") });
  else if (part.type === "thinking" || part.type === "reasoning" || part.thought === true)
    into.reasoning.push(resultText(part.thinking ?? part.text ?? part.content ?? part.summary ?? ""));
  else if (part.type === "redacted_thinking") return;
  else if (isObject(part.toolUse)) {
    const { toolUseId: id, name, input } = part.toolUse;
    into.calls.push({ id, type: "function", function: { name, arguments: input ?? {} } });
  } else if (isObject(part.toolResult)) {
    const { toolUseId: id, content } = part.toolResult;
    into.results.push({ role: "tool", tool_call_id: id, content: bedrockResult(content ?? "") });
  } else if (isObject(part.reasoningContent))
    into.reasoning.push(resultText(part.reasoningContent.reasoningText ?? part.reasoningContent));
  else if (isObject(part.functionCall))
    into.calls.push({ function: { name: part.functionCall.name, arguments: part.functionCall.args ?? {} } });
  else if (isObject(part.functionResponse)) {
    const { name, response } = part.functionResponse;
    into.results.push({ role: "tool", name, content: resultText(response ?? "") });
  } else if (TEXT_TYPES.has(String(part.type)) && part.type !== "text")
    into.parts.push({ type: "text", text: part.text });
  else if (part.type === undefined && typeof part.text === "string") into.parts.push({ type: "text", text: part.text });
  else into.parts.push(part);
}

/** True for a list of parts as OpenAI's chat format has them. */
const isPlainList = (list: unknown[]) =>
  list.every((part) => isObject(part) && part.type !== undefined && !READ_TYPES.has(String(part.type)));
const READ_TYPES = new Set([...TEXT_TYPES, "tool_use", "tool_result", "thinking", "reasoning", "redacted_thinking"]);
READ_TYPES.delete("text");

/** The parts of a content in OpenAI's terms; null when they are in that form already. */
export function readContents(content: unknown): Contents | null {
  const list = Array.isArray(content) ? content : isObject(content) ? [content] : null;
  if (!list || (Array.isArray(content) && isPlainList(list))) return null;
  const into: Contents = { parts: [], calls: [], results: [], reasoning: [] };
  for (const part of list) {
    if (isObject(part) && Array.isArray(part.parts)) for (const inner of part.parts) readPart(inner, into);
    else readPart(part, into);
  }
  return into;
}
