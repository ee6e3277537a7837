/**
 * Reads tool definitions and tool calls: OpenAI's format, its legacy functions, bare definitions as in ShareGPT files,
 * and those of Anthropic, Gemini and Bedrock.
 */
import { parseExact, writeExact } from "../../../lib/text/exact-json.ts";
import type { Problems } from "./problems.ts";

export interface Tool {
  type: "function";
  function: { name: string; description?: string; parameters?: Record<string, unknown> } & Record<string, unknown>;
}

/** A tool call in OpenAI's format: `arguments` is a string that holds a JSON object. */
export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

const MAX_TOOLS = 128;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Parses JSON text, with its digits and order; undefined when it is not valid JSON. */
export function parseJson(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
}

/** The definitions of a list: Gemini puts several into one tool, and Bedrock the list into an object. */
function listOf(source: unknown): unknown {
  const given = typeof source === "string" ? (source.trim() === "" ? [] : parseJson(source)) : source;
  const list = isObject(given) && Array.isArray(given.tools) ? given.tools : given;
  if (!Array.isArray(list)) return list;
  return list.flatMap((item: unknown) => {
    const several = isObject(item) ? (item.functionDeclarations ?? item.function_declarations) : undefined;
    return Array.isArray(several) ? (several as unknown[]) : [item];
  });
}

/** A definition with its schema as `parameters`, whatever its vendor calls it. */
function definitionOf(item: unknown): unknown {
  if (!isObject(item)) return item;
  if (isObject(item.function)) return item.function;
  const { type: _, ...flat } = isObject(item.toolSpec) ? item.toolSpec : item;
  const { input_schema: anthropic, inputSchema: bedrock, ...rest } = flat;
  const schema = anthropic ?? (isObject(bedrock) && "json" in bedrock ? bedrock.json : bedrock);
  return schema === undefined || rest.parameters !== undefined ? flat : { ...rest, parameters: schema };
}

/** Tool definitions as OpenAI's list, or null after reporting an error. A string is parsed as JSON. */
export function checkTools(source: unknown, path: string, problems: Problems): Tool[] | null {
  const list = listOf(source);
  if (!Array.isArray(list) || list.length > MAX_TOOLS) {
    problems.add("bad_tools", path, source, `expected a list of at most ${MAX_TOOLS} tools`);
    return null;
  }
  const tools: Tool[] = [];
  for (const [index, item] of list.entries()) {
    const at = `${path}[${index}]`;
    const definition = definitionOf(item);
    const type = isObject(item) ? item.type : undefined;
    if (!isObject(definition) || (type !== undefined && type !== "function" && type !== "custom")) {
      problems.add("bad_tools", at, item, "expected {type: 'function', function: {…}}");
      continue;
    }
    const { name, description, parameters } = definition;
    if (typeof name !== "string" || name === "")
      problems.add("bad_tools", `${at}.function.name`, name, "expected a name");
    else if (description !== undefined && description !== null && typeof description !== "string")
      problems.add("bad_tools", `${at}.function.description`, description, "expected text");
    else if (parameters !== undefined && parameters !== null && !isObject(parameters))
      problems.add("bad_tools", `${at}.function.parameters`, parameters, "expected a JSON schema object");
    else tools.push({ type: "function", function: definition as Tool["function"] });
  }
  return tools;
}

/** A `{name, arguments}` pair as a tool call. Arguments are an object or its JSON as a string. */
export function toolCallFromFunction(
  source: unknown,
  path: string,
  number: number,
  problems: Problems,
  id?: string,
): ToolCall | null {
  if (!isObject(source) || typeof source.name !== "string" || source.name === "") {
    problems.add("bad_tool_call", isObject(source) ? `${path}.name` : path, source, "expected a function name");
    return null;
  }
  const given = source.arguments ?? {};
  const value = typeof given === "string" ? (given.trim() === "" ? {} : parseJson(given)) : given;
  if (!isObject(value)) {
    problems.add("bad_tool_call", `${path}.arguments`, given, "expected a string that holds a JSON object");
    return null;
  }
  const text = typeof given === "string" && given.trim() !== "" ? given : writeExact(value);
  if (!text.isWellFormed()) problems.add("lone_surrogate", `${path}.arguments`, text);
  return { id: id ?? `call_${number + 1}`, type: "function", function: { name: source.name, arguments: text } };
}

/** The `tool_calls` of an assistant turn in OpenAI's format, or null after reporting an error. */
export function readToolCalls(source: unknown, path: string, problems: Problems): ToolCall[] | null {
  if (!Array.isArray(source)) {
    problems.add("wrong_type", path, source, "expected a list of tool calls");
    return null;
  }
  const calls: ToolCall[] = [];
  for (const [index, item] of source.entries()) {
    const at = `${path}[${index}]`;
    if (!isObject(item) || !isObject(item.function)) {
      problems.add("bad_tool_call", at, item, "expected {id, type: 'function', function: {name, arguments}}");
      continue;
    }
    const id = typeof item.id === "string" && item.id !== "" ? item.id : undefined;
    const call = toolCallFromFunction(item.function, `${at}.function`, index, problems, id);
    if (call) calls.push(call);
  }
  return calls;
}
