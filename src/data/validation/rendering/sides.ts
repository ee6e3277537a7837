/** The conversations that a row is trained as: one, or the two sides of a preference pair. */
import type { RowType } from "../../../contract/spec.ts";
import { isPair, type Message, type Row } from "../rows/types.ts";

export interface Side {
  messages: Message[];
  /** Indexes of the assistant turns in the loss, in order. */
  trained: number[];
  /** The field of a message, such as `chosen[0]`. */
  pathOf(turn: number): string;
}

type Conversation = Exclude<Row, { text: string }>;

/** Indexes of the assistant turns that `counts` accepts. */
const answers = (messages: Message[], counts: (turn: Message, index: number) => boolean): number[] =>
  messages.flatMap((turn, index) => (turn.role === "assistant" && counts(turn, index) ? [index] : []));

/** The sides of a conversation row, as the trainer's rows.py reads them. */
export function sidesOf(row: Conversation, type: RowType): Side[] {
  const prompt = row.messages;
  if (isPair(row))
    return (["chosen", "rejected"] as const).map((name) => {
      const messages = [...prompt, ...row[name]];
      return {
        messages,
        trained: answers(messages, (_turn, index) => index >= prompt.length),
        pathOf: (turn) => (turn < prompt.length ? `messages[${turn}]` : `${name}[${turn - prompt.length}]`),
      };
    });
  const pathOf = (turn: number) => `messages[${turn}]`;
  if (type === "prompt") return [{ messages: prompt, trained: [], pathOf }];
  if (type === "unpaired") return [{ messages: prompt, trained: answers(prompt, () => true).slice(-1), pathOf }];
  return [{ messages: prompt, trained: answers(prompt, (turn) => turn.weight !== 0), pathOf }];
}

/** Whether a message has something to say. */
export const speaks = ({ content, reasoning_content: reasoning, tool_calls: calls }: Message): boolean =>
  content.trim() !== "" || Boolean(reasoning) || Boolean(calls?.length);
