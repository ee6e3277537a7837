/** Looks at the first rows of a file: its fields, their kinds of values, and samples for the mapping dialog. */
import type { JsonObject } from "../rows/chat.ts";
import { sampleOf } from "../rows/sample.ts";
import { isTurns } from "./turns.ts";
import { isBlank, valueAt } from "./values.ts";

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const MAX_COLUMNS = 200;
const MAX_VALUES = 12;
const SAMPLES = 3;

/** A field of the first rows. */
export interface Column {
  name: string;
  /** `turns`: lists of turns; `list` and `object`: others. The most frequent kind. */
  kind: "text" | "number" | "boolean" | "turns" | "list" | "object" | "empty";
  /** Share of the rows that have a value, 0 to 1. */
  filled: number;
  /** Mean number of characters of its texts. */
  length: number;
  /** The distinct values with at most 40 characters, when there are few; null otherwise. */
  values: string[] | null;
  samples: string[];
}

function kindOf(value: unknown): Column["kind"] {
  if (isBlank(value)) return "empty";
  if (isTurns(value)) return "turns";
  // A list of one text is read as the text: labels are written so.
  if (Array.isArray(value) && value.length === 1 && typeof value[0] === "string") return "text";
  if (Array.isArray(value)) return "list";
  if (typeof value === "object") return "object";
  if (typeof value === "number") return "number";
  return typeof value === "boolean" ? "boolean" : "text";
}

/** The names of fields at the top; with `deep`, also those within objects, as paths. */
function namesIn(rows: JsonObject[], deep: boolean): string[] {
  const names = new Set<string>();
  const collect = (value: JsonObject, prefix: string, depth: number) => {
    for (const key of Object.keys(value)) {
      const inner = value[key];
      const path = prefix + key;
      if (names.size >= MAX_COLUMNS) return;
      if (isObject(inner) && deep && depth < 3) collect(inner, `${path}.`, depth + 1);
      else names.add(path);
    }
  };
  for (const row of rows) collect(row, "", 0);
  return [...names].filter((name) => name !== "" && name.length <= 200);
}

function columnOf(name: string, rows: JsonObject[]): Column {
  const values = rows.map((row) => valueAt(row, name));
  const filled = values.filter((value) => !isBlank(value));
  const counts = new Map<Column["kind"], number>();
  for (const value of filled) counts.set(kindOf(value), (counts.get(kindOf(value)) ?? 0) + 1);
  const [kind = "empty"] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
  const texts = filled.map((value) => (typeof value === "object" ? sampleOf(value) : String(value)));
  const distinct = new Set(texts);
  const isScalar = kind === "text" || kind === "number" || kind === "boolean";
  const few = isScalar && distinct.size <= MAX_VALUES && texts.every((text) => text.length <= 40);
  return {
    name,
    kind,
    filled: rows.length ? filled.length / rows.length : 0,
    length: texts.length ? Math.round(texts.reduce((sum, text) => sum + text.length, 0) / texts.length) : 0,
    values:
      few && distinct.size > 0 && (distinct.size <= 2 || distinct.size * 2 <= texts.length) ? [...distinct] : null,
    samples: [...distinct].slice(0, SAMPLES).map((text) => sampleOf(text)),
  };
}

/** A field that the first rows do not have. */
export const lateColumn = (name: string, value: unknown): Column => ({
  ...columnOf(name, [{ [name]: value }]),
  filled: 0,
  values: null,
});

/** The fields of the rows, in the order in which they appear. */
export function columnsOf(rows: JsonObject[], deep = false): Column[] {
  return namesIn(rows, deep).map((name) => columnOf(name, rows));
}
