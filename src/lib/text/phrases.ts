/** Finds words and phrases in texts, in any case, width and spacing. */

/** Nothing beyond ASCII: most texts, which take a tenth of the time. */
const PLAIN = /^[\0-\x7f]*$/;

/** Words in lower case with single spaces between and around them: a phrase is found as a part of it. */
export const wordsOf = (text: string): string =>
  PLAIN.test(text)
    ? ` ${text
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, " ")
        .trim()} `
    : ` ${text
        .normalize("NFKC")
        .toLowerCase()
        .split(/[^\p{L}\p{M}\p{N}]+/u)
        .filter(Boolean)
        .join(" ")} `;

/** Scripts that write words without spaces: a phrase of them is also found inside a word. */
const UNSPACED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;

/** Whether a phrase occurs in a text; both as `wordsOf` gives them. */
export const occursIn = (words: string, phrase: string): boolean =>
  words.includes(phrase) || (UNSPACED.test(phrase) && words.includes(phrase.trim()));

/** Where a phrase that occurs in `text` begins and ends there; the whole text when only its normal form has it. */
export function placeOf(text: string, phrase: string): { start: number; end: number } {
  const wanted = phrase.trim().split(" ");
  const found = [...text.matchAll(/[\p{L}\p{M}\p{N}]+/gu)].map((match) => ({
    word: match[0].normalize("NFKC").toLowerCase(),
    start: match.index,
    end: match.index + match[0].length,
  }));
  const at = found.findIndex((_, n) => wanted.every((word, k) => found[n + k]?.word === word));
  if (at >= 0) return { start: found[at]?.start ?? 0, end: found[at + wanted.length - 1]?.end ?? text.length };
  const inside = text.toLowerCase().indexOf(phrase.trim());
  return inside >= 0 ? { start: inside, end: inside + phrase.trim().length } : { start: 0, end: text.length };
}
