/** Queries and answers of OpenAI's usage and costs of an organization, as its clients send and read them. */
import * as v from "valibot";
import { whole } from "../../lib/request-fields.ts";

const text = v.pipe(v.string(), v.maxLength(200));
/** One value or several; OpenAI's clients write `name[]=a&name[]=b`. */
const many = <T extends v.GenericSchema<string, string>>(item: T) =>
  v.optional(
    v.union([
      v.pipe(v.array(item), v.maxLength(100)),
      v.pipe(
        item,
        v.transform((one) => [one]),
      ),
    ]),
  );
const listed = <N extends string, T extends v.GenericSchema<string, string>>(name: N, item: T) =>
  ({ [name]: many(item), [`${name}[]`]: many(item) }) as Record<N | `${N}[]`, ReturnType<typeof many<T>>>;

const seconds = whole(0, 253_402_300_799);
const base = {
  start_time: seconds,
  end_time: v.optional(seconds),
  limit: v.optional(whole(1, 1440)),
  page: v.optional(v.pipe(v.string(), v.regex(/^page_\d{1,12}$/, "must be the next_page of an answer"))),
  ...listed("project_ids", text),
  ...listed("api_key_ids", text),
};
const FIELDS = ["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"] as const;
/** What other kinds of use are grouped by; this product has no such use. */
const OTHER_FIELDS = ["source", "size", "context_level", "vector_store_id"] as const;

export const CompletionsUsageQuery = v.strictObject({
  ...base,
  bucket_width: v.optional(v.picklist(["1m", "1h", "1d"]), "1d"),
  batch: v.optional(v.picklist(["true", "false"])),
  ...listed("user_ids", text),
  ...listed("models", text),
  ...listed("group_by", v.picklist(FIELDS)),
});
export type CompletionsUsageQuery = v.InferOutput<typeof CompletionsUsageQuery>;

/** Use of a kind that this product does not have, with every filter that OpenAI knows. */
export const NoUsageQuery = v.strictObject({
  ...base,
  bucket_width: v.optional(v.picklist(["1m", "1h", "1d"]), "1d"),
  ...listed("user_ids", text),
  ...listed("models", text),
  ...listed("vector_store_ids", text),
  ...listed("sources", text),
  ...listed("sizes", text),
  ...listed("context_levels", text),
  ...listed("group_by", v.picklist([...FIELDS, ...OTHER_FIELDS])),
});
export type NoUsageQuery = v.InferOutput<typeof NoUsageQuery>;

export const CostsQuery = v.strictObject({
  ...base,
  bucket_width: v.optional(v.picklist(["1d"]), "1d"),
  ...listed("group_by", v.picklist(["project_id", "line_item", "api_key_id"])),
});
export type CostsQuery = v.InferOutput<typeof CostsQuery>;

const nullable = v.nullable(v.string());

const pageOf = <T extends v.GenericSchema>(result: T) =>
  v.strictObject({
    object: v.literal("page"),
    data: v.array(
      v.strictObject({
        object: v.literal("bucket"),
        start_time: v.number(),
        end_time: v.number(),
        results: v.array(result),
      }),
    ),
    has_more: v.boolean(),
    next_page: nullable,
  });

const CompletionsResult = v.strictObject({
  object: v.literal("organization.usage.completions.result"),
  input_tokens: v.number(),
  input_cached_tokens: v.number(),
  output_tokens: v.number(),
  input_audio_tokens: v.number(),
  output_audio_tokens: v.number(),
  num_model_requests: v.number(),
  project_id: nullable,
  user_id: nullable,
  api_key_id: nullable,
  model: nullable,
  batch: v.nullable(v.boolean()),
  service_tier: nullable,
});
export type CompletionsResult = v.InferOutput<typeof CompletionsResult>;
export const CompletionsPage = pageOf(CompletionsResult);

export const NoUsagePage = pageOf(v.never());

const CostsResult = v.strictObject({
  object: v.literal("organization.costs.result"),
  amount: v.strictObject({ value: v.number(), currency: v.literal("usd") }),
  line_item: nullable,
  project_id: nullable,
  api_key_id: nullable,
  quantity: v.nullable(v.number()),
  quantity_unit: nullable,
});
export type CostsResult = v.InferOutput<typeof CostsResult>;
export const CostsPage = pageOf(CostsResult);
