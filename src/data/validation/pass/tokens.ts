/** Counts the tokens of canonical rows with the tokenizer and chat template of a base model. Runs in a worker. */
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import type { RowType } from "../../../contract/spec.ts";
import { createFindings } from "../rendering/findings.ts";
import { createInspector, type Inspector } from "../rendering/inspect-row.ts";
import type { Piece } from "../rendering/special-texts.ts";
import { createRender, type Json, readJson, TemplateRefusal, templateSource } from "../rendering/template.ts";
import type { TokenStats } from "../rows/report.ts";
import { createSpread } from "../rows/spread.ts";
import { isText, type NumberedRow, type Row } from "../rows/types.ts";
import { eachRow } from "../scan/each-row.ts";

export interface TokenTask {
  /** Directory of the base model: tokenizer.json, tokenizer_config.json and, optionally, chat_template.jinja. */
  modelDir: string;
  /** Path of the canonical rows. */
  rowsPath: string;
  rows: number;
  /** Path of the validation rows: they are not counted, but inspected once all training rows are counted. */
  holdoutPath: string;
  rowType: RowType;
  /** The chat template to use; null = the model's own. */
  template: string | null;
  /** Count this many rows and scale the result to all rows; null counts all rows. */
  limit: number | null;
}

/** The max sequence lengths for which truncated rows are counted. */
const LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

/** The text of a special token, which is a string or an object with `content`. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const content = typeof value === "object" && value !== null ? (value as Json).content : undefined;
  return typeof content === "string" ? content : undefined;
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

/** The tokens of a row: all that the model reads, the longest single sequence, and where its first answer begins. */
interface RowTokens {
  total: number;
  longest: number;
  /** The smallest max sequence length that keeps a token of an answer; null for rows without answers. */
  answer: number | null;
  /** The sequences that a row is trained as when answers alone are in the loss, and their tokens. */
  sequences: { count: number; tokens: number };
}

/**
 * Creates a function that counts the tokens of a canonical row exactly as the trainer tokenizes it: both sides of a
 * preference row, and each sequence that a conversation is trained as.
 */
function createCounter({ modelDir, rowType: type, template }: TokenTask): {
  count: (row: Row) => RowTokens;
  inspector: Inspector;
} {
  const config = readJson(join(modelDir, "tokenizer_config.json"));
  const json = readJson(join(modelDir, "tokenizer.json"));
  const tokenizer = new Tokenizer(json, config);
  cacheWords(tokenizer);
  const special: Json = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
    const text = tokenText(config[name]);
    if (text !== undefined) special[name] = text;
  }
  const inspector = createInspector(
    createRender(() => template ?? templateSource(modelDir, config), special),
    json,
    type,
  );
  // Created on first use: few rows hold special tokens.
  let plain: Tokenizer | null = null;

  /** A tokenizer to which special tokens are text. */
  function plainTokenizer(): Tokenizer {
    if (plain) return plain;
    const added = (json.added_tokens ?? []) as { special?: boolean }[];
    plain = new Tokenizer({ ...json, added_tokens: added.filter((token) => token.special !== true) }, config);
    return plain;
  }

  const length = (pieces: Piece[]) =>
    pieces.reduce(
      (sum, { text, plain }) =>
        sum + (plain ? plainTokenizer() : tokenizer).encode(text, { add_special_tokens: false }).ids.length,
      0,
    );
  const end = tokenizer.token_to_id(String(special.eos_token));

  /** The trainer appends the end-of-sequence token to each text that does not end with it. */
  function countText(text: string): number {
    const { ids } = tokenizer.encode(text, { add_special_tokens: true });
    return ids.at(-1) === end ? ids.length : ids.length + 1;
  }

  function count(row: Row): RowTokens {
    if (isText(row)) {
      const total = countText(row.text);
      return { total, longest: total, answer: null, sequences: { count: 1, tokens: total } };
    }
    const sides = inspector.render(row).map(({ text, before, sequences }) => {
      const tokens = length(text);
      return {
        tokens,
        // No token predicts the first one.
        answer: before === null ? null : Math.max(1, length(before)) + 1,
        sequences: sequences.map((one) => (one === text ? tokens : length(one))),
      };
    });
    const answers = sides.flatMap(({ answer }) => (answer === null ? [] : [answer]));
    return {
      total: sides.reduce((sum, { tokens }) => sum + tokens, 0),
      longest: Math.max(...sides.map(({ tokens }) => tokens)),
      answer: answers.length ? Math.max(...answers) : null,
      sequences: {
        count: Math.max(...sides.map(({ sequences }) => sequences.length)),
        tokens: sides.flatMap(({ sequences }) => sequences).reduce((sum, tokens) => sum + tokens, 0),
      },
    };
  }
  return { count, inspector };
}

