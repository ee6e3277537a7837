/**
 * Removes secrets and control characters from text and values before they are logged, in bounded size and linear time.
 */

/** Characters kept of one text, and of all texts of one value. */
const MAX_TEXT = 8192;
const MAX_TEXTS = 64 * 1024;
const MAX_NODES = 5000;
const MAX_DEPTH = 8;
const MAX_ITEMS = 100;
const MAX_NAME = 200;
const CUT = "… [cut]";
const HIDDEN = "[hidden]";

// Every pattern has bounded repetitions or consumes all it reads, so that no text causes backtracking.
const PRIVATE_KEY = /-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|$)/g;
const SCHEME = /\b(bearer )[\w.~+/=-]{6,}|\b(basic )(?=[A-Za-z0-9+/]{0,1000}[0-9=])[A-Za-z0-9+/]{6,}={0,2}/gi;
/** Keys with known prefixes: ours, and those of common services. */
const PREFIXED =
  /\b(ftl-|fta-|hf_|sk-|whsec_|rpa_|ghp_|gho_|ghs_|github_pat_|glpat-|npm_|xox[abposr]-|AKIA|ASIA|AIza|eyJ)[\w.-]{5,}[\w-]/g;
const URL_LOGIN = /:\/\/[^\s/@]{1,500}@/g;
const CONTROL = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;
const CONTROL_BUT_LINES = /[^\P{Cc}\n]+|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;

/**
 * A name whose value is secret, up to the start of the value. Group 1: a header whose value extends to the end of its
 * line.
 */
