/**
 * Text in other encodings than UTF-8, and UTF-8 that was once decoded with the wrong code page ("dâ€™ici" for
 * "d’ici"): finds it, shows a sample, and converts it as a stream.
 */
import { isUtf8 } from "node:buffer";
import { countedFile } from "./input.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

/** Encodings that a version can be converted from; names as in the WHATWG Encoding Standard. */
export const ENCODINGS = [
  "utf-8",
  "utf-16le",
  "utf-16be",
  "windows-1252",
  "windows-1250",
  "windows-1251",
  "iso-8859-2",
  "koi8-r",
  "macintosh",
  "shift_jis",
  "euc-jp",
  "gb18030",
  "big5",
  "euc-kr",
] as const;

export type Encoding = (typeof ENCODINGS)[number];

/** The characters that Windows-1252 has at 0x80 to 0x9F; five places are empty and stand for themselves. */
const HIGH = new Map(
  [...new TextDecoder("windows-1252").decode(Uint8Array.from({ length: 32 }, (_, index) => 128 + index))].map(
    (char, index) => [char.codePointAt(0) ?? 0, 128 + index],
  ),
);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The byte that Windows-1252 reads as this character; -1 when there is none. */
const byteOf = (code: number) => HIGH.get(code) ?? (code < 256 ? code : -1);

/** What the characters were before they were decoded with the wrong code page; null when they are right. */
function fixedRun(run: string): string | null {
  const bytes = new Uint8Array(run.length);
  for (let at = 0; at < run.length; at++) {
    const byte = byteOf(run.charCodeAt(at));
    if (byte < 0) return null;
    bytes[at] = byte;
  }
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** Characters above ASCII, as themselves or as JSON escapes. */
const RUN = /(?:\P{ASCII}|(?<!\\)\\u(?!00[0-7])[0-9a-fA-F]{4})+/gu;
const ESCAPE = /\\u([0-9a-fA-F]{4})/g;
/** Text that passed through the wrong code page several times needs as many repairs. */
const ROUNDS = 3;

/** The text with its wrongly decoded characters repaired; the same text when there are none. */
function repairText(text: string): string {
  return text.replace(RUN, (raw) => {
    const run = raw.replace(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    let fixed = run;
    for (let round = 0; round < ROUNDS; round++) {
      const next = fixedRun(fixed);
      if (next === null || next === fixed) break;
      fixed = next;
    }
    return fixed === run ? raw : fixed;
  });
}

/** Bytes that a wrongly decoded text begins a character with: Ã, Â and â€, as UTF-8 and as JSON escapes. */
const MARKS = ["Ã", "Â", "â€", "â\u0080", "\\u00c3", "\\u00c2", "\\u00e2\\u"].map((mark) => Buffer.from(mark));

/** True when a part of a file can hold wrongly decoded text, so that its rows are worth a look. */
export const maybeMisread = (chunk: Buffer): boolean => MARKS.some((mark) => chunk.includes(mark));

/** The wrongly decoded place in a text and how it should read, or null. */
export function misreadSample(text: string): { found: string; meant: string } | null {
  const repaired = repairText(text);
  if (repaired === text) return null;
  let at = 0;
  while (text[at] === repaired[at]) at++;
  const from = Math.max(0, at - 20);
  return { found: text.slice(from, at + 40), meant: repaired.slice(from, at + 40) };
}

/** A line of text that is not UTF-8, read as Windows-1252; null when the bytes are UTF-8 with a few broken ones. */
export function encodingGuess(head: Buffer): { encoding: Encoding; sample: string } | null {
  // The last character may be cut.
  if (isUtf8(head) || isUtf8(head.subarray(0, Math.max(0, head.length - 4)))) return null;
  const text = head.toString("utf8");
  const broken = text.split("\ufffd").length - 1;
  const right = (text.match(/[\u0080-\ufffc]/g) ?? []).length;
  if (right > broken) return null;
  const decoded = new TextDecoder("windows-1252").decode(head);
  const at = decoded.search(/[\u0080-\uffff]/);
  const start = decoded.lastIndexOf("\n", at) + 1;
  return { encoding: "windows-1252", sample: decoded.slice(start, start + 160).split(/[\r\n]/)[0] ?? "" };
}

/** Converts as a stream. @throws Unreadable when the bytes do not fit the encoding */
export async function convertText(
  path: string,
  how: { encoding: Encoding; repair: boolean },
  into: Output,
  onRead: (bytes: number) => void,
): Promise<void> {
  const decoder = new TextDecoder(how.encoding as ConstructorParameters<typeof TextDecoder>[0], { fatal: true });
  let waiting = "";
  const put = (text: string) => into.text(how.repair ? repairText(text) : text);
  try {
    for await (const chunk of countedFile(path, onRead)) {
      waiting += decoder.decode(chunk, { stream: true });
      // Cut at a space, so that no run of characters is torn apart.
      const cut = Math.max(waiting.lastIndexOf(" "), waiting.lastIndexOf("\n")) + 1;
      put(waiting.slice(0, cut));
      waiting = waiting.slice(cut);
    }
    put(waiting + decoder.decode());
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new Unreadable("invalid_utf8", `The file is not ${how.encoding} text. Choose another encoding.`, cause);
  }
}
