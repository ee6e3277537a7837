/** Checks text for lone surrogates, which UTF-8 cannot encode, and NUL, where SQLite and C end a text. */
import { AppError } from "../../errors.ts";

/** Escapes in a JSON text, complete surrogate pairs first. */
const ESCAPE = /\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([0-9a-fA-F]{4})|[^u])/g;

/**
 * A JSON text in which escaped lone surrogates and escaped NULs, in values and keys, are replaced by U+FFFD. SQLite
 * decodes such an escape to bytes that are not valid UTF-8, and the database driver ends the process when it reads
 * them.
 */
export function wellFormedJson(text: string): string {
  if (!text.includes("\\ud") && !text.includes("\\uD") && !text.includes("\\u0000")) return text;
  return text.replace(ESCAPE, (whole, code: string | undefined) =>
    code !== undefined && /^(?:[dD][89a-fA-F]|0000$)/.test(code) ? "\\ufffd" : whole,
  );
}

/** What is wrong with a text, as text that follows the field name; null for a valid one. */
export function flawOf(text: string): string | null {
  if (!text.isWellFormed()) return "holds half of a surrogate pair, which is no character";
  if (text.includes("\0")) return "holds a NUL character (U+0000)";
  return null;
}

/** A text as the database returns it: lone surrogates and NULs are U+FFFD. */
export const storable = (text: string): string => text.toWellFormed().replaceAll("\0", "\ufffd");

/** At most `max` UTF-16 units of a text, without cutting a character in half. */
export function cutText(text: string, max: number): string {
  if (text.length <= max) return text;
  const last = text.charCodeAt(max - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? max - 1 : max);
}

/** Maximum levels of the path in an error. */
const MAX_NAMED = 20;

interface Node {
  value: unknown;
  key: string;
  parent: Node | null;
}

function pathOf(node: Node): string {
  const keys: string[] = [];
  for (let at: Node | null = node; at?.parent; at = at.parent) keys.push(at.key);
  const names = keys.reverse().slice(0, MAX_NAMED);
  return cutText(names.map((key) => key.toWellFormed().replaceAll("\0", "")).join("."), 200);
}

/**
 * Finds the first text with a flaw in a JSON value or a form, keys included. Works without recursion, because a body
 * may be nested deeper than the stack.
 * @param flaw the check; default `flawOf`
 */
export function findFlaw(
  value: unknown,
  flaw: (text: string) => string | null = flawOf,
): { param: string; flaw: string } | null {
  const open: Node[] = [{ value, key: "", parent: null }];
  for (let node = open.pop(); node; node = open.pop()) {
    const { value: each } = node;
    const text = typeof each === "string" ? each : each instanceof File ? each.name : null;
    if (text !== null) {
      const found = flaw(text);
      if (found) return { param: pathOf(node), flaw: found };
    } else if (typeof each === "object" && each !== null && !(each instanceof Blob)) {
      for (const key in each) {
        const child = { value: (each as Record<string, unknown>)[key], key, parent: node };
        const found = flaw(key);
        if (found) return { param: pathOf(child), flaw: found };
        if (typeof child.value === "string" || typeof child.value === "object") open.push(child);
      }
    }
  }
  return null;
}

/**
 * Checks all text of parsed inputs, keys included, for lone surrogates and NULs.
 * @throws AppError `invalid_text` (400) naming the field
 */
export function checkText(...inputs: unknown[]): void {
  for (const input of inputs) {
    const found = findFlaw(input);
    if (!found) continue;
    const { param, flaw } = found;
    throw new AppError("invalid", "invalid_text", `Invalid ${param ? `'${param}'` : "request"}: ${flaw}.`, {
      param: param || null,
    });
  }
}
