/** Graders that ask a model: the conversation sent to it, its answer as strict JSON, and a bounded number of tries. */
import type { Actor } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { readUpTo } from "../lib/body.ts";
import type { GraderMessage, LabelModelGrader, ScoreModelGrader, TokenUsage } from "./model.ts";
import type { Filling } from "./template.ts";

/** Sends a chat completion the way clients do and gives its answer; throws the AppErrors clients get. */
export type Ask = (body: Record<string, unknown>, signal: AbortSignal) => Promise<Response>;

/** Asks a model as `actor`, the way that person's own requests do: same rights, same limits, same usage rows. */
export type AskAs = (actor: Actor, ...rest: Parameters<Ask>) => ReturnType<Ask>;

/** Times a model is asked until its answer can be read. */
const TRIES = 3;
/** Waking a model and answering; longer is given up. */
const ANSWER_MS = 5 * 60_000;
/** Tokens of an answer unless the grader says. */
const MAX_TOKENS = 512;
/** Characters of an answer that are looked at, for each token asked for; more than any tokenizer has on average. */
const CHARS_PER_TOKEN = 8;
/** Bytes of an engine's reply for each character of its answer, and beside them: escapes, and what else is told. */
const BYTES_PER_CHAR = 6;
const REPLY_BYTES = 100_000;

/** What came of asking. `value`: a score or a label; null where `fault` says why there is none. */
export interface Judgement<T> {
  value: T | null;
  fault: { kind: "server" | "refusal" | "parse"; message: string } | null;
  usage: TokenUsage;
  /** The model as it names itself in answers. */
  model: string;
}

interface ChatMessage {
  role: string;
  content: string;
}

/** The text of one message with its templates filled in. */
function textOf(content: GraderMessage["content"], filling: Filling): string {
  const parts = Array.isArray(content) ? content : [content];
  return parts
    .map((part) => {
      const text = typeof part === "string" ? part : "text" in part ? String(part.text) : "";
      return filling.fill(text);
    })
    .join("\n");
}

/** The conversation for the model, the demand for JSON at its end. @throws TemplateError */
function conversation(input: GraderMessage[], demand: string, filling: Filling): ChatMessage[] {
  const messages = input.map(({ role, content }) => ({
    // Templates of open models know no developer.
    role: role === "developer" ? "system" : role,
    content: textOf(content, filling),
  }));
  const last = messages.at(-1);
  if (last?.role === "user") last.content += `\n\n${demand}`;
  else messages.push({ role: "user", content: demand });
  return messages;
}

interface Reply {
  model?: unknown;
  usage?: { prompt_tokens?: number; completion_tokens?: number; prompt_tokens_details?: { cached_tokens?: number } };
  choices?: { message?: { content?: unknown; refusal?: unknown }; finish_reason?: string }[];
  error?: { message?: unknown };
}

/** The text of a reply, and nothing beyond `most` bytes of it. */
async function textWithin(reply: Response, most: number): Promise<string> {
  const { bytes } = await readUpTo(reply.body, most);
  return new TextDecoder().decode(bytes);
}

async function asked(ask: Ask, body: Record<string, unknown>, most: number, signal: AbortSignal): Promise<Reply> {
  const stop = new AbortController();
  const leave = () => stop.abort();
  // A timer that is taken back: AbortSignal.timeout would live on for its whole time.
  const timer = setTimeout(leave, ANSWER_MS);
  signal.addEventListener("abort", leave, { once: true });
  let reply: Response;
  let text: string;
  try {
    signal.throwIfAborted();
    reply = await ask(body, stop.signal);
    text = await textWithin(reply, REPLY_BYTES + most * BYTES_PER_CHAR);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", leave);
  }
  signal.throwIfAborted();
  if (stop.signal.aborted)
    throw new AppError("unavailable", "engine_timeout", `No answer within ${ANSWER_MS / 60_000} minutes.`);
  let parsed: Reply;
  try {
    parsed = JSON.parse(text) as Reply;
  } catch (cause) {
    throw new AppError("unavailable", "engine_failed", `The model's engine answered ${reply.status} without JSON.`, {
      cause,
    });
  }
  if (reply.ok) return parsed;
  const said = typeof parsed.error?.message === "string" ? parsed.error.message : `it answered ${reply.status}`;
  throw new AppError("unavailable", "engine_refused", `The model's engine refused the request: ${said}`);
}

type Read<T> = { value: T } | { problem: string };

