/**
 * Builds preference rows from a prompt and two answers, or from two conversations with the same beginning, and reports
 * their faults.
 */
import type { Turns } from "./chat.ts";
import type { Problems } from "./problems.ts";
import { checkTools } from "./tools.ts";
import type { Checked, Message, PreferenceRow } from "./types.ts";

/** Turns that were read, and the field they come from. */
export interface Part {
  turns: Turns | null;
  /** The field. */
  path: string;
  /** The field is a single text or turn, so its path has no index. */
  isOne?: boolean;
  /** Index of the first turn in the field's list; -1 when that turn comes from another field, such as `system`. */
  from?: number;
}

const pathOf = ({ path, isOne, from = 0 }: Part, index: number) => (isOne ? path : `${path}[${from + index}]`);

/** True when two turns differ at most in `weight`. */
const sameTurn = (a: Message | undefined, b: Message | undefined): boolean =>
  a !== undefined &&
  b !== undefined &&
  a.content === b.content &&
  JSON.stringify({ ...a, weight: undefined }) === JSON.stringify({ ...b, weight: undefined });

/** The turns without `weight`. Outside chat rows every answer counts fully, so a weight of 0 on one is reported. */
export function unweighted(messages: Message[], { path }: Part, problems: Problems, isAnswer: boolean): Message[] {
  if (messages.every((turn) => turn.weight === undefined)) return messages;
  return messages.map(({ weight, ...turn }) => {
    if (isAnswer && weight === 0) problems.add("weight_unused", path, weight);
    return turn;
  });
}

/** Reports a prompt that is empty or that ends with an answer. */
function checkPrompt(messages: Message[], part: Part, problems: Problems): void {
  const last = messages.at(-1);
  if (!last || (part.isOne && last.content.trim() === "")) problems.add("no_prompt", part.path, last?.content);
  else if (last.role === "assistant") problems.add("prompt_answered", pathOf(part, messages.length - 1), last.content);
}

function checkAnswer(messages: Message[], part: Part, problems: Problems): void {
  const others = messages.findIndex(({ role }) => role !== "assistant" && role !== "tool");
  if (others >= 0) {
    problems.add("answer_role", `${pathOf(part, others)}.role`, messages[others]?.role);
    return;
  }
  const answered = messages.some(
    (turn) => turn.role === "assistant" && (turn.content.trim() !== "" || turn.tool_calls),
  );
  if (!answered) problems.add("no_answer", part.path, messages);
}

/**
 * The canonical row of a prompt and two answers.
 * @param tools raw tool definitions at `toolsPath`
 * @returns null when the row has errors, which were reported
 */
export function pairRow(
  parts: { prompt: Part; chosen: Part; rejected: Part },
  tools: unknown,
  toolsPath: string,
  problems: Problems,
): Checked<PreferenceRow> | null {
  const list = tools === undefined || tools === null ? [] : checkTools(tools, toolsPath, problems);
  const [prompt, chosen, rejected] = [parts.prompt.turns, parts.chosen.turns, parts.rejected.turns];
  if (!list || !prompt || !chosen || !rejected || problems.rowErrors() > 0) return null;
  checkPrompt(prompt.messages, parts.prompt, problems);
  // Conversations without a common beginning have no prompt, so their answers need no check.
  if (problems.rowErrors() > 0) return null;
  checkAnswer(chosen.messages, parts.chosen, problems);
  checkAnswer(rejected.messages, parts.rejected, problems);
  if (problems.rowErrors() > 0) return null;
  const row: PreferenceRow = {
    messages: unweighted(prompt.messages, parts.prompt, problems, false),
    ...(list.length > 0 ? { tools: list } : {}),
    chosen: unweighted(chosen.messages, parts.chosen, problems, true),
    rejected: unweighted(rejected.messages, parts.rejected, problems, true),
  };
  if (row.chosen.length === row.rejected.length && row.chosen.every((turn, n) => sameTurn(turn, row.rejected[n]))) {
    problems.add("same_answers", parts.rejected.path, row.rejected.at(-1)?.content);
    return null;
  }
  return { row, same: false };
}

/**
 * Splits two complete conversations where they start to differ: the common beginning is the prompt. Common assistant
 * turns right before the difference belong to both answers.
 */
export function splitConversations(
  chosen: Part,
  rejected: Part,
): { prompt: Part; chosen: Part; rejected: Part; shared: Message[] } {
  const [a, b] = [chosen.turns?.messages ?? [], rejected.turns?.messages ?? []];
  let shared = 0;
  while (shared < Math.min(a.length, b.length) && sameTurn(a[shared], b[shared])) shared++;
  let end = shared;
  while (a[end - 1]?.role === "assistant") end--;
  const rest = (part: Part, messages: Message[]): Part => ({
    ...part,
    from: end,
    turns: part.turns && { messages: messages.slice(end), same: false },
  });
  const prompt = { turns: { messages: a.slice(0, end), same: false }, path: chosen.path };
  return { prompt, chosen: rest(chosen, a), rejected: rest(rejected, b), shared: a.slice(0, end) };
}
