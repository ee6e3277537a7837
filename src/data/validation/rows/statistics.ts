/** Collects the statistics of good rows for the report: roles, turns, characters, tools, weights and labels. */
import type { PlainRow } from "../fast-path/plain-row.ts";
import type { Report } from "./report.ts";
import { createSpread } from "./spread.ts";
import { isPair, isText, type Message, type Row } from "./types.ts";

type RowStatistics = Pick<
  Report,
  "roles" | "turns" | "characters" | "rows_with_tools" | "tool_calls" | "untrained_turns" | "labels"
>;

export function createStatistics() {
  const turns = createSpread();
  const characters = createSpread();
  const roles = { system: 0, user: 0, assistant: 0, tool: 0 };
  let rowsWithTools = 0;
  let toolCalls = 0;
  let untrained = 0;
  let good = 0;
  let bad = 0;

  /** Counts turns; returns their characters. */
  function addTurns(messages: Message[]): number {
    let length = 0;
    for (const message of messages) {
      roles[message.role]++;
      length += message.content.length + (message.reasoning_content?.length ?? 0);
      if (message.tool_calls) toolCalls += message.tool_calls.length;
      if (message.weight === 0) untrained++;
    }
    return length;
  }

  return {
    add(row: Row) {
      if (isText(row)) {
        turns.add(0);
        characters.add(row.text.length);
        return;
      }
      let count = row.messages.length;
      let length = addTurns(row.messages);
      if (isPair(row)) {
        // The model reads the prompt with one answer at a time, so the longer answer gives the length of the row.
        count += Math.max(row.chosen.length, row.rejected.length);
        length += Math.max(addTurns(row.chosen), addTurns(row.rejected));
      } else if ("label" in row) {
        if (row.label) good++;
        else bad++;
      }
      if (row.tools) rowsWithTools++;
      turns.add(count);
      characters.add(length);
    },
    addPlain(row: PlainRow) {
      roles.system += row.system;
      roles.user += row.user;
      roles.assistant += row.assistant;
      turns.add(row.system + row.user + row.assistant - row.alternatives);
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
        ...(good + bad > 0 ? { labels: { good, bad } } : {}),
      };
    },
  };
}
