/** Counts what a report shows about good rows: roles, turns, characters, tools and weights. */
import type { ChatRow } from "./chat.ts";
import type { PlainRow } from "./plain-row.ts";
import type { Report } from "./report.ts";
import { createSpread } from "./spread.ts";

export type RowStatistics = Pick<
  Report,
  "roles" | "turns" | "characters" | "rows_with_tools" | "tool_calls" | "untrained_turns"
>;

export function createStatistics() {
  const turns = createSpread();
  const characters = createSpread();
  const roles = { system: 0, user: 0, assistant: 0, tool: 0 };
  let rowsWithTools = 0;
  let toolCalls = 0;
  let untrained = 0;
  return {
    add(row: ChatRow) {
      let length = 0;
      for (const message of row.messages) {
        roles[message.role]++;
        length += message.content.length;
        if (message.tool_calls) toolCalls += message.tool_calls.length;
        if (message.weight === 0) untrained++;
      }
      if (row.tools) rowsWithTools++;
      turns.add(row.messages.length);
      characters.add(length);
    },
    addPlain(row: PlainRow) {
      roles.system += row.system;
      roles.user += row.user;
      roles.assistant += row.assistant;
      turns.add(row.system + row.user + row.assistant);
      characters.add(row.characters);
    },
    result(): RowStatistics {
      return {
        roles,
        turns: turns.result(),
        characters: characters.result(),
        rows_with_tools: rowsWithTools,
        tool_calls: toolCalls,
        untrained_turns: untrained,
      };
    },
  };
}
