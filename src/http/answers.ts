/**
 * Says what a route answers, in the same schemas that requests have: for the OpenAPI document, and for tests that check
 * real answers against it.
 */
import type { DocumentDecoration } from "elysia";
import type { GenericSchema } from "valibot";

type Responses = NonNullable<DocumentDecoration["responses"]>;

/**
 * The `responses` of a route's `detail` that answers 200 with JSON. The schema stays a valibot schema until the
 * document is asked for, so that starting the server does not pay for it.
 */
export function answers(schema: GenericSchema, description = "Done."): Responses {
  return { 200: { description, content: { "application/json": { schema: schema as never } } } };
}

/** The same for a route that answers something else than JSON, such as `text/csv` or `text/event-stream`. */
export function answersType(type: string, description: string): Responses {
  return { 200: { description, content: { [type]: { schema: { type: "string" } } } } };
}