/** Counts the rows of a task, and reports progress after each row. */
export function countTokens(task: TokenTask, onProgress: (rows: number) => void): TokenStats {
  const { count, inspector } = createCounter(task);
  const lengths = createSpread();
  const findings = createFindings();
  const over = new Map(LENGTHS.map((length) => [length, 0]));
  const lost = new Map(LENGTHS.map((length) => [length, 0]));
  let first: number | null = null;
  let min = Number.POSITIVE_INFINITY;
  let total = 0;
  const sequences = { count: 0, tokens: 0 };
  let counted = 0;
  let failed = 0;
  let refused = 0;
  let failure: string | null = null;
  const limit = task.limit ?? Number.POSITIVE_INFINITY;

  function stats(): TokenStats {
    const exact = counted >= task.rows;
    const { max, mean, p50, p95, histogram } = lengths.result();
    const scale = exact || counted === 0 ? 1 : task.rows / counted;
    const scaled = (n: number) => Math.round(n * scale);
    const byLength = (map: Map<number, number>) =>
      Object.fromEntries([...map].map(([length, rows]) => [String(length), scaled(rows)]));
    return {
      exact,
      rows: task.rows,
      counted_rows: counted,
      tokens: scaled(total),
      sequences: { count: scaled(sequences.count), tokens: scaled(sequences.tokens) },
      min: Number.isFinite(min) ? min : 0,
      max,
      mean,
      p50,
      p95,
      histogram: histogram.map((bucket) => ({ ...bucket, count: scaled(bucket.count) })),
      over: byLength(over),
      failed_rows: scaled(failed),
      failure,
      refused_rows: scaled(refused),
      answers: { first, lost: byLength(lost) },
      findings: findings.list(scaled),
    };
  }

  function add(row: NumberedRow) {
    const tokens = count(row);
    total += tokens.total;
    sequences.count += tokens.sequences.count;
    sequences.tokens += tokens.sequences.tokens;
    lengths.add(tokens.longest);
    min = Math.min(min, tokens.longest);
    for (const [most, rows] of over) if (tokens.longest > most) over.set(most, rows + 1);
    const { answer } = tokens;
    if (answer === null) return;
    first = Math.min(first ?? answer, answer);
    for (const [most, rows] of lost) if (answer > most) lost.set(most, rows + 1);
  }

  function fail(row: NumberedRow, error: unknown) {
    const reason = (error instanceof Error ? error.message : String(error)).slice(0, 300);
    inspector.failed(row, reason, error instanceof TemplateRefusal, findings);
    return reason;
  }

  eachRow(task.rowsPath, (row) => {
    counted++;
    try {
      add(row);
      inspector.inspect(row, findings);
    } catch (error) {
      failed++;
      if (error instanceof TemplateRefusal) refused++;
      const reason = fail(row, error);
      failure ??= reason;
    }
    onProgress(counted);
    return counted < limit;
  });
  let inspected = 0;
  if (counted >= task.rows)
    eachRow(task.holdoutPath, (row) => {
      try {
        const { longest, answer } = count(row);
        min = Math.min(min, longest);
        if (answer !== null) first = Math.min(first ?? answer, answer);
        inspector.inspect(row, findings);
      } catch (error) {
        fail(row, error);
      }
      onProgress(counted + ++inspected);
      return true;
    });
  return stats();
}
