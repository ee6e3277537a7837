/** Prompt and completion pairs of the legacy completions format: they become one user and one assistant turn. */
import { type ChatFormat, optionalText, pairRow, requireText } from "./format.ts";

export const completionFormat: ChatFormat = {
  name: "completion",
  type: "chat",
  title: "prompt and completion JSONL",
  example: '{"prompt": "…", "completion": "…"}',
  fields: new Set(["prompt", "completion", "system"]),
  layout: { system: "system", pair: { user: ["prompt"], assistant: "completion" } },
  // Turns instead of texts are mapped.
  matches: (row) =>
    "prompt" in row && "completion" in row && typeof row.prompt !== "object" && typeof row.completion !== "object",
  convert: (row, problems) =>
    pairRow(
      optionalText(row, "system", problems),
      { text: requireText(row, "prompt", problems), path: "prompt" },
      { text: requireText(row, "completion", problems), path: "completion" },
      problems,
    ),
};
