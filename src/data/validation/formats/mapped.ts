/** A format made from a mapping: rows of any fields, read as the mapping says. */
import type { TextLayout } from "../fast-path/text-row.ts";
import type { Column } from "../mapping/columns.ts";
import { compact, describe, fieldsOf, type Mapping, typeOf } from "../mapping/model.ts";
import { readMapped, readPair } from "../mapping/read.ts";
import { flat, shapeOf } from "../mapping/shapes/shapes.ts";
import { createThreads } from "../mapping/threads.ts";
import type { JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { Checked } from "../rows/types.ts";
import type { RowFormat } from "./format.ts";

/** A row of a thread, which becomes part of a conversation at the end of the file. */
const LATER: Checked = { row: { messages: [] }, same: false, later: true };

/** Names that can be compared as bytes, as they are written in JSON. */
const PLAIN_NAME = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/;
/** The parts of a row of one question and one answer. */
const PAIR_PARTS = ["prompt", "completion", "context", "system"] as const;

/** True when the file has texts in all fields of a pair of question and answer, and no other parts. */
function isTextual(mapping: Mapping, columns: Column[]): boolean {
  if (typeOf(mapping) !== "chat" || !mapping.prompt || !mapping.completion || mapping.messages) return false;
  if (mapping.reasoning || mapping.parent_id || mapping.role) return false;
  const kinds = new Map(columns.map(({ name, kind }) => [name, kind]));
  return PAIR_PARTS.every((part) => {
    const kind = mapping[part] === undefined ? "empty" : kinds.get(mapping[part]);
    return kind !== undefined && ["text", "number", "boolean", "empty"].includes(kind);
  });
}

/** The layout of such rows for the fast path, when their names allow it. */
function layoutOf(mapping: Mapping, columns: Column[]): TextLayout | undefined {
  const names = [...PAIR_PARTS.flatMap((part) => mapping[part] ?? []), mapping.history ?? "", mapping.tools ?? ""];
  const own = new Set(columns.map(({ name }) => name));
  if (names.some((name) => name !== "" && (!PLAIN_NAME.test(name) || !own.has(name)))) return undefined;
  const { prompt = "", completion = "", context, system } = mapping;
  const user = context === undefined ? [prompt] : [prompt, context];
  return { system, pair: { user, assistant: completion }, silent: mapping.unused };
}

/** The fields of a nested export. What is left out is reported. */
function flatten(row: JsonObject, problems: Problems): JsonObject {
  const rest = shapeOf(row)?.rest?.(row);
  if (rest) problems.add("branch_chosen", "", row, rest);
  return flat(row);
}

/**
 * The format of a mapping.
 * @param columns the fields of the first rows
 * @param hasShape the rows are nested exports, which become flat before the mapping applies
 */
export function mappedFormat(given: Mapping, columns: Column[], hasShape: boolean): RowFormat {
  const mapping = compact(given);
  const textual = isTextual(mapping, columns);
  const threads = mapping.parent_id || mapping.role ? createThreads(mapping) : undefined;
  const fields = [...fieldsOf(mapping), ...(mapping.unused ?? [])];
  return {
    name: "mapped",
    type: typeOf(mapping),
    title: describe(mapping),
    example: "",
    mapping,
    fields: new Set(fields.flatMap((name) => [name, name.slice(0, name.indexOf(".") + 1).slice(0, -1)])),
    layout: textual && !hasShape ? layoutOf(mapping, columns) : undefined,
    ...(hasShape ? { flatten } : {}),
    ...(threads ? { threads } : {}),
    matches: () => true,
    convert(row, problems) {
      if (threads) return threads.add(row, problems) ? LATER : null;
      return textual ? readPair(row, mapping, problems) : readMapped(row, mapping, problems);
    },
  };
}
