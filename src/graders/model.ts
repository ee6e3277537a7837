/** OpenAI's graders as clients write them, and the answers of running and validating one. */
import * as v from "valibot";
import { filledName } from "../lib/text/names.ts";

/** Largest source of a Python grader in bytes; the same as OpenAI's limit. */
const MAX_SOURCE_BYTES = 256 * 1024;
/** Largest text with templates, in characters. */
const MAX_TEXT = 200_000;
const MAX_MESSAGES = 64;
const MAX_PARTS = 64;
const MAX_LABELS = 256;
export const MAX_GRADERS = 32;
/** Longest model output that is graded, in characters. */
const MAX_SAMPLE = 500_000;

const Name = filledName(256);
const Text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const Model = v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(400));

const OPERATIONS = ["eq", "ne", "like", "ilike"] as const;
const METRICS = [
  ...(["cosine", "fuzzy_match", "bleu", "gleu", "meteor"] as const),
  ...(["rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"] as const),
] as const;

const StringCheck = v.strictObject({
  type: v.literal("string_check"),
  name: Name,
  input: Text,
  reference: Text,
  operation: v.picklist(OPERATIONS),
});

const TextSimilarity = v.strictObject({
  type: v.literal("text_similarity"),
  name: Name,
  input: Text,
  reference: Text,
  evaluation_metric: v.picklist(METRICS),
});

const Python = v.strictObject({
  type: v.literal("python"),
  name: Name,
  source: v.pipe(
    v.string(),
    v.check(
      (source) => Buffer.byteLength(source) < MAX_SOURCE_BYTES,
      `must be less than ${MAX_SOURCE_BYTES / 1024} kB`,
    ),
  ),
  image_tag: v.optional(v.pipe(v.string(), v.maxLength(128))),
});

/** A content part of a message. Images and audio are in the schema so that they can be refused by name. */
const Part = v.union([
  Text,
  v.strictObject({ type: v.picklist(["input_text", "output_text", "text"]), text: Text }),
  v.looseObject({ type: v.picklist(["input_image", "input_audio"]) }),
]);

const Message = v.strictObject({
  role: v.picklist(["user", "assistant", "system", "developer"]),
  content: v.union([Part, v.pipe(v.array(Part), v.maxLength(MAX_PARTS))]),
  type: v.optional(v.literal("message")),
});
export type GraderMessage = v.InferOutput<typeof Message>;
const Messages = v.pipe(v.array(Message), v.minLength(1, "needs at least one message"), v.maxLength(MAX_MESSAGES));

const whole = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const between = (min: number, max: number) => v.pipe(v.number(), v.minValue(min), v.maxValue(max));

const Sampling = v.strictObject({
  seed: v.optional(v.nullable(whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER))),
  top_p: v.optional(v.nullable(between(0, 1))),
  temperature: v.optional(v.nullable(between(0, 2))),
  max_completions_tokens: v.optional(v.nullable(whole(1, 1_000_000))),
  reasoning_effort: v.optional(v.nullable(v.picklist(["none", "minimal", "low", "medium", "high", "xhigh", "max"]))),
});

const ScoreModel = v.strictObject({
  type: v.literal("score_model"),
  name: Name,
  model: Model,
  input: Messages,
  sampling_params: v.optional(v.nullable(Sampling)),
  range: v.optional(
    v.nullable(
      v.pipe(
        v.array(v.pipe(v.number(), v.finite())),
        v.length(2, "must be two numbers"),
        v.check(([low = 0, high = 0]) => low < high, "must be two numbers, the smaller one first"),
      ),
    ),
  ),
});

const Label = v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(256));
const LabelModel = v.strictObject({
  type: v.literal("label_model"),
  name: Name,
  model: Model,
  input: Messages,
  labels: v.pipe(v.array(Label), v.minLength(1, "needs at least one label"), v.maxLength(MAX_LABELS)),
  passing_labels: v.pipe(v.array(Label), v.maxLength(MAX_LABELS)),
  sampling_params: v.optional(v.nullable(Sampling)),
});

const SINGLE = [StringCheck, TextSimilarity, Python, ScoreModel, LabelModel] as const;
const Single = v.variant("type", SINGLE);

const isOneGrader = (given: unknown) =>
  typeof given === "object" && given !== null && "type" in given && typeof given.type === "string";

const Multi = v.strictObject({
  type: v.literal("multi"),
  name: Name,
  /** By the names that `calculate_output` uses. OpenAI's schema has a single grader here; that is accepted too. */
  graders: v.lazy((given) => (isOneGrader(given) ? Single : v.record(v.string(), Single))),
  calculate_output: v.pipe(v.string(), v.minLength(1, "must not be empty"), v.maxLength(4000)),
});

