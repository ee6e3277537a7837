/**
 * Reads a preference row by its mapping: a prompt and two answers, two complete conversations, or several answers with
 * scores, of which the best and the worst become the pair.
 */
import { isObject, type JsonObject, type Open, readMessages } from "../rows/chat.ts";
import { type Part, pairRow, splitConversations } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { Checked, Message, PreferenceRow } from "../rows/types.ts";
import type { Mapping } from "./model.ts";
import { promptTurns } from "./read-prompt.ts";
import { fromJsonText } from "./turns.ts";
import { isBlank, isMissing, type Reading, type ReadTurns, turnsOf, valueAt } from "./values.ts";

/** An answer: its value in the row and its field. */
interface Answer {
  value: unknown;
  path: string;
}

const numberOf = (value: unknown): number | null => {
  const number = isBlank(value) || typeof value === "boolean" ? Number.NaN : Number(value);
  return Number.isFinite(number) ? number : null;
};

const TEXT_FIELDS = ["response", "text", "content", "completion", "output", "answer", "value", "message"];
const SCORE_FIELDS = ["score", "overall_score", "rating", "reward", "rank_score", "helpfulness"];

/** The text of one of several answers: a text, a turn, or an object that also has its score. */
const answerIn = (each: unknown): unknown => {
  if (!isObject(each) || "role" in each || "from" in each) return each;
  const name = TEXT_FIELDS.find((field) => field in each);
  return name === undefined ? each : each[name];
};

/** The score that an answer has itself, as in UltraFeedback; of ranks, the first is the best. Undefined without one. */
function ownScore(each: unknown): unknown {
  if (!isObject(each)) return undefined;
  const name = SCORE_FIELDS.find((field) => numberOf(each[field]) !== null);
  if (name) return each[name];
  const rank = numberOf(each.rank);
  return rank === null ? undefined : -rank;
}

/** The answers with the best and the worst score. Null after reporting an error. */
function bestAndWorst(row: JsonObject, mapping: Mapping, problems: Problems): [Answer, Answer] | null {
  const { responses: path = "responses", scores: scorePath } = mapping;
  const answers = fromJsonText(valueAt(row, path));
  if (!Array.isArray(answers) || answers.length < 2) {
    problems.add(answers === undefined ? "missing_field" : "wrong_type", path, answers, "expected two or more answers");
    return null;
  }
  const listed = fromJsonText(valueAt(row, scorePath));
  const scores = (scorePath ? (Array.isArray(listed) ? listed : []) : answers.map(ownScore)).map(numberOf);
  if (scores.length !== answers.length || scores.includes(null)) {
    problems.add("bad_scores", scorePath ?? path, listed ?? scores, `${answers.length} answers`);
    return null;
  }
  const numbers = scores as number[];
  const highest = numbers.reduce((a, b) => Math.max(a, b));
  const lowest = numbers.reduce((a, b) => Math.min(a, b));
  const [best, worst] = [highest, lowest].map((score) => numbers.indexOf(score));
  if (best === worst || best === undefined || worst === undefined) {
    problems.add("same_scores", scorePath ?? path, numbers);
    return null;
  }
  if (answers.length > 2) problems.add("best_and_worst", path, numbers, `${answers.length} answers`);
  const answer = (at: number): Answer => ({ value: answerIn(answers[at]), path: `${path}[${at}]` });
  return [answer(best), answer(worst)];
}

/** The better and the worse answer of a row. Scores that contradict the fields decide, which is reported. */
function answersOf(row: JsonObject, mapping: Mapping, problems: Problems): [Answer, Answer] | null {
  if (mapping.responses) return bestAndWorst(row, mapping, problems);
  const { chosen = "chosen", rejected = "rejected" } = mapping;
  const better = { value: valueAt(row, chosen), path: chosen };
  const worse = { value: valueAt(row, rejected), path: rejected };
  const [up, down] = [mapping.score_chosen, mapping.score_rejected].map((field) => numberOf(valueAt(row, field)));
  if (typeof up !== "number" || typeof down !== "number" || up >= down) return [better, worse];
  problems.add("scores_swapped", mapping.score_chosen, up, `${up} is below ${down}`);
  return [worse, better];
}

