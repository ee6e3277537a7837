/** Graders that ask a model: the conversation, the answer parsed as strict JSON, and a bounded number of tries. */
import type { Actor } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { readUpTo } from "../lib/body.ts";
import type { GraderMessage, LabelModelGrader, ScoreModelGrader, TokenUsage } from "./model.ts";
import type { Filling } from "./template.ts";

/** Sends a request to a model the way clients do; throws the AppErrors that clients get. */
export type Ask = (
  endpoint: "chat/completions" | "embeddings",
  body: Record<string, unknown>,
  signal: AbortSignal,
) => Promise<Response>;

/** The same on behalf of `actor`: with that person's permissions, limits and usage rows. */
export type AskAs = (actor: Actor, ...rest: Parameters<Ask>) => ReturnType<Ask>;

/** Tries until an answer can be parsed. */
const TRIES = 3;
/** Timeout of one try, including the start of the model. */
const ANSWER_MS = 5 * 60_000;
/** Tokens of an answer unless the grader sets a limit. */
const MAX_TOKENS = 512;
/** Characters of an answer that are read per requested token; more than any tokenizer has on average. */
const CHARS_PER_TOKEN = 8;
/** Bytes of an engine's reply per character of the answer (escapes), and the bytes of all other fields. */
const BYTES_PER_CHAR = 6;
const REPLY_BYTES = 100_000;

/** The outcome of asking a model. `value`: a score or a label; null where `fault` has the reason. */
export interface Judgement<T> {
  value: T | null;
  fault: { kind: "server" | "refusal" | "parse"; message: string } | null;
  usage: TokenUsage;
  /** The model's name in its own answers. */
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

/** The conversation for the model, with the instruction to answer in JSON at the end. @throws TemplateError */
function conversation(input: GraderMessage[], instruction: string, filling: Filling): ChatMessage[] {
  const messages = input.map(({ role, content }) => ({
    // Chat templates of open models have no developer role.
    role: role === "developer" ? "system" : role,
    content: textOf(content, filling),
  }));
  const last = messages.at(-1);
  if (last?.role === "user")
    last.content += `

${instruction}`;
  else messages.push({ role: "user", content: instruction });
  return messages;
}

interface Reply {
  model?: unknown;
  usage?: { prompt_tokens?: number; completion_tokens?: number; prompt_tokens_details?: { cached_tokens?: number } };
  choices?: { message?: { content?: unknown; refusal?: unknown }; finish_reason?: string }[];
  error?: { message?: unknown };
}

/** The text of a reply, cut after `maxBytes` bytes. */
async function readText(reply: Response, maxBytes: number): Promise<string> {
  const { bytes } = await readUpTo(reply.body, maxBytes);
  return new TextDecoder().decode(bytes);
}

/**
 * The JSON of a model's answer.
 * @param call sends the request
 * @param maxBytes bytes of the answer that are read
 * @throws AppError for every answer that is not JSON, or an error
 */
export async function requestAnswer<T extends Reply>(
  call: (signal: AbortSignal) => Promise<Response>,
  maxBytes: number,
  signal: AbortSignal,
): Promise<T> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  // A timer that can be cleared: AbortSignal.timeout would stay alive until it fires.
  const timer = setTimeout(abort, ANSWER_MS);
  signal.addEventListener("abort", abort, { once: true });
  let reply: Response;
  let text: string;
  try {
    signal.throwIfAborted();
    reply = await call(stop.signal);
    text = await readText(reply, maxBytes);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
  signal.throwIfAborted();
  if (stop.signal.aborted)
    throw new AppError(
      "unavailable",
      "engine_timeout",
      `The model did not answer within ${ANSWER_MS / 60_000} minutes.`,
    );
  let parsed: T;
  try {
    parsed = JSON.parse(text) as T;
  } catch (cause) {
    throw new AppError("unavailable", "engine_failed", `The model's engine answered ${reply.status} without JSON.`, {
      cause,
    });
  }
  if (reply.ok) return parsed;
  const reason = typeof parsed.error?.message === "string" ? parsed.error.message : `it answered ${reply.status}`;
  throw new AppError("unavailable", "engine_refused", `The model's engine refused the request: ${reason}`);
}

type Parsed<T> = { value: T } | { problem: string };

/** The answer that a grader expects. */
interface Expected<T> {
  /** Instruction to answer in JSON. */
  instruction: string;
  /** The value in an answer, or why there is none. */
  parse: (answer: string) => Parsed<T>;
}

async function judge<T>(
  grader: ScoreModelGrader | LabelModelGrader,
  { instruction, parse }: Expected<T>,
  filling: Filling,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<T>> {
  const usage: TokenUsage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0, cached_tokens: 0 };
  const messages = conversation(grader.input, instruction, filling);
  const { max_completions_tokens, ...given } = grader.sampling_params ?? {};
  const tokens = max_completions_tokens ?? MAX_TOKENS;
  const maxChars = tokens * CHARS_PER_TOKEN;
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
      const maxBytes = REPLY_BYTES + maxChars * BYTES_PER_CHAR;
      reply = await requestAnswer((stop) => ask("chat/completions", body, stop), maxBytes, signal);
    } catch (error) {
      signal.throwIfAborted();
      // A rate limit of the caller is not an error of the grader: the caller sends the whole request again later.
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
    if (choice?.finish_reason === "content_filter")
      return fault("refusal", "The model's answer was withheld by a content filter.");
    const answer = typeof choice?.message?.content === "string" ? choice.message.content.slice(0, maxChars) : "";
    const found = parse(answer);
    if ("value" in found) return { value: found.value, fault: null, usage, model };
    problem = `${found.problem}. The answer was: ${answer.slice(0, 300) || "(empty)"}`;
    messages.push(
      { role: "assistant", content: answer.slice(0, 2000) || "(empty)" },
      { role: "user", content: `That answer cannot be parsed: ${found.problem}. ${instruction}` },
    );
  }
  return fault("parse", `After ${TRIES} tries: ${problem}`);
}

const FENCE = "```";

/** The JSON of an answer without a code fence around it; undefined when it is not JSON. */
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
  const instruction = `Answer with JSON alone, nothing before or after it: {"result": NUMBER}, where NUMBER is from ${low} to ${high}.`;
  const parse = (answer: string): Parsed<number> => {
    const value = field(jsonOf(answer), "result");
    if (typeof value !== "number" || !Number.isFinite(value))
      return { problem: 'it is not JSON of the form {"result": NUMBER}' };
    if (value < low || value > high) return { problem: `${value} is not between ${low} and ${high}` };
    return { value };
  };
  return judge(grader, { instruction, parse }, filling, ask, signal);
}

/** Asks for one of the grader's labels. @throws TemplateError */
export function askLabel(
  grader: LabelModelGrader,
  filling: Filling,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<string>> {
  const labels = JSON.stringify(grader.labels);
  const instruction = `Answer with JSON alone, nothing before or after it: {"label": LABEL}, where LABEL is one of ${labels}.`;
  const parse = (answer: string): Parsed<string> => {
    const value = field(jsonOf(answer), "label") ?? answer.trim();
    if (typeof value === "string" && grader.labels.includes(value)) return { value };
    return { problem: `it is not JSON of the form {"label": LABEL} with one of ${labels}` };
  };
  return judge(grader, { instruction, parse }, filling, ask, signal);
}
