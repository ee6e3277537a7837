/**
 * Null for an optional field means the same as leaving it out, as in OpenAI's API: clients send unset options as null.
 */
import * as v from "valibot";

type Json = Record<string, unknown>;
/** The parts of a schema that say where its fields are. */
type Node = v.GenericSchema & {
  entries?: Record<string, Node>;
  wrapped?: Node;
  item?: Node;
  value?: Node;
  options?: Node[];
  key?: string;
  getter?: (input: unknown) => Node;
};

const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** True for an option of a `variant` that has another discriminator than `value`. */
const isOther = (schema: Node, option: Node, value: Json) => {
  const tag = schema.key === undefined ? undefined : option.entries?.[schema.key];
  return tag !== undefined && !v.is(tag, value[schema.key ?? ""]);
};

function ofObject(schema: Node, value: Json): Json {
  const entries = schema.entries ?? {};
  const kept = Object.entries(value).filter(([name, each]) => {
    if (each !== null) return true;
    const field = Object.hasOwn(entries, name) ? entries[name] : undefined;
    if (!field) return schema.type !== "loose_object";
    return v.is(field, null) || !v.is(field, undefined);
  });
  return Object.fromEntries(
    kept.map(([name, each]) => {
      const field = Object.hasOwn(entries, name) ? entries[name] : undefined;
      return [name, field ? withoutNulls(field, each) : each];
    }),
  );
}

/**
 * A copy of `value` without the nulls of fields that `schema` lists as optional and whose values cannot be null, at any
 * depth; of a loose object, also without the nulls of fields it does not list. Values without a schema of their own
 * (metadata, JSON Schemas, rows) stay as they are.
 */
export function withoutNulls(given: v.GenericSchema, value: unknown): unknown {
  const schema = given as Node;
  if (typeof value !== "object" || value === null) return value;
  if (schema.wrapped) return withoutNulls(schema.wrapped, value);
  if (schema.getter) return withoutNulls(schema.getter(value), value);
  const { item, options } = schema;
  if (options && isObject(value))
    return options.reduce<unknown>(
      (kept, option) => (isOther(schema, option, value) ? kept : withoutNulls(option, kept)),
      value,
    );
  if (Array.isArray(value)) return item ? value.map((each) => withoutNulls(item, each)) : value;
  if (schema.entries) return ofObject(schema, value as Json);
  const { value: each } = schema;
  if (schema.type !== "record" || !each) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withoutNulls(each, one)]));
}

/** The schema of a request body whose optional fields may also be null. */
export const nullsAbsent = <const S extends v.GenericSchema>(schema: S) =>
  v.pipe(
    v.unknown(),
    v.transform((value) => withoutNulls(schema, value)),
    schema,
  );
