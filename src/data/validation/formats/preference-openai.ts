/** Preference rows in OpenAI's DPO format: `input` with messages and tools, a preferred and a non-preferred output. */
import { isObject, type JsonObject, type Open } from "../rows/chat.ts";
import { pairRow } from "../rows/pairs.ts";
import type { RowFormat } from "./format.ts";
import { readSide } from "./preference.ts";

const INPUT = new Set(["messages", "tools", "parallel_tool_calls"]);
/** The current and the legacy name of each output. */
const OUTPUTS = [
  ["preferred_output", "preferred_completion"],
  ["non_preferred_output", "non_preferred_completion"],
] as const;
const nameIn = (row: JsonObject, names: readonly [string, string]) => (names[1] in row ? names[1] : names[0]);

export const openaiPreferenceFormat: RowFormat = {
  name: "openai_preference",
  type: "preference",
  title: "OpenAI preference JSONL",
  example:
    '{"input": {"messages": [{"role": "user", "content": "…"}]}, "preferred_output": [{"role": "assistant", "content": "…"}], "non_preferred_output": [{"role": "assistant", "content": "…"}]}',
  fields: new Set(["input", ...OUTPUTS.flat()]),
  matches: (row) => OUTPUTS.flat().some((key) => key in row),
  convert(row, problems) {
    const { input } = row;
    if (!isObject(input)) {
      problems.add(
        input === undefined ? "missing_field" : "wrong_type",
        "input",
        input ?? row,
        "expected {messages: […]}",
      );
      return null;
    }
    for (const key of Object.keys(input))
      if (!INPUT.has(key)) problems.add("ignored_field", `input.${key}`, input[key]);
    const open: Open = [];
    const prompt = readSide(input.messages, "user", "input.messages", problems, open);
    const [better, worse] = OUTPUTS.map((names) => nameIn(row, names)) as [string, string];
    const chosen = readSide(row[better], "assistant", better, problems, [...open]);
    const rejected = readSide(row[worse], "assistant", worse, problems, [...open]);
    return pairRow({ prompt, chosen, rejected }, input.tools, "input.tools", problems);
  },
};
