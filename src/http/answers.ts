/**
 * What a route answers, in the same kind of schema as requests: for the OpenAPI document, and for tests that check real
 * answers against it.
 */
import type { DocumentDecoration } from "elysia";
import * as v from "valibot";

type Responses = NonNullable<DocumentDecoration["responses"]>;

/**
 * The `responses` of a route that answers 200 with JSON. The schema is converted when the document is requested, which
 * keeps it out of the start of the server.
 */
export function answers(schema: v.GenericSchema, description = "Done."): Responses {
  return { 200: { description, content: { "application/json": { schema: schema as never } } } };
}

/** The same for a route that answers something other than JSON, such as `text/csv` or `text/event-stream`. */
export function answersType(type: string, description: string): Responses {
  return { 200: { description, content: { [type]: { schema: { type: "string" } } } } };
}

/** The same for a stored file: it may be in the object store, and the client is then sent there. */
export const answersFile = (description: string): Responses => ({
  ...answersType("application/octet-stream", description),
  302: { description: "The file is in the object store: `location` reads it for five minutes, without a key." },
});

/** The `requestBody` of a route whose handler reads and checks the body itself. */
export function takes(schema: v.GenericSchema): DocumentDecoration["requestBody"] {
  return { required: true, content: { "application/json": { schema: schema as never } } };
}

/** The answer to a DELETE: `{object, id, deleted: true}`. */
export const deletedOf = <T extends string>(object: T) =>
  v.strictObject({ object: v.literal(object), id: v.string(), deleted: v.literal(true) });
