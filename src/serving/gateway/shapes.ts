/** Completion requests as OpenAI describes them, open to fields of engines: for the API document and for nulls. */
import * as v from "valibot";

const number = v.optional(v.number());
const flag = v.optional(v.boolean());
const text = v.optional(v.string());

const ToolCall = v.looseObject({
  id: text,
  type: text,
  function: v.looseObject({ name: v.string(), arguments: v.string() }),
});

const Message = v.looseObject({
  role: v.picklist(["developer", "system", "user", "assistant", "tool", "function"]),
  /** A text, a list of parts, or null beside `tool_calls`. */
  content: v.unknown(),
  name: text,
  tool_calls: v.optional(v.array(ToolCall)),
  tool_call_id: text,
  refusal: text,
});

const Tool = v.looseObject({
  type: v.literal("function"),
  function: v.looseObject({
    name: v.string(),
    description: text,
    parameters: v.optional(v.record(v.string(), v.unknown())),
    strict: flag,
  }),
});

const ResponseFormat = v.looseObject({
  type: v.picklist(["text", "json_object", "json_schema"]),
  json_schema: v.optional(
    v.looseObject({
      name: v.string(),
      description: text,
      schema: v.optional(v.record(v.string(), v.unknown())),
      strict: flag,
    }),
  ),
});

const common = {
  model: v.string(),
  stream: flag,
  stream_options: v.optional(v.looseObject({ include_usage: flag })),
  max_tokens: number,
  temperature: number,
  top_p: number,
  n: number,
  seed: number,
  stop: v.optional(v.union([v.string(), v.array(v.string())])),
  presence_penalty: number,
  frequency_penalty: number,
  logit_bias: v.optional(v.record(v.string(), v.number())),
  user: text,
};

export const ChatShape = v.looseObject({
  ...common,
  messages: v.array(Message),
  max_completion_tokens: number,
  logprobs: flag,
  top_logprobs: number,
  response_format: v.optional(ResponseFormat),
  tools: v.optional(v.array(Tool)),
  tool_choice: v.optional(v.union([v.string(), v.looseObject({ type: v.string() })])),
  parallel_tool_calls: flag,
  store: flag,
  metadata: v.optional(v.record(v.string(), v.string())),
});

export const CompletionShape = v.looseObject({
  ...common,
  /** A text, texts, tokens, or lists of tokens. */
  prompt: v.union([v.string(), v.array(v.string()), v.array(v.number()), v.array(v.array(v.number()))]),
  logprobs: number,
  echo: flag,
  best_of: number,
  suffix: text,
});

export const EmbeddingShape = v.looseObject({
  model: v.string(),
  /** A text, texts, tokens, or lists of tokens. */
  input: v.union([v.string(), v.array(v.string()), v.array(v.number()), v.array(v.array(v.number()))]),
  dimensions: number,
  encoding_format: v.optional(v.picklist(["float", "base64"])),
  user: text,
});

/** The answer to an embeddings request; base64 is little-endian float32. */
export const EmbeddingsView = v.looseObject({
  object: v.literal("list"),
  model: v.string(),
  data: v.array(
    v.looseObject({
      object: v.literal("embedding"),
      index: v.number(),
      embedding: v.union([v.array(v.number()), v.string()]),
    }),
  ),
  usage: v.looseObject({ prompt_tokens: v.number(), total_tokens: v.number() }),
});