/** The answers without the prompt at their beginning, when both begin with it. */
function withoutPrompt(prompt: unknown, pair: [Answer, Answer], problems: Problems): [Answer, Answer] {
  const [a, b] = pair.map(({ value }) => value);
  const isRepeated = (text: unknown): text is string =>
    typeof prompt === "string" && prompt !== "" && typeof text === "string" && text.startsWith(prompt);
  if (!isRepeated(a) || !isRepeated(b)) return pair;
  problems.add("prompt_repeated", pair[0].path, a);
  const rest = (text: string) => text.slice((prompt as string).length).trimStart();
  return [
    { ...pair[0], value: rest(a) },
    { ...pair[1], value: rest(b) },
  ];
}

/** The messages of turns. A text at their end stays as it is: a blank prompt or answer is an error of its own. */
function messagesOf({ turns, isText }: ReadTurns, path: string, problems: Problems, open: Open) {
  if (!isText) return readMessages(turns, path, problems, open);
  const before = readMessages(turns.slice(0, -1), path, problems, open);
  return before && { messages: [...before.messages, ...(turns.slice(-1) as Message[])], same: false };
}

function readAnswer({ value, path }: Answer, open: Open, problems: Problems, reading: Reading): Part {
  if (isMissing(value)) {
    problems.add("missing_field", path, value, `every row needs "${path}"`);
    return { turns: null, path };
  }
  const read = turnsOf(value, "assistant", path, problems, reading);
  if (!read) return { turns: null, path };
  return { turns: messagesOf(read, path, problems, [...open]), path, isOne: read.isOne };
}

/** True for a complete conversation, which does not begin with the answer. */
const isConversation = ({ turns }: Part): boolean => {
  const role = turns?.messages[0]?.role;
  return role === "user" || role === "system";
};

const equal = (a: Message | undefined, b: Message | undefined) => a?.role === b?.role && a?.content === b?.content;

/**
 * The prompt of two complete conversations: their common beginning. A prompt field that ends with it and has more in
 * front, such as a system turn, is used instead; one that says something else is reported.
 */
function sharedPrompt(shared: Part, own: Part | null, problems: Problems): Part {
  const [common, given] = [shared.turns?.messages ?? [], own?.turns?.messages ?? []];
  if (!own || given.length === 0 || problems.rowErrors() > 0) return shared;
  const extra = given.length - common.length;
  if (extra >= 0 && common.every((turn, at) => equal(turn, given[extra + at]))) return own;
  const said = new Set(common.map(({ content }) => content));
  const system = given.filter(({ role }) => role === "system");
  if (given.some(({ role, content }) => role !== "system" && !said.has(content)))
    problems.add("ignored_field", own.path, given, "the conversations do not begin with it");
  else if (system.length > 0 && common[0]?.role !== "system")
    return { ...shared, turns: { messages: [...system, ...common], same: false }, from: -system.length };
  return shared;
}

/** The canonical preference row, or null after reporting an error. */
export function readPreference(
  row: JsonObject,
  mapping: Mapping,
  problems: Problems,
  json = true,
): Checked<PreferenceRow> | null {
  const field = mapping.prompt ?? mapping.messages;
  const hasPrompt = field !== undefined && !isMissing(valueAt(row, field));
  const found = answersOf(row, mapping, problems);
  if (!found) return null;
  const pair = mapping.repeated_prompt === "remove" ? withoutPrompt(valueAt(row, field), found, problems) : found;
  const open: Open = [];
  let prompt: Part | null = null;
  if (hasPrompt) {
    const read = promptTurns(row, mapping, problems, json);
    if (!read) return null;
    const isOne = read.isOne && read.turns.length - read.before <= 1;
    const turns = messagesOf(read, read.path, problems, open);
    prompt = { turns, path: read.path, isOne, from: -read.before };
  }
  const reading = { json, transcript: !hasPrompt, row };
  const chosen = readAnswer(pair[0], open, problems, reading);
  const rejected = readAnswer(pair[1], open, problems, reading);
  const tools = valueAt(row, mapping.tools);
  const toolsPath = mapping.tools ?? "tools";
  if (isConversation(chosen) || isConversation(rejected)) {
    const { shared: _, ...parts } = splitConversations(chosen, rejected);
    return pairRow({ ...parts, prompt: sharedPrompt(parts.prompt, prompt, problems) }, tools, toolsPath, problems);
  }
  const none: Part = { turns: { messages: [], same: false }, path: field ?? "prompt" };
  return pairRow({ prompt: prompt ?? none, chosen, rejected }, tools, toolsPath, problems);
}
