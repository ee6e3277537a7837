/**
 * Writes JSON for the database: every text that SQL may read with `json_each`, `json_extract` or `->>` comes from here.
 */
import { customType } from "drizzle-orm/sqlite-core";
import { wellFormedJson } from "../lib/text/well-formed.ts";

/**
 * A value as JSON for SQL. `JSON.stringify` alone writes a lone surrogate as an escape, which SQLite decodes to invalid
 * UTF-8; the driver then ends the process at every read. Here it becomes U+FFFD, as in a bound text.
 */
export const sqlJson = (value: unknown): string => wellFormedJson(JSON.stringify(value));

/** Characters of one part: a libSQL server takes no value of 5 MB, and a character has up to 4 bytes. */
const PART = 1_200_000;

/** Rows as JSON for SQL in as few parts as a libSQL server accepts, in order. A row is never split. */
export function sqlJsonParts(rows: readonly unknown[]): string[] {
  const whole = sqlJson(rows);
  if (whole.length <= PART || rows.length < 2) return [whole];
  const half = Math.ceil(rows.length / 2);
  return [...sqlJsonParts(rows.slice(0, half)), ...sqlJsonParts(rows.slice(half))];
}

const column = customType<{ data: unknown; driverData: string }>({
  dataType: () => "text",
  toDriver: sqlJson,
  fromDriver: (text) => JSON.parse(text),
});

/** A column of JSON: `jsonText("spec").$type<JobSpec>()`. */
export const jsonText = <Name extends string>(name: Name) => column(name);
