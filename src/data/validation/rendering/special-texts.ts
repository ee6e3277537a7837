/** Finds texts that a tokenizer reads as special tokens, and marks of other models' chat templates. */
import { withSourceOf, writeExact } from "../../../lib/text/exact-json.ts";
import { isPair, isText, type Message, type Row } from "../rows/types.ts";
import type { Json } from "./template.ts";

/** Marks of well-known chat templates, besides what the tokenizer itself reads as special. */
const FOREIGN = (
  "<|im_start|> <|im_end|> <|endoftext|> <|end|> <|eot_id|> <|begin_of_text|> <|start_header_id|> <|end_header_id|> " +
  "<|user|> <|assistant|> <|system|> <|channel|> <start_of_turn> <end_of_turn> [INST] [/INST] <<SYS>> <</SYS>> </s> " +
  "<｜User｜> <｜Assistant｜>"
)
  .split(" ")
  .concat("### Instruction:", "### Response:", "### Assistant:", "### Human:");

/** An occurrence: the field, the text around it, and the tokens found in the field. */
interface Found {
  path: string;
  sample: string;
  tokens: string[];
}

const AROUND = 40;

/** Finds words in a text, the longest first at each place. Thousands of words may begin alike. */
type Search = (text: string) => { at: number; word: string }[];

function searchFor(given: string[]): Search {
  const words = new Set(given.filter((word) => word.trim() !== ""));
  const lengths = [...new Set([...words].map((word) => word.length))].sort((a, b) => b - a);
  const firsts = [...new Set([...words].map((word) => word.charAt(0)))];
  return (text) => {
    const found: { at: number; word: string }[] = [];
    for (const first of firsts)
      for (let at = text.indexOf(first); at >= 0; at = text.indexOf(first, at + 1)) {
        const length = lengths.find((one) => words.has(text.slice(at, at + one)));
        if (length === undefined) continue;
        found.push({ at, word: text.slice(at, at + length) });
        at += length - 1;
      }
    return found.sort((a, b) => a.at - b.at);
  };
}

/** The contents of the special tokens of a `tokenizer.json`. */
function specialTokens(tokenizer: Json): string[] {
  const added = Array.isArray(tokenizer.added_tokens) ? (tokenizer.added_tokens as Json[]) : [];
  return added.flatMap(({ content, special }) => (special === true && typeof content === "string" ? [content] : []));
}

function* turnTexts(turns: Message[], name: string): Generator<[path: string, text: string]> {
  for (const [index, turn] of turns.entries()) {
    yield [`${name}[${index}].content`, turn.content];
    if (turn.reasoning_content) yield [`${name}[${index}].reasoning_content`, turn.reasoning_content];
    for (const [at, call] of (turn.tool_calls ?? []).entries())
      yield [`${name}[${index}].tool_calls[${at}].function.arguments`, call.function.arguments];
  }
}

/** Every text of a row that ends up in the rendering, with its field. */
function* fieldsOf(row: Row): Generator<[path: string, text: string]> {
  if (isText(row)) {
    yield ["text", row.text];
    return;
  }
  yield* turnTexts(row.messages, "messages");
  if (isPair(row)) {
    yield* turnTexts(row.chosen, "chosen");
    yield* turnTexts(row.rejected, "rejected");
  }
  if (row.tools) yield ["tools", writeExact(row.tools)];
}

/** The first field of a row with one of the words; null without one. */
function firstIn(row: Row, search: Search): Found | null {
  for (const [path, text] of fieldsOf(row)) {
    const found = search(text);
    const [first] = found;
    if (!first) continue;
    const sample = text.slice(Math.max(0, first.at - AROUND), first.at + first.word.length + AROUND);
    return { path, sample, tokens: [...new Set(found.map(({ word }) => word))].slice(0, 5) };
  }
  return null;
}

/** The first of the private characters that stand for special tokens of a text while the template renders. */
const PRIVATE = 0xf0000;
const HIDDEN = /[\u{f0000}-\u{ffffd}]/gu;

/** A part of a rendering. `plain`: it holds special tokens of a text, which are encoded as plain text. */
export interface Piece {
  text: string;
  plain: boolean;
}

/**
 * Hides the special tokens of texts from the tokenizer, as the trainer does with `special_tokens: escape`. Only the
 * template's special tokens are control tokens.
 */
function createHiding(own: string[], search: Search) {
  const character = new Map(own.map((word, index) => [word, String.fromCodePoint(PRIVATE + index)]));
  const hideText = (text: string): string => {
    let out = "";
    let end = 0;
    for (const { at, word } of search(text)) {
      out += text.slice(end, at) + character.get(word);
      end = at + word.length;
    }
    return out + text.slice(end);
  };
  const hide = (value: unknown): unknown => {
    if (typeof value === "string") return hideText(value);
    if (Array.isArray(value)) return withSourceOf(value.map(hide), value);
    if (typeof value !== "object" || value === null) return value;
    const hidden = Object.fromEntries(Object.entries(value).map(([key, one]) => [hideText(key), hide(one)]));
    return withSourceOf(hidden, value);
  };
  const shown = (text: string) => text.replace(HIDDEN, (found) => own[(found.codePointAt(0) ?? 0) - PRIVATE] ?? found);

  /** A rendering in pieces: the text between two special tokens of the template is plain when it has a hidden one. */
  function pieces(text: string): Piece[] {
    if (text.search(HIDDEN) < 0) return [{ text, plain: false }];
    const out: Piece[] = [];
    let begin = 0;
    let done = 0;
    for (const { at, word } of [...search(text), { at: text.length, word: "" }]) {
      const between = text.slice(begin, at);
      if (shown(between) !== between) {
        if (begin > done) out.push({ text: text.slice(done, begin), plain: false });
        out.push({ text: shown(between), plain: true });
        done = at;
      }
      begin = at + word.length;
    }
    if (done < text.length) out.push({ text: text.slice(done), plain: false });
    return out;
  }
  return { hide: <T>(value: T): T => hide(value) as T, pieces };
}

/** Creates the search for a base model's tokenizer: its special tokens, and marks that mean nothing to it. */
export function createSpecialTexts(tokenizer: Json) {
  const own = specialTokens(tokenizer);
  const special = searchFor(own);
  const foreign = searchFor(FOREIGN.filter((text) => !own.includes(text)));
  return {
    special: (row: Row) => firstIn(row, special),
    foreign: (row: Row) => firstIn(row, foreign),
    ...createHiding(own, special),
  };
}
