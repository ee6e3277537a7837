/** The `cosine` metric: the angle between the embeddings of two texts, by the model that the installation names. */
import { AppError } from "../errors.ts";
import { type Ask, type Judgement, requestAnswer } from "./judge.ts";

export const NO_EMBEDDING_MODEL =
  "cosine compares embeddings, and this installation names no model for them (setting embedding_model). Use fuzzy_match, bleu, gleu, meteor or rouge, or ask your administrator.";

/** Bytes of a reply with two embeddings; the widest models have about 16,000 numbers each. */
const REPLY_BYTES = 4 * 1024 * 1024;

interface EmbeddingReply {
  model?: unknown;
  usage?: { prompt_tokens?: number };
  data?: { embedding?: unknown }[];
}

const isVector = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === "number" && Number.isFinite(each));

function cosineOf(a: number[], b: number[]): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (const [at, x] of a.entries()) {
    const y = b[at] ?? 0;
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa === 0 || bb === 0 ? 0 : dot / Math.sqrt(aa * bb);
}

/** Similarity of two texts, 0 (unrelated or opposite) to 1 (equal). An empty text is only similar to an empty one. */
export async function askCosine(
  model: string,
  input: string,
  reference: string,
  ask: Ask,
  signal: AbortSignal,
): Promise<Judgement<number>> {
  const usage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0, cached_tokens: 0 };
  if (input === "" || reference === "") return { value: input === reference ? 1 : 0, fault: null, usage, model };
  const body = { model, input: [input, reference], encoding_format: "float" };
  try {
    const send = (stop: AbortSignal) => ask("embeddings", body, stop);
    const reply = await requestAnswer<EmbeddingReply>(send, REPLY_BYTES, signal);
    usage.prompt_tokens = reply.usage?.prompt_tokens ?? 0;
    usage.total_tokens = usage.prompt_tokens;
    const [a, b] = (reply.data ?? []).map(({ embedding }) => embedding);
    if (!isVector(a) || !isVector(b) || a.length !== b.length)
      throw new AppError("unavailable", "engine_failed", "The model's engine returned no embeddings.");
    return { value: Math.min(1, Math.max(0, cosineOf(a, b))), fault: null, usage, model };
  } catch (error) {
    signal.throwIfAborted();
    // A rate limit of the caller is not an error of the grader: the caller sends the whole request again later.
    if (!(error instanceof AppError) || error.kind === "rate_limited") throw error;
    return { value: null, fault: { kind: "server", message: error.message }, usage, model };
  }
}
