/** Puts rows together from one JSON object that holds them in another order, as pandas and datasets write it. */
import { isTurns } from "../mapping/turns.ts";
import { isObject, type JsonObject } from "../rows/chat.ts";

const sameKeys = (lists: JsonObject[]): string[] | null => {
  const [first] = lists;
  if (!first) return null;
  const keys = Object.keys(first);
  const fits = (other: JsonObject) => Object.keys(other).length === keys.length && keys.every((key) => key in other);
  return keys.length > 0 && lists.every(fits) ? keys : null;
};

const isNumbered = (keys: string[]) => keys.length > 0 && keys.every((key) => /^\d+$/.test(key));

/** `{"prompt": ["a", "b"], "completion": ["c", "d"]}` */
function fromLists(names: string[], lists: unknown[][]): JsonObject[] | null {
  const length = lists[0]?.length ?? 0;
  if (length === 0 || lists.some((list) => list.length !== length)) return null;
  return Array.from({ length }, (_, row) =>
    Object.fromEntries(names.map((name, column) => [name, lists[column]?.[row]])),
  );
}

/** `{"columns": ["prompt", …], "data": [["a", …], …]}` */
function fromSplit(value: JsonObject): JsonObject[] | null {
  const { columns, data } = value;
  if (!Array.isArray(columns) || !Array.isArray(data) || data.length === 0) return null;
  if (!data.every((row) => Array.isArray(row) && row.length === columns.length)) return null;
  return data.map((row: unknown[]) => Object.fromEntries(columns.map((name, index) => [String(name), row[index]])));
}

/** `{"rows": [{"row_idx": 0, "row": {…}}, …]}`, as the viewer of the Hugging Face hub answers */
export function viewerRows(value: JsonObject): JsonObject[] | null {
  const { rows } = value;
  if (!Array.isArray(rows) || !rows.every((row) => isObject(row) && "row_idx" in row && isObject(row.row))) return null;
  return rows.map((row) => (row as { row: JsonObject }).row);
}

/** `{"faq-1": {"prompt": …}, "faq-2": {"prompt": …}}`: the names become ids. All rows have one field in common. */
function namedRows(names: string[], rows: JsonObject[]): JsonObject[] | null {
  const [first, ...others] = rows;
  if (!first || others.length === 0) return null;
  if (!Object.keys(first).some((key) => others.every((row) => key in row))) return null;
  return rows.map((row, index) => (row.id === undefined ? { id: names[index], ...row } : row));
}

/** The rows of an object that is not a row itself, or null when it is of none of these shapes. */
export function rowsFromColumns(value: JsonObject): JsonObject[] | null {
  const special = fromSplit(value) ?? viewerRows(value);
  if (special) return special;
  const names = Object.keys(value);
  const values = Object.values(value);
  // Turns belong to one row.
  if (values.some(isTurns)) return null;
  if (values.every(Array.isArray)) return fromLists(names, values as unknown[][]);
  if (!values.every(isObject)) return null;
  const objects = values as JsonObject[];
  // `{"0": {"prompt": …}, "1": {…}}`: a row for each number. `{"prompt": {"0": …, "1": …}}`: a column for each name.
  if (isNumbered(names)) return objects;
  const keys = sameKeys(objects);
  if (!keys || !isNumbered(keys)) return namedRows(names, objects);
  return keys.map((key) => Object.fromEntries(names.map((name, index) => [name, objects[index]?.[key]])));
}
