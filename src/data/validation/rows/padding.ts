/**
 * Removes null that stands for an absent key. Arrow and Parquet give all objects of a column the same keys, so that a
 * tool call gets the arguments of all other tools, and a schema the keywords of all other schemas, each as null.
 */
import { isMarked, parseExact, writeExact } from "../../../lib/text/exact-json.ts";
import type { Problems } from "./problems.ts";
import type { ToolCall } from "./tools.ts";
import { isPair, isText, type Row } from "./types.ts";

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Keywords of JSON Schema with a value of their own, in which null means null. */
const VALUES = new Set(["enum", "examples", "example"]);
/** Keywords whose null is a value when the schema allows null. */
const NULLABLE = new Set(["default", "const"]);

/** Whether a JSON schema allows null; one that says nothing of types does. */
function allowsNull(schema: unknown): boolean {
  if (!isObject(schema) || schema.nullable === true) return true;
  const { type, anyOf, oneOf, enum: values } = schema;
  if (Array.isArray(values)) return values.includes(null);
  if (typeof type === "string") return type === "null";
  if (Array.isArray(type)) return type.includes("null");
  const variants = [anyOf, oneOf].find(Array.isArray) as unknown[] | undefined;
  return variants ? variants.some(allowsNull) : true;
}

/** Removes the keys of a tool definition that are null. Returns their names. */
function pruneDefinition(value: unknown, removed: string[]): void {
  if (Array.isArray(value)) for (const item of value) pruneDefinition(item, removed);
  if (!isObject(value)) return;
  for (const [key, member] of Object.entries(value)) {
    if (member === null) {
      if (NULLABLE.has(key) && allowsNull(value)) continue;
      delete value[key];
      removed.push(key);
    } else if (!VALUES.has(key) && !NULLABLE.has(key)) pruneDefinition(member, removed);
  }
}

/**
 * Removes the arguments that are null where their schema allows no null.
 * @param unknown what to do with null of which no schema says anything: remove it
 */
function pruneArguments(value: unknown, schema: unknown, unknown: boolean, removed: string[]): void {
  if (Array.isArray(value))
    for (const item of value) pruneArguments(item, isObject(schema) ? schema.items : undefined, unknown, removed);
  if (!isObject(value)) return;
  const known = isObject(schema) && isObject(schema.properties) ? schema.properties : null;
  const { required, additionalProperties: open } = isObject(schema) ? schema : {};
  for (const [key, member] of Object.entries(value)) {
    const own = known && Object.hasOwn(known, key) ? known[key] : undefined;
    if (member !== null) pruneArguments(member, own, unknown, removed);
    else if (Array.isArray(required) && required.includes(key)) continue;
    else if (known ? (own === undefined ? !open : !allowsNull(own)) : unknown) {
      delete value[key];
      removed.push(key);
    }
  }
}

function* callsOf(row: Exclude<Row, { text: string }>): Generator<ToolCall> {
  const turns = isPair(row) ? row.messages.concat(row.chosen, row.rejected) : row.messages;
  for (const { tool_calls: calls } of turns) if (calls) yield* calls;
}

/**
 * Creates a function that removes padding from canonical rows, and reports each row in which it found some.
 * @param padded all calls without a definition have the same keys, so that their null is padding
 */
export function createPadding(padded: boolean, problems: Problems) {
  /** The keys of calls without a definition, while all have the same ones. */
  let keys: string | null = null;
  let same = true;
  let calls = 0;
  let nulls = false;

  function note(value: Json): void {
    const own = Object.keys(value).sort().join("\n");
    keys ??= own;
    same &&= keys === own;
    calls++;
    nulls ||= Object.values(value).includes(null);
  }

  function prune({ function: called }: ToolCall, schemas: Map<string, unknown>, removed: string[]): void {
    const schema = schemas.get(called.name);
    const asks = schema === undefined && same && !padded;
    if (!asks && !called.arguments.includes("null")) return;
    const value = parseExact(called.arguments) as Json;
    if (asks) note(value);
    const before = removed.length;
    pruneArguments(value, schema, padded, removed);
    if (removed.length > before) called.arguments = isMarked(value) ? writeExact(value) : JSON.stringify(value);
  }

  return {
    clean(row: Row): void {
      if (isText(row)) return;
      const removed: string[] = [];
      pruneDefinition(row.tools, removed);
      const schemas = new Map(row.tools?.map(({ function: { name, parameters } }) => [name, parameters ?? {}]));
      for (const call of callsOf(row)) prune(call, schemas, removed);
      if (removed.length) problems.add("null_padding", "", "", [...new Set(removed)].join(", "));
    },
    /** Whether the null of calls without a definition turned out to be padding. */
    found: () => same && nulls && calls > 1,
  };
}
