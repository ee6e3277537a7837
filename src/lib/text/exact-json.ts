/**
 * JSON that keeps the digits of numbers and the order of keys. `JSON.parse` rounds 9007199254740993, and
 * `JSON.stringify` writes `1.0` as `1` and moves keys such as `"7"` to the front.
 */

/** On a parsed object or list: its keys or indexes in the order of the text, each with the text of its number. */
const SOURCE = Symbol("source");

type Source = Map<string, string>;
type Container = Record<string, unknown> & { [SOURCE]?: Source };

/** Numbers that might be written differently, and keys that would move, also in JSON within a string. */
const SUSPECTS =
  /[:[,](?:\s|\\[nrt])*(-0(?=[,\]}\s\\])|-?\d+[.eE][\d.eE+-]*|-?\d{16,})|"\d+\\*"(?:\s|\\[nrt])*:|\\u003\d/g;
const SPACE = /[ \t\r\n]*/y;
const SCALAR = /[^,\]}\s]+/y;

/** Whether parsing and writing a JSON text again might change numbers or the order of keys. Never a wrong no. */
function isInexact(text: string): boolean {
  SUSPECTS.lastIndex = 0;
  for (let found = SUSPECTS.exec(text); found; found = SUSPECTS.exec(text)) {
    const [, digits] = found;
    if (digits === undefined || String(Number(digits)) !== digits) return true;
  }
  return false;
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; ; at += 1) {
    at = text.indexOf('"', at);
    let before = at;
    while (text.charCodeAt(before - 1) === 92) before--;
    if ((at - before) % 2 === 0) return at + 1;
  }
}

/** Marks `value` and what is in it with the source of `text`, which has been parsed to it. */
function mark(value: unknown, text: string): void {
  let at = 0;
  const space = () => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };

  /** Reads the value at `at`. Returns the text of a number; of anything else an empty text. */
  function read(found: unknown): string {
    space();
    const from = at;
    const char = text[at];
    if (char === '"') {
      at = endOfString(text, at);
      return "";
    }
    if (char !== "{" && char !== "[") {
      SCALAR.lastIndex = at;
      SCALAR.test(text);
      at = SCALAR.lastIndex;
      return typeof found === "number" ? text.slice(from, at) : "";
    }
    // Of a key that appears twice, only the last value is there.
    const container = (typeof found === "object" && found !== null ? found : {}) as Container;
    const source: Source = new Map();
    at++;
    for (let index = 0; ; index++) {
      space();
      if (text[at] === ",") {
        at++;
        space();
      }
      if (text[at] === "}" || text[at] === "]") break;
      let key = String(index);
      if (char === "{") {
        const start = at;
        at = endOfString(text, at);
        key = JSON.parse(text.slice(start, at)) as string;
        space();
        at++;
      }
      source.set(key, read(container[key]));
    }
    at++;
    if (!(SOURCE in container)) Object.defineProperty(container, SOURCE, { value: source, configurable: true });
    return "";
  }
  read(value);
}

/** Marks what `JSON.parse` made of `text`, so that `writeExact` writes it as it was. Returns the same value. */
export function markExact<T>(value: T, text: string): T {
  if (typeof value === "object" && value !== null && isInexact(text)) mark(value, text);
  return value;
}

/** `JSON.parse` for `writeExact`. @throws SyntaxError */
export const parseExact = (text: string): unknown => markExact(JSON.parse(text) as unknown, text);

/** Gives `to`, which has some of the keys of `from`, the source of `from`. Returns `to`. */
export function withSourceOf<T extends object>(to: T, from: object): T {
  const source = (from as Container)[SOURCE];
  if (source) Object.defineProperty(to, SOURCE, { value: source });
  return to;
}

/** The keys of an object in the order of its text, and then those that were added. */
export function keysOf(value: object): string[] {
  const source = (value as Container)[SOURCE];
  if (!source) return Object.keys(value);
  const added = Object.keys(value).filter((key) => !source.has(key));
  return [...source.keys(), ...added].filter((key) => Object.hasOwn(value, key));
}

function write(value: unknown, digits: string | undefined): string {
  if (typeof value === "number" && digits) return digits;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const source = (value as Container)[SOURCE];
  if (Array.isArray(value)) return `[${value.map((item, index) => write(item, source?.get(String(index)))).join()}]`;
  const members = keysOf(value).flatMap((key) => {
    const member = (value as Container)[key];
    return member === undefined ? [] : `${JSON.stringify(key)}:${write(member, source?.get(key))}`;
  });
  return `{${members.join()}}`;
}

/**
 * JSON as `JSON.stringify` writes it, with the numbers and the order of keys of the texts that its parts were parsed
 * from by `parseExact`.
 */
export const writeExact = (value: unknown): string => write(value, undefined);

/** A member of an object as text: a string as it is, anything else as JSON. */
export function memberText(value: object, key: string): string {
  const member = (value as Container)[key];
  return typeof member === "string" ? member : write(member, (value as Container)[SOURCE]?.get(key));
}

/** The members of an object in the order of its text, each as text: a string as it is, anything else as JSON. */
export const textMembers = (value: object): [key: string, text: string][] =>
  keysOf(value).map((key) => [key, memberText(value, key)]);

/** Whether `markExact` found something in the text of this value to keep. */
export const isMarked = (value: object): boolean => SOURCE in value;

/** A control character that JSON writes as it is. It stands around the digits of fenced numbers. */
const FENCE = "\x7f";
/** With the quotation marks of JSON, FunctionGemma and Gemma 4, which templates write around texts. */
const FENCED = /("|<escape>|<\|"\|>|)\x7f([-+.\deE]+)\x7f\1|\x7fk(?=\d)/g;

function fence(value: unknown, digits: string | undefined): unknown {
  if (typeof value === "number") return digits && digits !== String(value) ? FENCE + digits + FENCE : value;
  if (typeof value !== "object" || value === null) return value;
  const source = (value as Container)[SOURCE];
  if (Array.isArray(value)) return value.map((item, index) => fence(item, source?.get(String(index))));
  const members = keysOf(value).map((key) => {
    const member = fence((value as Container)[key], source?.get(key));
    return [/^\d+$/.test(key) ? `${FENCE}k${key}` : key, member];
  });
  return Object.fromEntries(members);
}

/** A copy for code that writes JSON by itself: digits and keys that it would change are texts; see `unfenced`. */
export const fenced = <T>(value: T): T => fence(value, undefined) as T;

/** The text that such code wrote of `fenced` values, with the digits and keys as they were. */
export const unfenced = (text: string): string =>
  text.includes(FENCE) ? text.replace(FENCED, (_, __, digits?: string) => digits ?? "") : text;
