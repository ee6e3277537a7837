/**
 * The JSON Schema of the job spec and of hub sources, generated from src/contract/. `bun scripts/spec-schema.ts` writes
 * it for the trainer.
 */
import { join } from "node:path";
import { toJsonSchema } from "@valibot/to-json-schema";
import { HubSourceSchema } from "../src/contract/hub-source.ts";
import { SPEC_SCHEMAS } from "../src/contract/spec-schema.ts";

export const SCHEMA_FILE = join(import.meta.dir, "../trainer/finetune_trainer/spec/schema.json");

/** The text of the file: one schema per kind of job, and the one of hub sources. */
export function schemaText(): string {
  const kinds = Object.entries({ ...SPEC_SCHEMAS, hub_source: HubSourceSchema }).map(([kind, schema]) => [
    kind,
    toJsonSchema(schema, { target: "draft-2020-12", errorMode: "throw" }),
  ]);
  const about = "Made by `bun scripts/spec-schema.ts` from src/contract/. The trainer's tests hold its models to it.";
  return `${JSON.stringify({ $comment: about, ...Object.fromEntries(kinds) }, null, 1)}\n`;
}

if (import.meta.main) await Bun.write(SCHEMA_FILE, schemaText());
