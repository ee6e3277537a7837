/** The response object of OpenAI's Responses API, and its output items. */
import * as v from "valibot";
import type { FunctionTool } from "./items.ts";
import type { CreateResponse } from "./request.ts";

const text = v.string();
const count = v.number();
const anything = v.looseObject({});

const OutputText = v.strictObject({
  type: v.literal("output_text"),
  text,
  annotations: v.array(v.unknown()),
  logprobs: v.array(v.looseObject({ token: text, logprob: count })),
});
export type OutputText = v.InferOutput<typeof OutputText>;

const status = v.picklist(["in_progress", "completed", "incomplete"]);
const OutputMessage = v.strictObject({
  id: text,
  type: v.literal("message"),
  status,
  role: v.literal("assistant"),
  content: v.array(OutputText),
});
export type OutputMessage = v.InferOutput<typeof OutputMessage>;

const OutputCall = v.strictObject({
  id: text,
  type: v.literal("function_call"),
  status,
  call_id: text,
  name: text,
  arguments: text,
});
export type OutputCall = v.InferOutput<typeof OutputCall>;

const OutputItem = v.variant("type", [OutputMessage, OutputCall]);
export type OutputItem = v.InferOutput<typeof OutputItem>;

const Usage = v.strictObject({
  input_tokens: count,
  input_tokens_details: v.strictObject({ cached_tokens: count, cache_write_tokens: count }),
  output_tokens: count,
  output_tokens_details: v.strictObject({ reasoning_tokens: count }),
  total_tokens: count,
});

export const ResponseView = v.strictObject({
  id: text,
  object: v.literal("response"),
  created_at: count,
  completed_at: v.nullable(count),
  status: v.picklist(["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]),
  background: v.boolean(),
  error: v.nullable(v.strictObject({ code: text, message: text })),
  incomplete_details: v.nullable(v.strictObject({ reason: v.picklist(["max_output_tokens", "content_filter"]) })),
  instructions: v.nullable(text),
  max_output_tokens: v.nullable(count),
  max_tool_calls: v.nullable(count),
  metadata: v.record(text, text),
  model: text,
  output: v.array(OutputItem),
  parallel_tool_calls: v.boolean(),
  previous_response_id: v.nullable(text),
  reasoning: v.strictObject({ effort: v.nullable(text), summary: v.null() }),
  service_tier: v.literal("default"),
  store: v.boolean(),
  temperature: v.nullable(count),
  text: v.strictObject({ format: anything }),
  tool_choice: v.union([text, anything]),
  tools: v.array(anything),
  top_logprobs: count,
  top_p: v.nullable(count),
  truncation: v.literal("disabled"),
  usage: v.optional(Usage),
  user: v.optional(text),
});
export type ResponseView = v.InferOutput<typeof ResponseView>;

const Compaction = v.strictObject({ id: text, type: v.literal("compaction"), encrypted_content: text });

/** A compacted conversation: the user's messages, then one compaction item. */
export const CompactionView = v.strictObject({
  id: text,
  object: v.literal("response.compaction"),
  created_at: count,
  output: v.array(v.union([Compaction, v.looseObject({ id: text, type: v.literal("message") })])),
  usage: Usage,
});

export const InputItemView = v.looseObject({ id: text, type: text });

/** A response that has just been started. Settings that the request leaves to the model are OpenAI's defaults. */
export function startedResponse(
  request: CreateResponse,
  given: { id: string; createdAtS: number; store: boolean },
): ResponseView {
  const tools = (request.tools ?? []) as FunctionTool[];
  return {
    id: given.id,
    object: "response",
    created_at: given.createdAtS,
    completed_at: null,
    status: "in_progress",
    background: request.background ?? false,
    error: null,
    incomplete_details: null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    max_tool_calls: request.max_tool_calls ?? null,
    metadata: request.metadata ?? {},
    model: request.model,
    output: [],
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: request.previous_response_id ?? null,
    reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
    service_tier: "default",
    store: given.store,
    temperature: request.temperature ?? 1,
    text: { format: { ...(request.text?.format ?? { type: "text" }) } },
    tool_choice: request.tool_choice ?? "auto",
    tools: tools.map(({ type, name, description, parameters, strict }) => ({
      type,
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      strict: strict ?? null,
    })),
    top_logprobs: request.top_logprobs ?? 0,
    top_p: request.top_p ?? 1,
    truncation: "disabled",
    ...(request.user ? { user: request.user } : {}),
  };
}

export interface ChatUsage {
  prompt_tokens?: number;
  completion_tokens?: number;
  prompt_tokens_details?: { cached_tokens?: number } | null;
  completion_tokens_details?: { reasoning_tokens?: number } | null;
}

/** The usage of a response, from that of a chat completion. */
export function usageOf(usage: ChatUsage | null): v.InferOutput<typeof Usage> {
  const input = usage?.prompt_tokens ?? 0;
  const output = usage?.completion_tokens ?? 0;
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: usage?.prompt_tokens_details?.cached_tokens ?? 0, cache_write_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: usage?.completion_tokens_details?.reasoning_tokens ?? 0 },
    total_tokens: input + output,
  };
}

/** A response that has ended, from what the chat completion reported last. `finish` is its finish reason. */
export function endedResponse(
  started: ResponseView,
  end: { output: OutputItem[]; finish: string | null; usage: ChatUsage | null; completedAtS: number },
): ResponseView {
  const reasons: Record<string, "max_output_tokens" | "content_filter"> = {
    length: "max_output_tokens",
    content_filter: "content_filter",
  };
  const reason = reasons[end.finish ?? ""];
  return {
    ...started,
    status: reason ? "incomplete" : "completed",
    completed_at: reason ? null : end.completedAtS,
    incomplete_details: reason ? { reason } : null,
    output: end.output,
    usage: usageOf(end.usage),
  };
}

/** A response whose generation broke off. */
export const failedResponse = (started: ResponseView, output: OutputItem[], message: string): ResponseView => ({
  ...started,
  status: "failed",
  output,
  error: { code: "server_error", message },
});

/** True for a response that is still to end. */
export const isPending = ({ status }: { status?: unknown }): boolean => status === "queued" || status === "in_progress";