const NAMED =
  /(?:((?:set-)?cookie|authorization)|(?:passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|credential)[\w-]{0,30}|token)\\{0,3}["']?[ \t]{0,4}([=:])[ \t]{0,4}/gi;
const SECRET_NAME =
  /authorization|cookie|passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|credential|token$/i;
const OPENING = /\\{0,3}["']/y;
const WORD = /[^\s,;&"'<>(){}[\]\\]*/y;
const ENDS_HERE = /[ \t]{0,4}(?:$|[\r\n,;&"'<>(){}[\]\\])/y;

function matchAt(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

/** The end of a quoted text that starts at `from`: the next unescaped `quote`. */
function closing(text: string, quote: string, from: number): number {
  let at = text.indexOf(quote, from);
  if (quote.length > 1) return at === -1 ? text.length : at;
  while (at !== -1) {
    let slashes = 0;
    while (text[at - 1 - slashes] === "\\" && at - slashes > from) slashes++;
    if (slashes % 2 === 0) return at;
    at = text.indexOf(quote, at + 1);
  }
  return text.length;
}

function endOfLine(text: string, from: number): number {
  for (let at = from; at < text.length; at++) if (text[at] === "\n" || text[at] === "\r") return at;
  return text.length;
}

/** `password=x`, `"token": "x"`, `Cookie: a=b`: the name stays, the value is removed. */
function hideNamed(text: string): string {
  let out = "";
  let done = 0;
  NAMED.lastIndex = 0;
  for (let found = NAMED.exec(text); found; found = NAMED.exec(text)) {
    const from = found.index + found[0].length;
    const quote = matchAt(OPENING, text, from);
    const begin = from + (quote?.length ?? 0);
    let end: number;
    let hide = true;
    if (quote) end = closing(text, quote, begin);
    else if (found[1]) end = endOfLine(text, begin);
    else {
      let word = matchAt(WORD, text, begin) ?? "";
      if (/^(bearer|basic|digest)$/i.test(word) && text[begin + word.length] === " ")
        word += ` ${matchAt(WORD, text, begin + word.length + 1) ?? ""}`;
      end = begin + word.length;
      // "password: must have 8 characters" is prose; "password: x1" and a line that ends after the word are not.
      hide = word !== "" && (found[2] === "=" || /\d/.test(word) || matchAt(ENDS_HERE, text, end) !== null);
    }
    out += text.slice(done, begin) + (hide && end > begin ? HIDDEN : text.slice(begin, end));
    done = end;
    NAMED.lastIndex = Math.max(end, from);
  }
  return out + text.slice(done);
}

function hide(text: string, limit: number, control: RegExp): string {
  // A little more than the limit is read, so that a secret at the cut is recognized.
  const read = text.length > limit ? text.slice(0, limit + 512) : text;
  const safe = hideNamed(read.replace(PRIVATE_KEY, "[private key hidden]"))
    .replace(SCHEME, (_, bearer?: string, basic?: string) => `${bearer ?? basic}${HIDDEN}`)
    .replace(PREFIXED, `$1${HIDDEN}`)
    .replace(URL_LOGIN, `://${HIDDEN}@`)
    .replace(control, " ");
  return text.length > limit || safe.length > limit ? safe.slice(0, limit) + CUT : safe;
}

/** Text that is safe on one log line: no control characters (ANSI, CR, LF), no secrets, at most `limit` characters. */
export function clean(text: string, limit = MAX_TEXT): string {
  return hide(text, limit, CONTROL);
}

/** The remaining budget of one value. */
interface Budget {
  texts: number;
  nodes: number;
}

function textIn(budget: Budget, text: string, control = CONTROL): string {
  if (budget.texts <= 0) return CUT;
  const out = hide(text, Math.min(MAX_TEXT, budget.texts), control);
  budget.texts -= out.length;
  return out;
}

const isSecret = (name: string, value: unknown) =>
  SECRET_NAME.test(name) && value != null && typeof value !== "number" && typeof value !== "boolean";

function membersOf(budget: Budget, entries: Iterable<[string, () => unknown]>, path: object[]): object {
  const out: Record<string, unknown> = {};
  let count = 0;
  for (const [name, read] of entries) {
    if (++count > MAX_ITEMS) {
      out["…"] = CUT;
      break;
    }
    let value: unknown;
    try {
      value = read();
    } catch {
      value = "[unreadable]";
    }
    if (value === undefined) continue;
    budget.texts -= Math.min(name.length, MAX_NAME);
    out[clean(name, MAX_NAME)] = isSecret(name, value) ? HIDDEN : visit(budget, value, path);
  }
  return out;
}

function listOf(budget: Budget, items: readonly unknown[], path: object[]): unknown[] {
  const out = items.slice(0, MAX_ITEMS).map((item) => visit(budget, item, path));
  if (items.length > MAX_ITEMS) out.push(`[${items.length - MAX_ITEMS} more]`);
  return out;
}

const readers = (value: object): [string, () => unknown][] =>
  Object.keys(value).map((name) => [name, () => (value as Record<string, unknown>)[name]]);

/** An error's fields, including non-enumerable ones. */
function errorOf(budget: Budget, error: Error, path: object[]): object {
  const { name, message, stack } = error;
  const hidden = (["cause", "errors"] as const).filter((field) => Object.hasOwn(error, field));
  const rest = new Map(readers(error));
  for (const field of ["name", "message", "stack"]) rest.delete(field);
  for (const field of hidden) rest.set(field, () => (error as { cause?: unknown; errors?: unknown })[field]);
  return {
    name: textIn(budget, String(name)),
    message: textIn(budget, String(message)),
    stack: typeof stack === "string" ? textIn(budget, stack, CONTROL_BUT_LINES) : undefined,
    ...membersOf(budget, rest, path),
  };
}

function objectOf(budget: Budget, value: object, path: object[]): unknown {
  if (value instanceof Error) return errorOf(budget, value, path);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof URL) return textIn(budget, value.href);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  if (Array.isArray(value)) return listOf(budget, value, path);
  if (value instanceof Set) return listOf(budget, [...value], path);
  if (value instanceof Map || value instanceof Headers)
    return membersOf(
      budget,
      [...value].map(([name, item]) => [String(name), () => item]),
      path,
    );
  return membersOf(budget, readers(value), path);
}

function visit(budget: Budget, value: unknown, path: object[]): unknown {
  if (typeof value === "string") return textIn(budget, value);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "function" || typeof value === "symbol") return `[${typeof value}]`;
  if (typeof value !== "object" || value === null) return value;
  if (path.includes(value)) return "[circular]";
  if (path.length >= MAX_DEPTH) return "[too deep]";
  if (--budget.nodes < 0) return CUT;
  try {
    return objectOf(budget, value, [...path, value]);
  } catch {
    return "[unreadable]";
  }
}

/** A copy of log fields that JSON can write, without secrets by name or by value; bounded in depth, items and text. */
export function cleanFields(fields: Record<string, unknown>): Record<string, unknown> {
  return visit({ texts: MAX_TEXTS, nodes: MAX_NODES }, fields, []) as Record<string, unknown>;
}
