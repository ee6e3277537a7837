/** OpenAI chat rows: `messages`, with tools, weights, refusals, content parts and the legacy functions. */
import { checkMessages, finishRow } from "../rows/chat.ts";
import type { ChatFormat } from "./format.ts";

export const chatFormat: ChatFormat = {
  name: "chat",
  type: "chat",
  title: "OpenAI chat JSONL",
  example: '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
  fields: new Set(["messages", "tools", "functions", "parallel_tool_calls"]),
  layout: {
    turns: {
      field: "messages",
      role: "role",
      text: "content",
      roles: { system: "system", user: "user", assistant: "assistant" },
    },
    onlyWithExtra: true,
  },
  matches: (row) => "messages" in row,
  convert(row, problems) {
    const checked = checkMessages(row.messages, "messages", problems);
    const legacy = row.tools === undefined && row.functions !== undefined;
    const finished = finishRow(checked, legacy ? row.functions : row.tools, legacy ? "functions" : "tools", problems);
    if (finished && row.parallel_tool_calls !== undefined) finished.same = false;
    return finished;
  },
};