/** What a grader wants of the model beyond its messages. */
interface Wanted<T> {
  demand: string;
  /** The value in an answer, or why it holds none. */
  read: (answer: string) => Read<T>;
}

async function judge<T>(
  grader: ScoreModelGrader | LabelModelGrader,
  { demand, read }: Wanted<T>,
  filling: Filling,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<T>> {
  const usage: TokenUsage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0, cached_tokens: 0 };
  const messages = conversation(grader.input, demand, filling);
  const { max_completions_tokens, ...given } = grader.sampling_params ?? {};
  const tokens = max_completions_tokens ?? MAX_TOKENS;
  const longest = tokens * CHARS_PER_TOKEN;
  const sampling = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
  let model = grader.model;
  const fault = (kind: "server" | "refusal" | "parse", message: string): Judgement<T> => ({
    value: null,
    fault: { kind, message },
    usage,
    model,
  });
  let problem = "";
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    let reply: Reply;
    try {
      const body = { model: grader.model, messages, ...sampling, max_completion_tokens: tokens };
      reply = await asked(ask, body, longest, signal);
    } catch (error) {
      signal.throwIfAborted();
      // A limit on the asker is not the grader's fault: the whole request is to be sent again later.
      if (error instanceof AppError && error.kind !== "rate_limited") return fault("server", error.message);
      throw error;
    }
    if (typeof reply.model === "string") model = reply.model;
    usage.prompt_tokens += reply.usage?.prompt_tokens ?? 0;
    usage.completion_tokens += reply.usage?.completion_tokens ?? 0;
    usage.cached_tokens += reply.usage?.prompt_tokens_details?.cached_tokens ?? 0;
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    const choice = reply.choices?.[0];
    const refusal = choice?.message?.refusal;
    if (typeof refusal === "string" && refusal) return fault("refusal", refusal.slice(0, 500));
    if (choice?.finish_reason === "content_filter") return fault("refusal", "The model's answer was held back.");
    const answer = typeof choice?.message?.content === "string" ? choice.message.content.slice(0, longest) : "";
    const found = read(answer);
    if ("value" in found) return { value: found.value, fault: null, usage, model };
    problem = `${found.problem}. It answered: ${answer.slice(0, 300) || "nothing"}`;
    messages.push(
      { role: "assistant", content: answer.slice(0, 2000) || "(nothing)" },
      { role: "user", content: `That cannot be read: ${found.problem}. ${demand}` },
    );
  }
  return fault("parse", `After ${TRIES} tries: ${problem}`);
}

const FENCE = "```";

/** The JSON of an answer, a fence of code around it taken off; undefined when it is not JSON. */
function jsonOf(answer: string): unknown {
  let text = answer.trim();
  if (text.length >= 2 * FENCE.length && text.startsWith(FENCE) && text.endsWith(FENCE)) {
    text = text.slice(FENCE.length, -FENCE.length);
    if (text.startsWith("json")) text = text.slice("json".length);
  }
  try {
    return JSON.parse(text.trim()) as unknown;
  } catch {
    return undefined;
  }
}

const field = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && name in value ? (value as Record<string, unknown>)[name] : value;

/** Asks for a score within the grader's range. @throws TemplateError */
export function askScore(
  grader: ScoreModelGrader,
  filling: Filling,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<number>> {
  const [low = 0, high = 1] = grader.range ?? [0, 1];
  const demand = `Answer with JSON alone, nothing before or after it: {"result": NUMBER}, where NUMBER is from ${low} to ${high}.`;
  const read = (answer: string): Read<number> => {
    const value = field(jsonOf(answer), "result");
    if (typeof value !== "number" || !Number.isFinite(value))
      return { problem: 'it is no JSON of the form {"result": NUMBER}' };
    if (value < low || value > high) return { problem: `${value} is not from ${low} to ${high}` };
    return { value };
  };
  return judge(grader, { demand, read }, filling, ask, signal);
}

/** Asks for one of the grader's labels. @throws TemplateError */
export function askLabel(
  grader: LabelModelGrader,
  filling: Filling,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<string>> {
  const labels = JSON.stringify(grader.labels);
  const demand = `Answer with JSON alone, nothing before or after it: {"label": LABEL}, where LABEL is one of ${labels}.`;
  const read = (answer: string): Read<string> => {
    const value = field(jsonOf(answer), "label") ?? answer.trim();
    if (typeof value === "string" && grader.labels.includes(value)) return { value };
    return { problem: `it is no JSON of the form {"label": LABEL} with one of ${labels}` };
  };
  return judge(grader, { demand, read }, filling, ask, signal);
}
