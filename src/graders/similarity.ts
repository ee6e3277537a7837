/**
 * The metrics of text_similarity graders, 0 to 1, each computed like its well-known Python implementation.
 */
import { stemmer } from "stemmer";
import type { Metric } from "./model.ts";

/** Longest text that is compared, in characters: the time grows with the product of both lengths. */
export const MAX_COMPARED = 20_000;

/** Words and punctuation as mteval-13a splits them, which BLEU is defined on (sacrebleu's default). */
function tokens13a(text: string): string[] {
  const line = text
    .replaceAll("<skipped>", "")
    .replaceAll("-\n", "")
    .replaceAll("\n", " ")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">");
  return ` ${line} `
    .replace(/[{-~[-` -&(-+:-@/]/g, " $& ")
    .replace(/([^0-9])([.,])/g, "$1 $2 ")
    .replace(/([.,])([^0-9])/g, " $1 $2")
    .replace(/([0-9])(-)/g, "$1 $2 ")
    .split(/\s+/u)
    .filter(Boolean);
}

/**
 * Words as ROUGE splits them: lower case, letters and digits of every script (rouge-score only handles English ones).
 */
const wordsOf = (text: string) =>
  text
    .toLowerCase()
    .split(/[^\p{L}\p{M}\p{N}]+/u)
    .filter(Boolean);

function ngrams(tokens: string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let at = 0; at + n <= tokens.length; at++) {
    const gram = tokens.slice(at, at + n).join("\0");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

function overlap(a: Map<string, number>, b: Map<string, number>): number {
  let sum = 0;
  for (const [gram, count] of a) sum += Math.min(count, b.get(gram) ?? 0);
  return sum;
}

const total = (tokens: string[], n: number) => Math.max(0, tokens.length - n + 1);

/** Sentence BLEU of sacrebleu: up to 4 words, exponential smoothing, effective order; divided by 100. */
function bleu(input: string, reference: string): number {
  const [said, wanted] = [tokens13a(input), tokens13a(reference)];
  let logs = 0;
  let order = 0;
  let smooth = 1;
  let any = false;
  for (let n = 1; n <= 4; n++) {
    const all = total(said, n);
    if (all === 0) break;
    const same = overlap(ngrams(said, n), ngrams(wanted, n));
    any ||= same > 0;
    if (same === 0) smooth *= 2;
    logs += Math.log(same === 0 ? 1 / (smooth * all) : same / all);
    order = n;
  }
  if (!any) return 0;
  const brevity = said.length < wanted.length ? Math.exp(1 - wanted.length / said.length) : 1;
  return brevity * Math.exp(logs / order);
}

/** Google-BLEU as in NLTK: matching n-grams of 1 to 4 words divided by the larger number of n-grams. */
function gleu(input: string, reference: string): number {
  const [said, wanted] = [tokens13a(input), tokens13a(reference)];
  let same = 0;
  let [inSaid, inWanted] = [0, 0];
  for (let n = 1; n <= 4; n++) {
    same += overlap(ngrams(said, n), ngrams(wanted, n));
    inSaid += total(said, n);
    inWanted += total(wanted, n);
  }
  const all = Math.max(inSaid, inWanted);
  return all === 0 ? 0 : same / all;
}

/** Matches equal words from the end of both texts and removes them from both maps. */
function pair(said: Map<number, string>, wanted: Map<number, string>, pairs: [number, number][]): void {
  const places = new Map<string, number[]>();
  for (const [at, word] of wanted) {
    const known = places.get(word);
    if (known) known.push(at);
    else places.set(word, [at]);
  }
  for (const [at, word] of [...said].reverse()) {
    const found = places.get(word)?.pop();
    if (found === undefined) continue;
    pairs.push([at, found]);
    said.delete(at);
    wanted.delete(found);
  }
}

/** METEOR as in NLTK with exact words and Porter stems; synonyms would need WordNet, which is not available here. */
function meteor(input: string, reference: string): number {
  const indexed = (text: string) => new Map(tokens13a(text).map((word, at) => [at, word.toLowerCase()]));
  const [said, wanted] = [indexed(input), indexed(reference)];
  const [inSaid, inWanted] = [said.size, wanted.size];
  const pairs: [number, number][] = [];
  pair(said, wanted, pairs);
  const stems = (words: Map<number, string>) => new Map([...words].map(([at, word]) => [at, stemmer(word)]));
  pair(stems(said), stems(wanted), pairs);
  if (pairs.length === 0) return 0;
  pairs.sort(([a], [b]) => a - b);
  let chunks = 1;
  for (const [n, [at, to]] of pairs.slice(1).entries()) {
    const [before, beforeTo] = pairs[n] ?? [0, 0];
    if (at !== before + 1 || to !== beforeTo + 1) chunks++;
  }
  const [precision, recall] = [pairs.length / inSaid, pairs.length / inWanted];
  const mean = (precision * recall) / (0.9 * precision + 0.1 * recall);
  return (1 - 0.5 * (chunks / pairs.length) ** 3) * mean;
}

/** Positions per machine word: few enough that sums stay 32-bit integers, which are fast. */
const BITS = 30;
const ALL = 2 ** BITS - 1;

/** Length of the longest common subsequence, one word of positions of `a` at a time (Hyyrö 2004). */
function commonLength(a: string[], b: string[]): number {
  const size = Math.ceil(a.length / BITS);
  const places = new Map<string, Int32Array>();
  for (const [at, symbol] of a.entries()) {
    const mask = places.get(symbol) ?? new Int32Array(size);
    const word = Math.floor(at / BITS);
    mask[word] = (mask[word] ?? 0) | (1 << (at % BITS));
    places.set(symbol, mask);
  }
  const open = new Int32Array(size).fill(ALL);
  for (const symbol of b) {
    const mask = places.get(symbol);
    if (!mask) continue;
    let carry = 0;
    for (let at = 0; at < size; at++) {
      const bits = open[at] as number;
      const hits = mask[at] as number;
      const sum = (bits + (bits & hits) + carry) | 0;
      carry = sum >>> BITS;
      open[at] = (sum & ALL) | (bits & ~hits);
    }
  }
  let length = 0;
  for (let at = 0; at < a.length; at++) if ((((open[Math.floor(at / BITS)] ?? 0) >> (at % BITS)) & 1) === 0) length++;
  return length;
}

/** The share of common characters, like rapidfuzz's `fuzz.ratio`. */
function fuzzy(input: string, reference: string): number {
  const [said, wanted] = [[...input], [...reference]];
  const all = said.length + wanted.length;
  return all === 0 ? 1 : (2 * commonLength(said, wanted)) / all;
}

/** F1: the harmonic mean of precision and recall. */
function balance(same: number, inSaid: number, inWanted: number): number {
  if (same === 0) return 0;
  const [precision, recall] = [same / inSaid, same / inWanted];
  return (2 * precision * recall) / (precision + recall);
}

function rougeN(input: string, reference: string, n: number): number {
  const [said, wanted] = [wordsOf(input), wordsOf(reference)];
  return balance(overlap(ngrams(said, n), ngrams(wanted, n)), total(said, n), total(wanted, n));
}

function rougeL(input: string, reference: string): number {
  const [said, wanted] = [wordsOf(input), wordsOf(reference)];
  return balance(commonLength(said, wanted), said.length, wanted.length);
}

type Measure = (input: string, reference: string) => number;

/** Every metric but cosine, which needs an embedding model. */
const MEASURES: Record<Exclude<Metric, "cosine">, Measure> = {
  fuzzy_match: fuzzy,
  bleu,
  gleu,
  meteor,
  rouge_1: (a, b) => rougeN(a, b, 1),
  rouge_2: (a, b) => rougeN(a, b, 2),
  rouge_3: (a, b) => rougeN(a, b, 3),
  rouge_4: (a, b) => rougeN(a, b, 4),
  rouge_5: (a, b) => rougeN(a, b, 5),
  rouge_l: rougeL,
};

/** Similarity of `input` to `reference`, 0 to 1. The caller truncates texts to MAX_COMPARED. */
export function similarity(metric: keyof typeof MEASURES, input: string, reference: string): number {
  return MEASURES[metric](input, reference);
}
