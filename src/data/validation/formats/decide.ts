/**
 * Decides from the first rows how the rows of a file are read: by a known format, by the mapping that was given, or by
 * one that the fields suggest. When they do not, the user is asked.
 */
import { type Column, columnsOf } from "../mapping/columns.ts";
import { isMeaningful, plainName } from "../mapping/fields.ts";
import { describe, fieldsOf, incomplete, type Mapping } from "../mapping/model.ts";
import { propose } from "../mapping/propose.ts";
import { sampleRows } from "../mapping/sample-rows.ts";
import { flat, shapeOf } from "../mapping/shapes/shapes.ts";
import type { JsonObject } from "../rows/chat.ts";
import type { Reading } from "../rows/report.ts";
import { formatOf } from "./detect.ts";
import type { RowFormat } from "./format.ts";
import { mappedFormat } from "./mapped.ts";

/** How the rows are read, or why they are not; `reading` is for the report. */
type Decided = { reading: Reading } & (
  | { outcome: "read"; format: RowFormat; remark: string }
  | { outcome: "ask" | "refuse"; message: string }
);

/** How many rows are looked at, when the file has more. */
const FIRST_ROWS = 50;
const NEEDED = ["prompt", "completion", "messages", "chosen", "rejected", "responses", "text"] as const;

/** Why `mapping` does not fit the fields of the first rows, or null when it does. */
function mappingFault(mapping: Mapping, rows: JsonObject[], columns: Column[]): string | null {
  const names = columns.map(({ name }) => name);
  const known = new Set([...names, ...columnsOf(rows, true).map(({ name }) => name)]);
  // Later rows may have further fields, but not those that every row needs.
  const isPart = (name: string) => rows.length < FIRST_ROWS || NEEDED.some((part) => mapping[part] === name);
  const unknown = fieldsOf(mapping).find((name) => !known.has(name) && isPart(name));
  if (unknown !== undefined) return `there is no column "${unknown}"; the columns are ${names.slice(0, 30).join(", ")}`;
  return incomplete(mapping);
}

/** True when both answers of every row begin with its prompt, so that they hold whole conversations as texts. */
function repeatsPrompt(rows: JsonObject[], { prompt, chosen, rejected }: Mapping): boolean {
  const pairs = rows.flatMap((row) => {
    const [text, a, b] = [row[prompt ?? ""], row[chosen ?? ""], row[rejected ?? ""]];
    return typeof text === "string" && typeof a === "string" && typeof b === "string" ? [{ text, a, b }] : [];
  });
  if (pairs.length < Math.min(3, rows.length) || pairs.length === 0) return false;
  return pairs.every(({ text, a, b }) => text.trim() !== "" && a.startsWith(text) && b.startsWith(text));
}

/** True when a known format would leave out a field that changes what the rows mean, or repeat the prompt. */
function needsMapping(format: RowFormat, columns: Column[], rows: JsonObject[]): boolean {
  const open = columns.filter(({ name, kind }) => kind !== "empty" && !format.fields.has(name) && isMeaningful(name));
  const isMark = ({ name, kind, values }: Column) =>
    !(/^(score|reward)$/.test(plainName(name)) && kind === "number" && values === null);
  if (open.some(isMark)) return true;
  return (
    format.name === "preference" && repeatsPrompt(rows, { prompt: "prompt", chosen: "chosen", rejected: "rejected" })
  );
}

/**
 * @param given the first rows
 * @param known the format that most of them have, or null
 * @param mapping the user's mapping, or null
 * @param isTable the rows are those of a table, whose cells are texts
 */
export function decide(
  given: JsonObject[],
  known: RowFormat | null,
  mapping: Mapping | null,
  isTable: boolean,
): Decided {
  const shape = shapeOf(given[0] ?? {});
  const rows = shape ? given.map(flat) : given;
  let columns = columnsOf(rows);
  const proposal = propose(columns, isTable);
  const reading: Reading = { used: null, proposed: null, reason: "", columns, rows: sampleRows(rows) };
  if (mapping) {
    reading.proposed = proposal.mapping;
    const fault = mappingFault(mapping, rows, columns);
    if (fault) return { outcome: "refuse", message: `The column mapping does not match the file: ${fault}.`, reading };
    reading.used = mapping;
    return { outcome: "read", format: mappedFormat(mapping, columns, shape !== null), remark: "", reading };
  }
  // A cell is a text: it has turns only as JSON.
  const turns = known?.layout?.turns?.field;
  const isEmptyName = isTable && turns && columns.some(({ name, kind }) => name === turns && kind === "text");
  // Stray rows of another type are faults of their own.
  const own = rows.filter((row) => formatOf(row)?.type === known?.type);
  if (known && !shape && !isEmptyName && !needsMapping(known, columnsOf(own), own))
    return { outcome: "read", format: known, remark: "", reading };
  let found = proposal;
  if (!found.certain && incomplete(found.mapping)) {
    const deep = columnsOf(rows, true);
    const nested = deep.length > columns.length ? propose(deep, isTable) : found;
    if (deep.length > columns.length) columns = deep;
    if (!incomplete(nested.mapping)) found = nested;
  }
  if (found.mapping.chosen && repeatsPrompt(rows, found.mapping)) found.mapping.repeated_prompt = "remove";
  Object.assign(reading, { proposed: found.mapping, reason: found.reason, columns });
  if (!found.certain) {
    const names = columns
      .slice(0, 10)
      .map(({ name }) => name)
      .join(", ");
    const message = incomplete(found.mapping)
      ? `The fields ${names || "(none)"} do not say what they are. ${found.reason}`
      : `${found.reason} Proposed: ${describe(found.mapping)}. Confirm or change it.`;
    return { outcome: "ask", message, reading };
  }
  reading.used = found.mapping;
  const remark = shape
    ? `${shape.title}, ${describe(found.mapping)}; its other fields are not used`
    : describe(found.mapping);
  return { outcome: "read", format: mappedFormat(found.mapping, columns, shape !== null), remark, reading };
}
