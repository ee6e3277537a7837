/**
 * Makes preference rows of a prompt and two answers, or of two conversations that begin alike, and says what is wrong
 * with them.
 */
import type { Turns } from "./chat.ts";
import type { Problems } from "./problems.ts";
import { checkTools } from "./tools.ts";
import type { Checked, Message, PreferenceRow } from "./types.ts";

/** Turns that were read, and where they stand. */
export interface Part {
  turns: Turns | null;
  /** The field. */
  path: string;
  /** The field is one text or turn, so turns in it have no place of their own. */
  isOne?: boolean;
  /** Place of the first turn in the field's list; -1 when it comes from another field, such as `system`. */
  from?: number;
}

const place = ({ path, isOne, from = 0 }: Part, index: number) => (isOne ? path : `${path}[${from + index}]`);

/** Two turns are the same when all but their training marks is. */
const sameTurn = (a: Message | undefined, b: Message | undefined): boolean =>
  a !== undefined &&
  b !== undefined &&
  a.content === b.content &&
  JSON.stringify({ ...a, weight: undefined }) === JSON.stringify({ ...b, weight: undefined });

/** Turns without `weight`: outside chat rows an answer counts whole, so a 0 on it is worth a word. */
export function unweighted(messages: Message[], { path }: Part, problems: Problems, isAnswer: boolean): Message[] {
  if (messages.every((turn) => turn.weight === undefined)) return messages;
  return messages.map(({ weight, ...turn }) => {
    if (isAnswer && weight === 0) problems.add("weight_unused", path, weight);
    return turn;
  });
}

/** What is wrong with a prompt: nothing to answer, or an answer of its own at the end. */
function checkPrompt(messages: Message[], part: Part, problems: Problems): void {
  const last = messages.at(-1);
  if (!last || (part.isOne && last.content.trim() === "")) problems.add("no_prompt", part.path, last?.content);
  else if (last.role === "assistant") problems.add("prompt_answered", place(part, messages.length - 1), last.content);
}

function checkAnswer(messages: Message[], part: Part, problems: Problems): void {
  const others = messages.findIndex(({ role }) => role !== "assistant" && role !== "tool");
  if (others >= 0) {
    problems.add("answer_role", `${place(part, others)}.role`, messages[others]?.role);
    return;
  }
  const said = messages.some((turn) => turn.role === "assistant" && (turn.content.trim() !== "" || turn.tool_calls));
  if (!said) problems.add("no_answer", part.path, messages);
}

/**
 * The canonical row of a prompt and two answers.
 * @param tools raw tool definitions at `toolsPath`
 * @returns null after noting why there is none
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
  // Conversations that share nothing have no answers to speak of.
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
 * Parts two whole conversations where they begin to differ. The prompt ends before the first answer that is not shared,
 * so shared turns of the assistant right before that place belong to both answers.
 */
export function partConversations(
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