export const Grader = v.variant("type", [...SINGLE, Multi]);
export type Grader = v.InferOutput<typeof Grader>;
export type SingleGrader = v.InferOutput<typeof Single>;
export type MultiGrader = v.InferOutput<typeof Multi>;
export type ScoreModelGrader = v.InferOutput<typeof ScoreModel>;
export type LabelModelGrader = v.InferOutput<typeof LabelModel>;
export type Metric = (typeof METRICS)[number];

export const RunGrader = v.strictObject({
  grader: Grader,
  model_sample: v.pipe(v.string(), v.maxLength(MAX_SAMPLE)),
  item: v.optional(v.nullable(v.record(v.string(), v.unknown()))),
});
export type RunGrader = v.InferOutput<typeof RunGrader>;

export const ValidateGrader = v.strictObject({ grader: Grader });

/** The graders inside a multi grader by name; null for any other. */
export function partsOf(grader: Grader): Record<string, SingleGrader> | null {
  if (grader.type !== "multi") return null;
  const { graders } = grader;
  return isOneGrader(graders)
    ? { [(graders as SingleGrader).name]: graders as SingleGrader }
    : (graders as Record<string, SingleGrader>);
}

/** The errors of grading, with OpenAI's names. */
const GraderErrors = v.strictObject({
  formula_parse_error: v.boolean(),
  sample_parse_error: v.boolean(),
  truncated_observation_error: v.boolean(),
  unresponsive_reward_error: v.boolean(),
  invalid_variable_error: v.boolean(),
  other_error: v.boolean(),
  python_grader_server_error: v.boolean(),
  python_grader_server_error_type: v.nullable(v.string()),
  python_grader_runtime_error: v.boolean(),
  python_grader_runtime_error_details: v.nullable(v.string()),
  model_grader_server_error: v.boolean(),
  model_grader_refusal_error: v.boolean(),
  model_grader_parse_error: v.boolean(),
  model_grader_server_error_details: v.nullable(v.string()),
});
type GraderErrors = v.InferOutput<typeof GraderErrors>;

export const noErrors = (): GraderErrors => ({
  formula_parse_error: false,
  sample_parse_error: false,
  truncated_observation_error: false,
  unresponsive_reward_error: false,
  invalid_variable_error: false,
  other_error: false,
  python_grader_server_error: false,
  python_grader_server_error_type: null,
  python_grader_runtime_error: false,
  python_grader_runtime_error_details: null,
  model_grader_server_error: false,
  model_grader_refusal_error: false,
  model_grader_parse_error: false,
  model_grader_server_error_details: null,
});

const TokenUsage = v.strictObject({
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  total_tokens: v.number(),
  cached_tokens: v.number(),
});
export type TokenUsage = v.InferOutput<typeof TokenUsage>;

/** The grade of one sample. Errors of the sample or of a model are in `errors`; they are not thrown. */
export interface Grade {
  /** Finite; 0 when there is an error. */
  reward: number;
  errors: GraderErrors;
  /** Error messages, one line each. */
  messages: string[];
  /** Rewards of the parts of a multi grader by name. */
  parts: Record<string, number>;
  /** Tokens by model. */
  usage: Record<string, TokenUsage>;
  /** The model that answered last; null when none was asked. */
  sampledModel: string | null;
}

/** The answer of POST /v1/fine_tuning/alpha/graders/run, as OpenAI's. `execution_time` in seconds. */
export const GraderRunView = v.strictObject({
  reward: v.number(),
  metadata: v.strictObject({
    name: v.string(),
    type: v.string(),
    errors: GraderErrors,
    execution_time: v.number(),
    scores: v.record(v.string(), v.number()),
    token_usage: v.nullable(v.number()),
    sampled_model_name: v.nullable(v.string()),
    /** Error messages; absent when there are none. */
    ftl: v.optional(v.strictObject({ messages: v.array(v.string()) })),
  }),
  sub_rewards: v.record(v.string(), v.number()),
  model_grader_token_usage_per_model: v.record(v.string(), TokenUsage),
});
type GraderRunView = v.InferOutput<typeof GraderRunView>;

/** The view of a grade. `seconds`: duration of the grading. */
export function runView(grader: Grader, grade: Grade, seconds: number): GraderRunView {
  const tokens = Object.values(grade.usage).reduce((sum, each) => sum + each.total_tokens, 0);
  return {
    reward: grade.reward,
    metadata: {
      name: grader.name,
      type: grader.type,
      errors: grade.errors,
      execution_time: seconds,
      scores: grade.parts,
      token_usage: grade.sampledModel === null ? null : tokens,
      sampled_model_name: grade.sampledModel,
      ...(grade.messages.length ? { ftl: { messages: grade.messages } } : {}),
    },
    sub_rewards: grade.parts,
    model_grader_token_usage_per_model: grade.usage,
  };
}
