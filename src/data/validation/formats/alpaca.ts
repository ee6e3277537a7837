/**
 * Alpaca rows: `instruction`, an optional `input` that is appended to it, and `output`; also the common `system` and
 * `history` fields.
 */
import { isBlank, type JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import { type ChatFormat, optionalText, pairRow, requireText } from "./format.ts";

function readHistory(row: JsonObject, problems: Problems): { user: string; assistant: string }[] {
  const { history } = row;
  if (history === undefined || history === null) return [];
  const turns: { user: string; assistant: string }[] = [];
  if (!Array.isArray(history)) problems.add("wrong_type", "history", history, "expected a list of [question, answer]");
  else
    for (const [index, pair] of history.entries()) {
      const path = `history[${index}]`;
      const [user, assistant] = Array.isArray(pair) ? pair.map((part: unknown) => part ?? "") : [];
      if (typeof user !== "string" || typeof assistant !== "string")
        problems.add("wrong_type", path, pair, "expected [question, answer]");
      else if (!user.isWellFormed() || !assistant.isWellFormed()) problems.add("lone_surrogate", path, pair);
      else if (!isBlank(user) || !isBlank(assistant)) {
        if (isBlank(user) || isBlank(assistant)) problems.add("empty_content", path, pair);
        turns.push({ user, assistant });
      }
    }
  return turns;
}

export const alpacaFormat: ChatFormat = {
  name: "alpaca",
  type: "chat",
  title: "Alpaca JSON or JSONL",
  example: '{"instruction": "…", "input": "…", "output": "…"}',
  fields: new Set(["instruction", "input", "output", "system", "history"]),
  layout: { system: "system", pair: { user: ["instruction", "input"], assistant: "output" } },
  matches: (row) => "instruction" in row && ("output" in row || "input" in row),
  convert(row, problems) {
    const instruction = requireText(row, "instruction", problems);
    const input = optionalText(row, "input", problems);
    const parts = [instruction, input].filter((text) => !isBlank(text));
    const user = instruction === null || parts.length === 0 ? instruction : parts.join("\n");
    return pairRow(
      optionalText(row, "system", problems),
      { text: user, path: "instruction" },
      { text: requireText(row, "output", problems), path: "output" },
      problems,
      readHistory(row, problems),
    );
  },
};
