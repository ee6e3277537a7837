/**
 * The schema of the job spec: equal to the types, exported for the trainer, and matched by the specs of the server.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { pairsOf, specOf } from "../../scripts/matrix-cover.ts";
import { SCHEMA_FILE, schemaText } from "../../scripts/spec-schema.ts";
import type { EvaluateSpec, ExportSpec, ServeSpec, TrainSpec } from "../../src/contract/spec.ts";
import { SPEC_SCHEMAS } from "../../src/contract/spec-schema.ts";

/** A type flattened to one object. */
type Plain<T> = T extends readonly (infer E)[] ? Plain<E>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Same<A, B> = (<T>() => T extends Plain<A> ? 1 : 2) extends <T>() => T extends Plain<B> ? 1 : 2 ? true : false;
type Of<K extends keyof typeof SPEC_SCHEMAS> = v.InferOutput<(typeof SPEC_SCHEMAS)[K]>;

const SAME: [
  Same<Of<"train">, TrainSpec>,
  Same<Of<"evaluate">, EvaluateSpec>,
  Same<Of<"serve">, ServeSpec>,
  Same<Of<"export">, ExportSpec>,
] = [true, true, true, true];
// Control: a type without an optional field, or with a wider one, is not equal.
const OTHER: [Same<{ a: number }, { a: number; b?: string }>, Same<{ a: "x" }, { a: string }>] = [false, false];

const GOLDEN = join(import.meta.dir, "../golden");

describe("the schema of the job spec", () => {
  test("is equal to the types, checked by the compiler", () => {
    expect([...SAME, ...OTHER]).toEqual([true, true, true, true, false, false]);
  });

  test("is up to date in the trainer's folder; `bun scripts/spec-schema.ts` writes it", () => {
    expect(JSON.parse(readFileSync(SCHEMA_FILE, "utf8"))).toEqual(JSON.parse(schemaText()));
  });

  test("matches every spec that the server freezes for the table of options", () => {
    const specs = pairsOf().flatMap(([a, x, b, y]) => {
      try {
        return [specOf({ [a]: x, [b]: y })];
      } catch {
        return []; // refused before there is a spec
      }
    });
    expect(specs.length).toBeGreaterThan(1000);
    for (const spec of specs) expect(v.safeParse(SPEC_SCHEMAS.train, spec).issues ?? []).toEqual([]);
  });

  test("matches the golden files, and refuses a missing, unknown or mistyped field", () => {
    const parts = { method: 0, hyperparameters: 0, schedule: 0, parallel: 0 };
    for (const name of readdirSync(GOLDEN).filter((each) => each.endsWith(".json"))) {
      const { frozen } = JSON.parse(readFileSync(join(GOLDEN, name), "utf8"));
      for (const part of Object.keys(parts) as (keyof typeof parts)[]) {
        const schema = SPEC_SCHEMAS.train.entries[part];
        const fits = (value: unknown) => v.safeParse(schema, value).success;
        expect(fits(frozen[part])).toBe(true);
        expect(fits({ ...frozen[part], unknown: 1 })).toBe(false);
        for (const field of Object.keys(frozen[part])) {
          const { [field]: _, ...rest } = frozen[part];
          parts[part] += fits(rest) ? 0 : 1;
          expect(fits({ ...frozen[part], [field]: { other: true } })).toBe(false);
        }
      }
    }
    // Few fields are optional, so most removals are refused.
    expect(Object.values(parts).every((missed) => missed > 10)).toBe(true);
  });
});
