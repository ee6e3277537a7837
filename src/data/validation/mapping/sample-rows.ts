/** The first rows of a file, shortened, as the report keeps them for the preview of a mapping. */
import type { JsonObject } from "../rows/chat.ts";

const ROWS = 5;
/** Characters of a row as JSON. */
const ROW_LENGTH = 6000;
const TEXT_LENGTH = 400;
const ITEMS = 12;

/** The value with long texts and lists cut. Texts that hold JSON are kept, because half of them could not be read. */
function shortened(value: unknown): unknown {
  if (typeof value === "string") {
    const isJson = /^\s*[[{]/.test(value) && value.length <= ROW_LENGTH;
    return value.length <= TEXT_LENGTH || isJson ? value : `${value.slice(0, TEXT_LENGTH).toWellFormed()}…`;
  }
  if (Array.isArray(value)) return value.slice(0, ITEMS).map(shortened);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shortened(inner)]));
}

/** At most five rows of at most 6,000 characters each. */
export function sampleRows(rows: JsonObject[]): JsonObject[] {
  const found: JsonObject[] = [];
  for (const row of rows) {
    if (found.length === ROWS) break;
    const whole = JSON.stringify(row).length <= ROW_LENGTH ? row : (shortened(row) as JsonObject);
    if (JSON.stringify(whole).length <= ROW_LENGTH) found.push(whole);
  }
  return found;
}
