/** Requests of OpenAI's Responses API: every field of the API, obeyed, harmless, or refused by name. */
import * as v from "valibot";
import { Metadata } from "../../lib/metadata.ts";
import { between, whole } from "../../lib/number-fields.ts";
import { id, whole as queryWhole } from "../../lib/request-fields.ts";
import { InputItem, Tool, textOrList } from "./items.ts";

const MAX_ITEMS = 10_000;
const MAX_TOOLS = 128;

/** A field that only may have values which change nothing. */
const only = (values: readonly (string | boolean | number)[], message: string) =>
  v.optional(v.picklist(values as (string | number)[], message) as v.GenericSchema<string | boolean | number>);
/** A field that is not supported: absent or null. */
const never = (message: string) => v.optional(v.never(message));

const Format = v.variant("type", [
  v.strictObject({ type: v.literal("text") }),
  v.strictObject({ type: v.literal("json_object") }),
  v.strictObject({
    type: v.literal("json_schema"),
    name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
    description: v.optional(v.string()),
    schema: v.record(v.string(), v.unknown()),
    strict: v.optional(v.boolean()),
  }),
]);
export type Format = v.InferOutput<typeof Format>;

const ToolChoice = v.union(
  [
    v.picklist(["none", "auto", "required"]),
    v.strictObject({ type: v.literal("function"), name: v.pipe(v.string(), v.minLength(1), v.maxLength(256)) }),
  ],
  "must be none, auto, required or {type: function, name}",
);

const INCLUDED = ["message.output_text.logprobs", "reasoning.encrypted_content"] as const;
const Include = v.array(v.picklist(INCLUDED, `can only list ${INCLUDED.join(" and ")}`));

/** What the number of input tokens depends on. */
const prompt = {
  model: v.pipe(v.string(), v.minLength(1), v.maxLength(400)),
  input: v.optional(textOrList(v.pipe(v.array(InputItem), v.maxLength(MAX_ITEMS)))),
  instructions: v.optional(v.string("must be text")),
  previous_response_id: v.optional(id),
  conversation: never("is not supported; use previous_response_id"),
  prompt: never("is not supported: prompts are not stored here"),
  text: v.optional(
    v.strictObject({ format: v.optional(Format), verbosity: only(["medium"], "can only be medium: models decide it") }),
  ),
  tools: v.optional(v.pipe(v.array(Tool), v.maxLength(MAX_TOOLS))),
  tool_choice: v.optional(ToolChoice),
  parallel_tool_calls: v.optional(v.boolean()),
  reasoning: v.optional(
    v.strictObject({
      effort: v.optional(v.picklist(["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
      summary: never("is not supported: models here do not summarize their reasoning"),
      generate_summary: never("is not supported: models here do not summarize their reasoning"),
    }),
  ),
  truncation: only(["disabled"], "can only be disabled: no items are dropped here"),
};

/** Fields that say nothing about the answer. */
const unrelated = {
  /** There are no images to compress. */
  image: v.optional(
    v.strictObject({ context_compression: only(["auto", "disabled"], "can only be auto or disabled") }),
  ),
  service_tier: only(["auto", "default"], "can only be auto or default"),
  prompt_cache_key: v.optional(v.string()),
  prompt_cache_retention: v.optional(v.string()),
  prompt_cache_options: v.optional(v.record(v.string(), v.unknown())),
};

export const CreateResponse = v.strictObject({
  ...prompt,
  include: v.optional(Include),
  max_output_tokens: v.optional(whole(1, 10_000_000)),
  /** Limits calls of built-in tools, of which there are none. */
  max_tool_calls: v.optional(whole(0, 1_000_000)),
  metadata: v.optional(Metadata),
  temperature: v.optional(between(0, 2)),
  top_p: v.optional(between(0, 1)),
  top_logprobs: v.optional(whole(0, 20)),
  store: v.optional(v.boolean()),
  stream: v.optional(v.boolean()),
  stream_options: v.optional(v.strictObject({ include_obfuscation: v.optional(v.boolean()) })),
  background: v.optional(v.boolean()),
  context_management: never("is not supported: no items are dropped here; use /v1/responses/compact"),
  moderation: never("is not supported"),
  ...unrelated,
  user: v.optional(v.string()),
  safety_identifier: v.optional(v.string()),
});
export type CreateResponse = v.InferOutput<typeof CreateResponse>;

/** The request whose input tokens are counted. */
export const CountTokens = v.strictObject(prompt);
export type CountTokens = v.InferOutput<typeof CountTokens>;

/** The request to compact a conversation. */
export const CompactResponse = v.strictObject({
  model: prompt.model,
  input: prompt.input,
  instructions: prompt.instructions,
  previous_response_id: prompt.previous_response_id,
  ...unrelated,
});
export type CompactResponse = v.InferOutput<typeof CompactResponse>;

export const TokenCountView = v.strictObject({
  object: v.literal("response.input_tokens"),
  input_tokens: v.number(),
});

const includes = {
  include: v.optional(v.union([v.string(), v.array(v.string())])),
  "include[]": v.optional(v.union([v.string(), v.array(v.string())])),
};

export const RetrieveQuery = v.strictObject({
  ...includes,
  stream: v.optional(v.picklist(["true", "false"])),
  /** Number of the last event that the client has. */
  starting_after: v.optional(queryWhole(0, 1_000_000_000)),
  include_obfuscation: v.optional(v.picklist(["true", "false"])),
});
export type RetrieveQuery = v.InferOutput<typeof RetrieveQuery>;

export const InputItemsQuery = v.strictObject({
  ...includes,
  limit: v.optional(queryWhole(1, 100), 20),
  order: v.optional(v.picklist(["asc", "desc"]), "desc"),
  after: v.optional(v.pipe(v.string(), v.maxLength(200))),
});
