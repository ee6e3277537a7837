/**
 * Finds a person in texts by names, addresses and ids: whatever the case, the accents, and the white space. A term
 * stands alone: `Ann` is not in `Hannah`.
 */
import { findPii } from "./detectors.ts";
import { masked } from "./mask.ts";

export interface Wanted {
  /** Folded. */
  terms: string[];
  match: "any" | "all";
}

const ASCII = /^[\0-\x7f]*$/;
const LETTERS: Record<string, string> = { ß: "ss", ø: "o", ł: "l", đ: "d", æ: "ae", œ: "oe", ı: "i" };
/** Letters and digits of scripts with words between spaces. */
const WORD = /[\p{L}\p{N}]/u;
const WITHOUT_SPACES = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}]/u;

const plain = (text: string) =>
  text
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .toLowerCase()
    .replace(/[ßøłđæœı]/g, (letter) => LETTERS[letter] ?? letter);

/** A text without case, accents, and runs of white space. */
export const folded = (text: string): string =>
  (ASCII.test(text) ? text.toLowerCase() : plain(text)).replace(/\s+/g, " ");

const inWord = (letter: string) => WORD.test(letter) && !WITHOUT_SPACES.test(letter);

/** Where a folded term begins in a folded text; -1 when it is not there as words of its own. */
function placeOf(text: string, term: string, from = 0): number {
  const [first, last] = [inWord(term.charAt(0)), inWord(term.charAt(term.length - 1))];
  for (let at = text.indexOf(term, from); at >= 0; at = text.indexOf(term, at + 1)) {
    const before = first && inWord(text.charAt(at - 1));
    const after = last && inWord(text.charAt(at + term.length));
    if (!before && !after) return at;
  }
  return -1;
}

/** Whether the texts of one row, answer or message are about the person. */
export function isAbout(texts: readonly string[], { terms, match }: Wanted): boolean {
  const all = texts.map(folded);
  const has = (term: string) => all.some((text) => placeOf(text, term) >= 0);
  return match === "all" ? terms.every(has) : terms.some(has);
}

/** A folded text with the index of each of its characters in the original. */
function foldedWithPlaces(text: string): { text: string; places: number[] } {
  let out = "";
  const places: number[] = [];
  let at = 0;
  for (const letter of text) {
    const one = /^\s$/.test(letter) ? " " : plain(letter);
    if (one !== " " || !out.endsWith(" ")) {
      out += one;
      for (let i = 0; i < one.length; i++) places.push(at);
    }
    at += letter.length;
  }
  places.push(at);
  return { text: out, places };
}

interface Range {
  start: number;
  end: number;
  shown: string;
}

/** Characters of a text that are read for its context. */
const MAX_TEXT = 100_000;
const AROUND = 40;
/** Characters around a place that are searched for other personal data. */
const MARGIN = 120;

/** Every place of the terms in a text. */
function rangesOf(text: string, { terms }: Wanted): Range[] {
  const { text: flat, places } = foldedWithPlaces(text);
  const ranges: Range[] = [];
  for (const term of terms)
    for (let at = placeOf(flat, term); at >= 0; at = placeOf(flat, term, at + term.length)) {
      const start = places[at] ?? 0;
      const end = places[at + term.length] ?? text.length;
      ranges.push({ start, end, shown: `${[...text.slice(start, end)][0] ?? ""}***` });
    }
  return ranges.sort((a, b) => a.start - b.start || b.end - a.end);
}

/** The first place of a term with what stands around it; the terms and other personal data in it are masked. */
export function contextOf(texts: readonly string[], wanted: Wanted): string {
  for (const given of texts) {
    const text = given.slice(0, MAX_TEXT);
    const own = rangesOf(text, wanted);
    const [first] = own;
    if (!first) continue;
    const [from, to] = [Math.max(0, first.start - AROUND), Math.min(text.length, first.end + AROUND)];
    const begin = Math.max(0, from - MARGIN);
    const others = findPii(text.slice(begin, to + MARGIN)).map(({ kind, start, end }) => ({
      start: begin + start,
      end: begin + end,
      shown: masked(kind, text.slice(begin + start, begin + end)),
    }));
    let out = from > 0 ? "…" : "";
    let at = from;
    for (const range of [...own, ...others].sort((a, b) => a.start - b.start || b.end - a.end)) {
      if (range.end <= at || range.start >= to) continue;
      if (range.start >= at) out += text.slice(at, range.start) + range.shown;
      at = range.end;
    }
    return (out + (at < to ? text.slice(at, to) : "") + (Math.max(at, to) < text.length ? "…" : "")).replace(
      /\s+/g,
      " ",
    );
  }
  return "";
}
