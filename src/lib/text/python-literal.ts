/** Reads lists and objects as Python prints them: `[{'role': 'user', 'content': "it's"}]`, `True`, `None`, `(1, 2)`. */

const NAMES = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
  ["nan", "null"],
]);
/** A word, a number, or one other character. */
const TOKEN = /([A-Za-z_]+)|(-?\d[\d.eE+-]*)|([[\]{}(),:])/y;
const ESCAPED = /\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\s\S])/g;
const LETTERS: Record<string, string> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", "\n": "" };
/** What the text begins with when it can be a list or an object. */
const START = /^\s*[[{(]\s*['"[{(\]})]/;

const unescaped = (text: string): string =>
  text.replaceAll(ESCAPED, (_, code: string) => {
    if (code.length > 1) return String.fromCodePoint(Math.min(0x10ffff, Number.parseInt(code.slice(1), 16)));
    return LETTERS[code] ?? (/['"\\]/.test(code) ? code : `\\${code}`);
  });

/** Index of the quote that closes the text after `from`, or -1. */
function closing(text: string, from: number, quote: string): number {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === quote) return at;
  }
  return -1;
}

/** The same value as JSON text, or null when the text is not written as Python prints it. Numbers keep their digits. */
export function jsonOfPython(text: string): string | null {
  if (!START.test(text)) return null;
  const json: string[] = [];
  for (let at = 0; at < text.length; ) {
    const char = text[at] ?? "";
    if (/\s/.test(char)) {
      at++;
      continue;
    }
    if (char === "'" || char === '"') {
      const end = closing(text, at + 1, char);
      if (end < 0) return null;
      json.push(JSON.stringify(unescaped(text.slice(at + 1, end))));
      at = end + 1;
      continue;
    }
    TOKEN.lastIndex = at;
    const [found, name, number, mark] = TOKEN.exec(text) ?? [];
    if (found === undefined || (name !== undefined && !NAMES.has(name))) return null;
    at = TOKEN.lastIndex;
    // A comma before a closing bracket says nothing.
    if (/[\]})]/.test(found) && json.at(-1) === ",") json.pop();
    // A tuple is a list.
    if (mark === "(") json.push("[");
    else if (mark === ")") json.push("]");
    else json.push(name === undefined ? (number ?? found) : (NAMES.get(name) ?? ""));
  }
  return json.join("");
}
