/** Counts tokens of canonical rows with a base model's own tokenizer and chat template. Runs in a worker. */
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
  /** Directory of the base model: tokenizer.json, tokenizer_config.json and perhaps chat_template.jinja. */
  modelDir: string;
  /** The canonical rows. */
  rowsPath: string;
  rows: number;
  /** Stop after so many rows and scale up; null counts them all. */
  limit: number | null;
}

/** Lengths for which the rows that would be cut are counted. */
const LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
const CHUNK = 1 << 20;
const MAX_LINE = 1 << 30;

type Json = Record<string, unknown>;

function readJson(path: string): Json {
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Json) : {};
}

/** A special token's text: written as text or as an object with `content`. */
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
  // Several named templates: the default one is what training uses.
  const named = Array.isArray(template) ? (template as Json[]).find((entry) => entry.name === "default") : undefined;
  if (typeof named?.template === "string") return named.template;
  throw new Error("the base model has no chat template");
}

/** Messages as chat templates expect them: no training marks, tool arguments as objects. */
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

/** Words a tokenizer meets again and again, with their tokens. */
const MAX_WORDS = 200_000;
const MAX_WORD_LENGTH = 64;

/**
 * Lets the tokenizer's model work each word out once. Its own cache keeps the order of use on every look-up, which
 * takes half of the time of a long count; words are encoded one by one either way, so the tokens are the same.
 */
function rememberWords(tokenizer: Tokenizer): void {
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

/** What a row costs in tokens: what the model reads of it in all, and the longest it reads at once. */
interface RowTokens {
  total: number;
  longest: number;
}

/**
 * A function from a canonical row to its tokens, exactly as the trainer tokenizes it: two sequences of a preference
 * row, one of any other.
 */
function createCounter(modelDir: string): (row: Row) => RowTokens {
  const config = readJson(join(modelDir, "tokenizer_config.json"));
  const tokenizer = new Tokenizer(readJson(join(modelDir, "tokenizer.json")), config);
  rememberWords(tokenizer);
  const special: Json = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
    const text = tokenText(config[name]);
    if (text !== undefined) special[name] = text;
  }
  // Plain text needs no chat template, and a base model that was never taught to chat may have none.
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

  /** The trainer puts the end token behind each text that has none. */
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

/** Counts rows; tells after every one that it is alive. */
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
