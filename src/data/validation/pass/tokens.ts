/** Counts the tokens of canonical rows with the tokenizer and chat template of a base model. Runs in a worker. */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import type { TokenStats } from "../rows/report.ts";
import { createSpread } from "../rows/spread.ts";
import { parseJson, type Tool } from "../rows/tools.ts";
import { isPair, isText, type Message, type Row } from "../rows/types.ts";
import { scanLines } from "../scan/lines.ts";

export interface TokenTask {
  /** Directory of the base model: tokenizer.json, tokenizer_config.json and, optionally, chat_template.jinja. */
  modelDir: string;
  /** Path of the canonical rows. */
  rowsPath: string;
  rows: number;
  /** Count this many rows and scale the result to all rows; null counts all rows. */
  limit: number | null;
}

/** The max sequence lengths for which truncated rows are counted. */
const LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
const CHUNK = 1 << 20;
const MAX_LINE = 1 << 30;

type Json = Record<string, unknown>;

function readJson(path: string): Json {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Json) : {};
}

/** The text of a special token, which is a string or an object with `content`. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const content = typeof value === "object" && value !== null ? (value as Json).content : undefined;
  return typeof content === "string" ? content : undefined;
}

function templateSource(dir: string, config: Json): string {
  const path = join(dir, "chat_template.jinja");
  if (existsSync(path)) return readFileSync(path, "utf8");
  const { chat_template: template } = config;
  if (typeof template === "string") return template;
  // With several named templates, training uses the default one.
  const named = Array.isArray(template) ? (template as Json[]).find((entry) => entry.name === "default") : undefined;
  if (typeof named?.template === "string") return named.template;
  throw new Error("the base model has no chat template");
}

/** Messages as chat templates expect them: without weights, and with tool arguments as objects. */
function templateMessages(messages: Message[]): Json[] {
  return messages.map(({ weight: _, tool_calls: calls, ...turn }) => ({
    ...turn,
    ...(calls && {
      tool_calls: calls.map((call) => ({
        ...call,
        function: { ...call.function, arguments: parseJson(call.function.arguments) ?? call.function.arguments },
      })),
    }),
  }));
}

/** Limits of the word cache: entries, and characters of a word. */
const MAX_WORDS = 200_000;
const MAX_WORD_LENGTH = 64;

/**
 * Adds a word cache to the tokenizer. The tokenizer's own LRU cache updates its order on every lookup, which takes half
 * of the time of a long count. Words are encoded one at a time in both cases, so the tokens are the same.
 */
function cacheWords(tokenizer: Tokenizer): void {
  const { model } = tokenizer;
  if (!model) return;
  const encode = model.encode.bind(model);
  const known = new Map<string, string[]>();
  model.encode = (words) => {
    const out: string[] = [];
    for (const word of words) {
      let tokens = known.get(word);
      if (!tokens) {
        tokens = encode([word]);
        if (known.size >= MAX_WORDS) known.clear();
        if (word.length <= MAX_WORD_LENGTH) known.set(word, tokens);
      }
      for (const token of tokens) out.push(token);
    }
    return out;
  };
}

/** The tokens of a row: all that the model reads, and the longest single sequence. */
interface RowTokens {
  total: number;
  longest: number;
}

/**
 * Creates a function that counts the tokens of a canonical row exactly as the trainer tokenizes it: two sequences for a
 * preference row, one for all others.
 */
function createCounter(modelDir: string): (row: Row) => RowTokens {
  const config = readJson(join(modelDir, "tokenizer_config.json"));
  const tokenizer = new Tokenizer(readJson(join(modelDir, "tokenizer.json")), config);
  cacheWords(tokenizer);
  const special: Json = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
    const text = tokenText(config[name]);
    if (text !== undefined) special[name] = text;
  }
  // Created on first use: plain text needs no chat template, and some base models have none.
  let template: Template | null = null;

  function countTurns(messages: Message[], tools: Tool[] | undefined): number {
    template ??= new Template(templateSource(modelDir, config));
    const text = template.render({
      ...special,
      messages: templateMessages(messages),
      tools: tools ?? null,
      documents: null,
      add_generation_prompt: false,
    });
    return tokenizer.encode(text, { add_special_tokens: false }).ids.length;
  }

  const end = tokenizer.token_to_id(String(special.eos_token));

  /** The trainer appends the end-of-sequence token to each text that does not end with it. */
  function countText(text: string): number {
    const { ids } = tokenizer.encode(text, { add_special_tokens: true });
    return ids.at(-1) === end ? ids.length : ids.length + 1;
  }

  return (row) => {
    if (isPair(row)) {
      const chosen = countTurns([...row.messages, ...row.chosen], row.tools);
      const rejected = countTurns([...row.messages, ...row.rejected], row.tools);
      return { total: chosen + rejected, longest: Math.max(chosen, rejected) };
    }
    const length = isText(row) ? countText(row.text) : countTurns(row.messages, row.tools);
    return { total: length, longest: length };
  };
}

/** Counts the rows of a task, and reports progress after each row. */
export function countTokens(task: TokenTask, onProgress: (rows: number) => void): TokenStats {
  const count = createCounter(task.modelDir);
  const lengths = createSpread();
  const over = new Map(LENGTHS.map((length) => [length, 0]));
  let total = 0;
  let counted = 0;
  let failed = 0;
  let failure: string | null = null;
  const limit = task.limit ?? Number.POSITIVE_INFINITY;

  function stats(): TokenStats {
    const exact = counted >= task.rows;
    const { max, mean, p50, p95, histogram } = lengths.result();
    const scale = exact || counted === 0 ? 1 : task.rows / counted;
    const scaled = (n: number) => Math.round(n * scale);
    return {
      exact,
      rows: task.rows,
      counted_rows: counted,
      tokens: scaled(total),
      max,
      mean,
      p50,
      p95,
      histogram: histogram.map((bucket) => ({ ...bucket, count: scaled(bucket.count) })),
      over: Object.fromEntries([...over].map(([length, rows]) => [String(length), scaled(rows)])),
      failed_rows: scaled(failed),
      failure,
    };
  }

  const scanner = scanLines(MAX_LINE, {
    record(bytes, start, end) {
      if (start === end || counted >= limit) return;
      counted++;
      try {
        const tokens = count(JSON.parse(bytes.toString("utf8", start, end)) as Row);
        total += tokens.total;
        lengths.add(tokens.longest);
        for (const [most, rows] of over) if (tokens.longest > most) over.set(most, rows + 1);
      } catch (error) {
        failed++;
        failure ??= (error instanceof Error ? error.message : String(error)).slice(0, 300);
      }
      onProgress(counted);
    },
    tooLong() {},
    broken() {},
  });
  const chunk = Buffer.allocUnsafe(CHUNK);
  const file = openSync(task.rowsPath, "r");
  while (counted < limit) {
    const got = readSync(file, chunk);
    if (got === 0) break;
    scanner.push(chunk.subarray(0, got));
  }
  closeSync(file);
  scanner.end();
  return stats();
}
