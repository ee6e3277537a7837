/** Parses JSON from clients; its nesting depth is checked on the bytes, before parsing. */
import { AppError } from "../../errors.ts";
import { parseExact } from "./exact-json.ts";
import { wellFormedJson } from "./well-formed.ts";

/** Maximum nesting of lists and objects in a request. Real requests need about a dozen levels. */
export const MAX_JSON_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** True when lists and objects are nested deeper than `limit`; brackets inside strings do not count. */
export function isTooDeep(bytes: Uint8Array, limit = MAX_JSON_DEPTH): boolean {
  const end = bytes.length;
  let depth = 0;
  for (let at = 0; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      for (at++; at < end && bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++;
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > limit) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return false;
}

/** The refusal of JSON that is nested too deeply. */
export const tooDeep = (limit = MAX_JSON_DEPTH, cause?: unknown) =>
  new AppError(
    "invalid",
    "body_too_deep",
    `The JSON is nested more than ${limit} levels deep. Send a less nested value.`,
    {
      cause,
    },
  );

interface ParseOptions {
  /** Maximum nesting. */
  limit?: number;
  /** Code of the error when the bytes are not valid JSON. */
  code?: string;
  /** Replaces halves of surrogate pairs and NULs by U+FFFD instead of keeping them. */
  repair?: boolean;
  /** Keeps the digits of numbers and the order of keys for `writeExact`. */
  exact?: boolean;
}

/**
 * Parses JSON in UTF-8.
 * @throws AppError `body_too_deep`, or `code` (400) when it is not valid JSON
 */
export function parseJson(bytes: Uint8Array, options: ParseOptions = {}): unknown {
  const { limit = MAX_JSON_DEPTH, code = "body_not_parsable", repair = false, exact = false } = options;
  if (isTooDeep(bytes, limit)) throw tooDeep(limit);
  try {
    const given = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const text = repair ? wellFormedJson(given) : given;
    return exact ? parseExact(text) : JSON.parse(text);
  } catch (cause) {
    throw new AppError(
      "invalid",
      code,
      "The request body could not be read: send valid JSON in UTF-8 with `content-type: application/json`.",
      { cause },
    );
  }
}

/**
 * Parses JSON inside a field of a form or a query.
 * @throws AppError `body_too_deep`; SyntaxError as JSON.parse throws it
 */
export function parseJsonText(text: string): unknown {
  if (isTooDeep(Buffer.from(text))) throw tooDeep();
  return JSON.parse(text);
}
