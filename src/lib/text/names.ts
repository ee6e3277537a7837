/** Schemas of names and descriptions that people type, and log lines without terminal control sequences. */
import * as v from "valibot";
import { flawOf } from "./well-formed.ts";

/**
 * Control characters, and invisible characters that change how text is displayed or compared: bidirectional embeddings
 * and isolates, marks, zero-width spaces, tags. The joiners U+200C and U+200D are allowed: scripts and emoji need them.
 */
const HIDDEN =
  /[\p{Cc}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/u;
const ALL_HIDDEN = new RegExp(HIDDEN, "gu");
/** Escape sequences of terminals: commands (CSI), titles and links (OSC), and the short ones. */
const ANSI = ansi("\x1b", "\x9b", "\x9d", "\x07");
const CONTROL = /[^\P{Cc}\n\t]/gu;

function ansi(esc: string, csi: string, osc: string, bell: string): RegExp {
  const command = `(?:${esc}\\[|${csi})[0-?]*[ -/]*[@-~]`;
  const title = `(?:${esc}\\]|${osc})[^${bell}${esc}${osc}]*(?:${bell}|${esc}\\\\)`;
  return new RegExp(`${command}|${title}|${esc}[ -/]*[0-~]`, "g");
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
  return text
    .replaceAll(ANSI, "")
    .replaceAll(/\r+\n?/g, "\n")
    .replaceAll(CONTROL, "")
    .replace(/\n+$/, "");
}
