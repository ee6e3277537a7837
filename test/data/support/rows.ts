/** Turns and rows of every type, for the tests of row types. */
import { chatLine } from "../../support/datasets.ts";

export type Json = Record<string, unknown>;
export const user = (content: unknown) => ({ role: "user", content });
export const says = (content: unknown) => ({ role: "assistant", content });
export const human = { from: "human", value: "2+2?" };
export const gpt = (value: string) => ({ from: "gpt", value });
export const result = { role: "tool", content: "4", tool_call_id: "c1" };

/** A good row by its number, of each kind. */
export const LINES: Record<string, (n: number) => Json> = {
  openai: (n) => ({
    input: { messages: [user(`q ${n}`)] },
    preferred_output: [says(`good ${n}`)],
    non_preferred_output: [says(`bad ${n}`)],
  }),
  trl: (n) => ({ prompt: `q ${n}`, chosen: `good ${n}`, rejected: `bad ${n}` }),
  sharegpt: (n) => ({ conversations: [human], chosen: gpt(`good ${n}`), rejected: gpt(`bad ${n}`) }),
  marked: (n) => ({ messages: [user(`q ${n}`), says(`answer ${n}`)], label: n % 3 > 0 }),
  text: (n) => ({ text: `Text number ${n}.` }),
  chat: (n) => JSON.parse(chatLine(n)) as Json,
};
/** The first `count` good rows of a kind, as lines of JSON. */
export const linesOf = (kind: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => JSON.stringify(LINES[kind]?.(n + 1)));
