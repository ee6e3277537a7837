/**
 * Where a machine elsewhere may download the files of a base model before it asks the server: a type of the trainer
 * protocol, its schema, and the source of the JSON Schema that the trainer's check is tested against.
 */
import * as v from "valibot";

/** `url` and the path of a file make its address on the hub at a commit. It needs no token. */
export const HubSourceSchema = v.strictObject({
  url: v.pipe(v.string(), v.regex(/^https?:\/\/[^\s?#@]+\/resolve\/[0-9a-f]{40}\/$/)),
});
export type HubSource = v.InferOutput<typeof HubSourceSchema>;
