/** The one table of field names: which part a field plays by its name, and which names change what a row means. */
import type { Part } from "./model.ts";
import { words } from "./words.ts";

/**
 * The names of each part, the most likely first, in the form of `plainName`. A file with names of the first list alone
 * is read without asking.
 */
const NAMES: Record<Exclude<Part, "role">, { known: string[]; likely?: string[] }> = {
  messages: {
    known: ["messages", "conversations", "conversation", "contents", "dialogue", "dialog", "turns", "chat"],
    likely: ["trajectory", "thread", "transcript", "history"],
  },
  prompt: {
    known: [
      "prompt",
      "question",
      "instruction",
      "query",
      "user",
      "user_prompt",
      "user_input",
      "human",
      "message",
      "input",
      "input_text",
    ],
    likely: ["problem", "text", "utterance", "request", "source", "task", "title", "sentence"],
  },
  completion: {
    known: ["completion", "answer", "output", "response", "assistant", "reply", "gpt", "model_output", "output_text"],
    likely: [
      "solution",
      "expected_output",
      "label",
      "labels",
      "category",
      "intent",
      "class",
      "target",
      "summary",
      "text",
      "generation",
      "result",
    ],
  },
  context: { known: ["input", "context"], likely: ["passage", "document", "background"] },
  system: {
    known: ["system", "system_prompt", "system_message", "systeminstruction", "system_instruction", "preamble"],
    likely: ["context_prompt", "developer", "persona"],
  },
  history: { known: ["history", "chat_history", "conversation_history"] },
  tools: {
    known: ["tools", "functions", "tool_config"],
    likely: ["available_tools", "tool_definitions", "function_definitions"],
  },
  chosen: {
    known: ["chosen", "chosen_response", "response_chosen", "chosen_messages", "preferred", "preferred_response"],
    likely: ["better", "accepted", "winner", "good", "positive", "chosen_answer"],
  },
  rejected: {
    known: ["rejected", "rejected_response", "response_rejected", "rejected_messages", "dispreferred"],
    likely: ["worse", "loser", "bad", "negative", "rejected_answer", "non_preferred", "non_preferred_response"],
  },
  score_chosen: { known: ["score_chosen", "chosen_score", "chosen_rating", "rating_chosen", "chosen_avg_rating"] },
  score_rejected: {
    known: ["score_rejected", "rejected_score", "rejected_rating", "rating_rejected", "rejected_avg_rating"],
  },
  responses: { known: ["responses", "completions", "answers", "outputs", "generations", "candidates"] },
  scores: { known: ["scores", "ratings", "rewards"] },
  label: {
    known: ["label", "kto_tag"],
    likely: words(`
      rating thumbs thumb feedback user_feedback vote thumbs_up upvoted liked like desirable
      is_desirable is_good good preference quality correct is_correct accepted stars score verdict
      helpful is_helpful reward
    `),
  },
  reasoning: {
    known: ["reasoning", "reasoning_content", "thinking"],
    likely: ["thought", "thoughts", "chain_of_thought", "cot", "rationale", "think", "complex_cot"],
  },
  text: { known: ["text"], likely: ["content", "document", "raw_content", "body", "article", "code"] },
  id: { known: ["id", "message_id", "msg_id", "uuid", "_id", "row_id"] },
  parent_id: { known: ["parent_id", "parent", "parent_message_id", "reply_to", "in_reply_to", "parentid"] },
};

/** Fields about a row that do not change what it means. */
const METADATA = new Set(
  words(`
      id _id uid uuid idx index row row_id prompt_id custom_id conversation_id key meta metadata
      source url uri category tags tag topic domain type task language lang timestamp created_at
      updated_at date time title model split dataset difficulty license version subset author name
      dump file_path language_score token_count num_tokens num_turns turn_count annotator status hash
      inserted_at
    `),
);

/** A field name in the form of the tables: `Chosen-Rating` is `chosen_rating`. */
export const plainName = (name: string): string =>
  name
    .replaceAll(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .join("_");

/** The names of a part; `known` alone, or with the likely ones behind. */
export const namesOf = (part: Exclude<Part, "role">, all: boolean): string[] => [
  ...NAMES[part].known,
  ...(all ? (NAMES[part].likely ?? []) : []),
];

export const isMetadata = (name: string): boolean => METADATA.has(plainName(name));

/** Names of fields that change what a row means, beside the parts. */
const MEANINGFUL =
  /^(label|kto_tag|rating|thumbs?(_.*)?|feedback|vote|liked?|upvoted|(is_)?(desirable|good|correct|helpful)|.*rejected.*|.*chosen.*|score|score_.*|scores|ratings|rewards?|system(_.*)?|reasoning(_.*)?|thinking|thoughts?|chain_of_thought|cot|(chat_|conversation_)?history|images?|image_url|audios?|videos?|train|training|masked?|weights?|loss_.*|parent(_id)?|tools|functions|tool_config|(answer_)?choices|options|contexts?|documents?|passages?)$/;

/** True for a field that must be read, or left out on purpose. */
export const isMeaningful = (name: string): boolean => MEANINGFUL.test(plainName(name));

/** The other name of a required field that a row has instead, for a hint; null without one. */
export function renameOf(field: string, row: Record<string, unknown>): string | null {
  for (const part of ["prompt", "completion", "messages", "chosen", "rejected"] as const)
    if (NAMES[part].known.includes(field)) {
      const names = namesOf(part, false);
      return Object.keys(row).find((key) => key !== field && names.includes(plainName(key))) ?? null;
    }
  return null;
}
