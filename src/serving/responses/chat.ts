/** Translates a request of the Responses API to a chat completion request. */
import { type FunctionTool, type Item, isReference, textOf } from "./items.ts";
import type { CountTokens, CreateResponse, Format } from "./request.ts";

type Json = Record<string, unknown>;

interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}
interface ChatMessage {
  role: string;
  content: string | null;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
}

/** True for the instructions at the beginning of a conversation. */
const isInstruction = ({ role }: ChatMessage) => role === "system" || role === "developer";

function add(messages: ChatMessage[], item: Item): void {
  if (isReference(item) || item.type === "reasoning" || item.type === "compaction") return;
  const last = messages.at(-1);
  if (item.type === "function_call") {
    const call: ToolCall = {
      id: item.call_id,
      type: "function",
      function: { name: item.name, arguments: item.arguments },
    };
    // Parallel calls are one turn, together with the text before them.
    if (last?.role === "assistant") last.tool_calls = [...(last.tool_calls ?? []), call];
    else messages.push({ role: "assistant", content: null, tool_calls: [call] });
  } else if (item.type === "function_call_output") {
    messages.push({ role: "tool", tool_call_id: item.call_id, content: textOf(item.output) });
  } else {
    messages.push({ role: item.role, content: textOf(item.content) });
  }
}

/**
 * The messages of a conversation. Instructions at its beginning become one system message: the templates of many models
 * allow only one.
 * @param items without references and compactions
 */
function messagesOf(instructions: string | undefined, items: readonly Item[]): ChatMessage[] {
  const messages: ChatMessage[] = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  for (const item of items) add(messages, item);
  const end = messages.findIndex((message) => !isInstruction(message));
  const first = end === -1 ? messages.length : end;
  if (first === 0) return messages;
  const content = messages
    .slice(0, first)
    .map((message) => message.content)
    .join("\n\n");
  return [{ role: "system", content }, ...messages.slice(first)];
}

function responseFormat(format: Format | undefined): Json | undefined {
  if (!format || format.type === "text") return undefined;
  if (format.type === "json_object") return { type: "json_object" };
  const { type, ...schema } = format;
  return { type, json_schema: schema };
}

const toolOf = ({ type, ...tool }: FunctionTool): Json => ({ type, function: tool });

function toolChoice(choice: CreateResponse["tool_choice"]): unknown {
  return typeof choice === "object" ? { type: "function", function: { name: choice.name } } : choice;
}

/** The fields of a chat completion that the number of input tokens depends on. */
export function promptBody(request: CountTokens, items: readonly Item[]): Json {
  const { model, instructions, tools = [], text, reasoning } = request;
  return {
    model,
    messages: messagesOf(instructions, items),
    ...(tools.length > 0
      ? {
          tools: (tools as FunctionTool[]).map(toolOf),
          tool_choice: toolChoice(request.tool_choice),
          parallel_tool_calls: request.parallel_tool_calls,
        }
      : {}),
    response_format: responseFormat(text?.format),
    reasoning_effort: reasoning?.effort,
  };
}

/** The chat completion request; fields without a value are left out when it is sent. */
export function chatBody(request: CreateResponse, items: readonly Item[]): Json {
  const logprobs = request.include?.includes("message.output_text.logprobs") ? true : undefined;
  return {
    ...promptBody(request, items),
    max_completion_tokens: request.max_output_tokens,
    temperature: request.temperature,
    top_p: request.top_p,
    logprobs,
    top_logprobs: logprobs ? request.top_logprobs : undefined,
    user: request.user,
    ...(request.stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  };
}
