/**
 * Checks responses against OpenAI's published OpenAPI file, if that file is beside the project (it is not ours to
 * ship).
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020";
import addFormats from "ajv-formats";

const SPEC = join(import.meta.dir, "../../../shared/contracts/openai-openapi.yaml");

/** Null when the file is there, else why the check is skipped. */
export const contractMissing = existsSync(SPEC) ? null : `no OpenAPI file at ${SPEC}`;

let ajv: Ajv2020 | null = null;
const compiled = new Map<string, ValidateFunction>();

/**
 * The file still uses OpenAPI 3.0's `nullable` and boolean `exclusiveMinimum` here and there: said in JSON Schema's
 * words instead.
 */
function modern(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(modern);
  if (typeof node !== "object" || node === null) return node;
  const { nullable, ...rest } = node as Record<string, unknown>;
  const plain = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, modern(value)]));
  if (plain.exclusiveMinimum === true) {
    plain.exclusiveMinimum = plain.minimum;
    delete plain.minimum;
  }
  return nullable === true ? { anyOf: [plain, { type: "null" }] } : plain;
}

function load(): Ajv2020 {
  if (ajv) return ajv;
  const spec = modern(Bun.YAML.parse(readFileSync(SPEC, "utf8"))) as Record<string, unknown>;
  ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false });
  addFormats(ajv);
  ajv.addFormat("unixtime", {
    type: "number",
    validate: (value: number) => value > 1_000_000_000 && value < 100_000_000_000,
  });
  ajv.addSchema(spec, "openai");
  return ajv;
}

/** What is wrong with `value` as the named component schema; an empty list means it fits. */
export function contractProblems(schema: string, value: unknown): string[] {
  let validate = compiled.get(schema);
  if (!validate) {
    validate = load().compile({ $ref: `openai#/components/schemas/${schema}` });
    compiled.set(schema, validate);
  }
  if (validate(value)) return [];
  return (validate.errors ?? []).map((error) => `${schema}${error.instancePath} ${error.message}`);
}
