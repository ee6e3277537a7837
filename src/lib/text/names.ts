/** Schemas of names and descriptions that people type, and log lines without terminal control sequences. */
import * as v from "valibot";
import { flawOf } from "./well-formed.ts";

/**
 * Control characters, and invisible characters that change how text is displayed or compared: bidirectional embeddings
 * and isolates, marks, zero-width spaces, tags. The joiners U+200C and U+200D are allowed: scripts and emoji need them.
 */
const HIDDEN =
  /[\p{Cc}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;
const ALL_HIDDEN =
  /[\p{Cc}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
/** What follows an ESC in sequences of terminals: a command (CSI), a title or link (OSC), or a short one. */
const AFTER_ESCAPE = /^(?:\[[0-?]*[ -/]*[@-~]|\][^\p{Cc}]*\p{Cc}|[ -/]*[0-~])/u;
const CONTROL = /[^\P{Cc}\n\t]/gu;

/** `text` without escape sequences of terminals, in their 7-bit and 8-bit forms. */
function withoutEscapes(text: string): string {
  const [first = "", ...rest] = text.replaceAll("\x9b", "\x1b[").replaceAll("\x9d", "\x1b]").split("\x1b");
  // A title may end with another escape sequence, ESC \\, instead of a bell.
  const isTitle = (part: string, at: number) =>
    part.startsWith("]") && rest[at + 1]?.startsWith("\\") && !/\p{Cc}/u.test(part);
  return first + rest.map((part, at) => (isTitle(part, at) ? "" : part.replace(AFTER_ESCAPE, ""))).join("");
}

/** What is wrong with a name, as text that follows the field name; null for a valid one. */
function hiddenIn(text: string): string | null {
  const flaw = flawOf(text);
  if (flaw) return flaw;
  const code = HIDDEN.exec(text)?.[0].codePointAt(0);
  if (code === undefined) return null;
  return `holds U+${code.toString(16).toUpperCase().padStart(4, "0")}, a control or invisible character: remove it`;
}

/** The same for multi-line text, where line breaks and tabs are allowed. */
const hiddenInLines = (text: string) => hiddenIn(text.replaceAll(/\r\n|[\n\t]/g, " "));

const checked = (flaw: (text: string) => string | null) =>
  v.check<string, (issue: { input: string }) => string>(
    (text) => flaw(text) === null,
    ({ input }) => flaw(input) ?? "",
  );

/** Refuses single-line text with a hidden character, naming the character. */
export const noHidden = checked(hiddenIn);
/** The same for multi-line text. */
export const noHiddenInLines = checked(hiddenInLines);

/** A single-line name, trimmed: at most `max` characters, without hidden ones. */
export const nameText = (max: number) => v.pipe(v.string(), v.trim(), noHidden, v.maxLength(max));

/** A name that may not be empty. */
export const filledName = (max: number) => v.pipe(nameText(max), v.minLength(1, "must not be empty"));

/** A description: at most `max` characters on any number of lines, without hidden ones. Line breaks become `\n`. */
export const linesText = (max: number) =>
  v.pipe(
    v.string(),
    noHiddenInLines,
    v.transform((text) => text.replaceAll("\r\n", "\n")),
    v.maxLength(max),
  );

/** `text` without hidden characters, for names that come from files. */
export const withoutHidden = (text: string): string => text.replaceAll(ALL_HIDDEN, "").toWellFormed();

/** A log line as it is stored: without colors and control characters, except tabs and line breaks (always `\n`). */
export function plainLine(text: string): string {
  if (!/\p{Cc}/u.test(text)) return text;
  const plain = withoutEscapes(text)
    .replaceAll(/\r+\n?/g, "\n")
    .replaceAll(CONTROL, "");
  let end = plain.length;
  while (plain[end - 1] === "\n") end--;
  return plain.slice(0, end);
}
