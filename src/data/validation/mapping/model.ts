/**
 * The mapping of a dataset: which type its rows have, and which field plays which part. It is saved with the version,
 * sent and returned by the API, and can be used for other files.
 */
import * as v from "valibot";
import { fromJsonText } from "./turns.ts";

/** The parts a field can play. Each is the name of a field, or a path such as `data.text`. */
export const PARTS = [
  "prompt",
  "completion",
  "system",
  "context",
  "history",
  "messages",
  "tools",
  "chosen",
  "rejected",
  "score_chosen",
  "score_rejected",
  "responses",
  "scores",
  "label",
  "reasoning",
  "text",
  "id",
  "parent_id",
  "role",
] as const;
export type Part = (typeof PARTS)[number];

const name = v.pipe(v.string(), v.maxLength(200));
const field = v.optional(v.pipe(name, v.minLength(1)));
const names = v.pipe(v.array(name), v.maxLength(200));
const list = v.optional(names);

/** A mapping as it is stored and returned. */
export const Mapping = v.strictObject({
  /** Without it, the parts decide: two answers make a preference row, a label an unpaired one. */
  type: v.optional(v.picklist(["chat", "preference", "unpaired", "prompt", "text"])),
  prompt: field,
  completion: field,
  system: field,
  context: field,
  history: field,
  messages: field,
  tools: field,
  chosen: field,
  rejected: field,
  score_chosen: field,
  score_rejected: field,
  responses: field,
  scores: field,
  label: field,
  reasoning: field,
  text: field,
  id: field,
  parent_id: field,
  role: field,
  /** The values of `label` that mean a good answer, as text; without `bad`, all others mean a bad one. */
  good: list,
  bad: list,
  /** Fields for the grader, for prompts. */
  item: list,
  /** Fields that are left out on purpose. */
  unused: list,
  /** `remove`: answers of preference rows begin with the prompt, which is taken off. */
  repeated_prompt: v.optional(v.picklist(["keep", "remove"])),
});
export type Mapping = v.InferOutput<typeof Mapping>;

/** In a form a list is one text, with commas between the names or as JSON. */
const formList = v.optional(
  v.union([
    names,
    v.pipe(
      v.string(),
      v.transform((text): unknown => (/^\s*\[/.test(text) ? fromJsonText(text) : text.split(","))),
      names,
    ),
  ]),
);

/** A mapping in a request: an object, fields of a form, or its JSON as text. */
export const MappingInput = v.pipe(
  v.union([v.record(v.string(), v.unknown()), v.string()]),
  v.transform((given): unknown => fromJsonText(given)),
  v.strictObject({ ...Mapping.entries, good: formList, bad: formList, item: formList, unused: formList }),
);

/** Drops the parts without a field. */
export const compact = (mapping: Mapping): Mapping =>
  Object.fromEntries(Object.entries(mapping).filter(([, value]) => value !== undefined && value !== "")) as Mapping;

/** The type of the rows of a mapping. */
export function typeOf(mapping: Mapping): NonNullable<Mapping["type"]> {
  if (mapping.type) return mapping.type;
  if ((mapping.chosen && mapping.rejected) || mapping.responses) return "preference";
  if (mapping.label) return "unpaired";
  if (mapping.text && !mapping.completion && !mapping.role) return "text";
  return mapping.item?.length ? "prompt" : "chat";
}

/** Every field that the mapping reads. */
export function fieldsOf(mapping: Mapping): string[] {
  const parts = PARTS.flatMap((part) => mapping[part] ?? []);
  return [...new Set([...parts, ...(mapping.item ?? [])])];
}

const WORDS: Record<NonNullable<Mapping["type"]>, string> = {
  chat: "chat",
  preference: "preference",
  unpaired: "labeled preference",
  prompt: "prompt",
  text: "plain text",
};

/** The mapping in words, such as `chat rows: question is the prompt, answer is the completion`. */
export function describe(mapping: Mapping): string {
  const parts = PARTS.flatMap((part) => {
    const name = mapping[part];
    if (!name) return [];
    return [name === part ? name : `${name} is the ${part.replaceAll("_", " ")}`];
  });
  const good = mapping.label && mapping.good?.length ? [`good: ${mapping.good.join(", ")}`] : [];
  const items = mapping.item?.length ? [`for the grader: ${mapping.item.join(", ")}`] : [];
  const unused = mapping.unused?.length ? [`not used: ${mapping.unused.join(", ")}`] : [];
  return `${WORDS[typeOf(mapping)]} rows: ${[...parts, ...good, ...items, ...unused].join(", ")}`;
}

/** Why a mapping cannot make rows of its type, as the end of a sentence; null when it can. */
export function incomplete(mapping: Mapping): string | null {
  const type = typeOf(mapping);
  const hasPrompt = Boolean(mapping.messages) || Boolean(mapping.prompt);
  const without = (part: string) => `it has no field for ${part}`;
  if (mapping.parent_id && !mapping.id) return without("the row id, to which the id of the row before refers");
  if (mapping.role && mapping.text) return mapping.id ? null : without("the id of the conversation");
  if (type === "text") return mapping.text ? null : without("the text");
  if (type === "preference") {
    if (mapping.responses) return hasPrompt ? null : without("the prompt");
    return mapping.chosen && mapping.rejected ? null : without("the chosen and the rejected answer");
  }
  if (!hasPrompt) return without("the prompt or the messages");
  if (type === "prompt") return null;
  if (!mapping.messages && !mapping.completion) return without("the completion");
  if (mapping.prompt === mapping.completion && mapping.prompt !== undefined)
    return "prompt and completion cannot be the same column";
  return type === "unpaired" && !mapping.label ? without("the label") : null;
}
