/** The items of a response's input, as OpenAI's clients send them. What is not supported here is refused by name. */
import * as v from "valibot";

type Json = Record<string, unknown>;

const Text = v.string();
const Id = v.pipe(v.string(), v.minLength(1), v.maxLength(200));
const MAX_PARTS = 1000;

/** The refusal of a `type`: names it when it looks like one of OpenAI's. */
function refusedType(what: string, type: unknown, supported: string): string {
  const named = typeof type === "string" && /^[a-z][a-z0-9_.]{0,60}$/.test(type);
  return `${named ? `${what} of the type ${type} are` : `this type of ${what} is`} not supported; use ${supported}`;
}

const Unsupported = (what: string, type: unknown, supported: string, known: string[]) =>
  v.looseObject({ type: v.picklist(known, refusedType(what, type, supported)) });

const typeOf = (given: unknown) => (typeof given === "object" && given !== null ? (given as Json).type : undefined);

const PARTS = {
  input_text: v.strictObject({ type: v.literal("input_text"), text: Text }),
  output_text: v.strictObject({
    type: v.literal("output_text"),
    text: Text,
    annotations: v.optional(v.array(v.unknown())),
    logprobs: v.optional(v.array(v.unknown())),
    parsed: v.optional(v.unknown()),
  }),
  refusal: v.strictObject({ type: v.literal("refusal"), refusal: Text }),
};
const isPart = (type: unknown): type is keyof typeof PARTS => typeof type === "string" && Object.hasOwn(PARTS, type);

/** A text of a message. Images, files and audio are refused by name. */
const Part = v.lazy((given) => {
  const type = typeOf(given) ?? "input_text";
  return isPart(type) ? PARTS[type] : Unsupported("contents", type, "input_text", Object.keys(PARTS));
});
type Part = { type: string; text?: string; refusal?: string };

/** A text or a list. Errors of a list name its item, which those of a union would not. */
export const textOrList = <T extends v.GenericSchema>(list: T) =>
  v.lazy((given) => {
    if (given === undefined) return v.union([Text, list]);
    return Array.isArray(given) ? list : Text;
  });
const Content = textOrList(v.pipe(v.array(Part), v.maxLength(MAX_PARTS)));

const common = { id: v.optional(Id), status: v.optional(v.picklist(["in_progress", "completed", "incomplete"])) };

const Message = v.strictObject({
  ...common,
  type: v.optional(v.literal("message")),
  role: v.picklist(["user", "assistant", "system", "developer"]),
  content: Content,
  phase: v.optional(v.picklist(["commentary", "final_answer"])),
});

const FunctionCall = v.strictObject({
  ...common,
  type: v.literal("function_call"),
  call_id: Id,
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  arguments: Text,
  /** Added by OpenAI's client when it parses a response. */
  parsed_arguments: v.optional(v.unknown()),
});

const FunctionCallOutput = v.strictObject({
  ...common,
  type: v.literal("function_call_output"),
  call_id: Id,
  output: Content,
});

/** Taken from another service's history and left out: only that service can read it. */
const Reasoning = v.looseObject({ type: v.literal("reasoning") });

/** What /v1/responses/compact returned in place of a conversation. */
const Compaction = v.strictObject({
  type: v.literal("compaction"),
  id: v.optional(Id),
  encrypted_content: v.pipe(v.string(), v.maxLength(1_000_000)),
  created_by: v.optional(Text),
});

/** An item of a stored response, by its id. */
const ItemReference = v.strictObject({ type: v.literal("item_reference"), id: Id });

const ITEMS = {
  message: Message,
  function_call: FunctionCall,
  function_call_output: FunctionCallOutput,
  compaction: Compaction,
  item_reference: ItemReference,
  reasoning: Reasoning,
};
const isItem = (type: unknown): type is keyof typeof ITEMS => typeof type === "string" && Object.hasOwn(ITEMS, type);

/** One item; its type decides the schema. Without a type it is a message, or a reference when it only has an id. */
export const InputItem = v.lazy((given): v.GenericSchema => {
  const isReference = typeof given === "object" && given !== null && Object.keys(given).join() === "id";
  if (isReference) return v.strictObject({ id: Id });
  const type = typeOf(given) ?? "message";
  return isItem(type)
    ? ITEMS[type]
    : Unsupported("items", type, "message, function_call, function_call_output and compaction", Object.keys(ITEMS));
});

export type Item =
  | { type?: "message"; id?: string; role: string; content: string | Part[] }
  | { type: "function_call"; id?: string; call_id: string; name: string; arguments: string }
  | { type: "function_call_output"; id?: string; call_id: string; output: string | Part[] }
  | { type: "compaction"; id?: string; encrypted_content: string }
  | { type: "reasoning"; id?: string }
  | { type?: "item_reference"; id: string };

export const isReference = (item: Item): item is { type?: "item_reference"; id: string } =>
  item.type === "item_reference" || Object.keys(item).join() === "id";

/** Function tools as the request lists them; the built-in tools of OpenAI are refused by name. */
const FunctionTool = v.strictObject({
  type: v.literal("function"),
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  description: v.optional(Text),
  parameters: v.optional(v.record(v.string(), v.unknown())),
  strict: v.optional(v.boolean()),
});
export type FunctionTool = v.InferOutput<typeof FunctionTool>;

export const Tool = v.lazy((given): v.GenericSchema => {
  const type = typeOf(given) ?? "function";
  return type === "function" ? FunctionTool : Unsupported("tools", type, "function tools", ["function"]);
});

/** Text of a message's content, its parts joined. */
export const textOf = (content: string | Part[]): string =>
  typeof content === "string" ? content : content.map((part) => part.text ?? part.refusal ?? "").join("");
