/** Null for an optional field is the same as leaving it out; every other null stays. */
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { withoutNulls } from "../../src/lib/nulls.ts";

const Inner = v.strictObject({ a: v.optional(v.string()), b: v.string() });
const Body = v.strictObject({
  needed: v.string(),
  optional: v.optional(v.number()),
  reset: v.optional(v.nullable(v.number())),
  inner: v.optional(Inner),
  list: v.optional(v.array(Inner)),
  either: v.optional(
    v.variant("type", [
      v.strictObject({ type: v.literal("x"), c: v.optional(v.string()) }),
      v.strictObject({ type: v.literal("y"), c: v.nullable(v.string()) }),
    ]),
  ),
  named: v.optional(v.record(v.string(), Inner)),
  free: v.optional(v.record(v.string(), v.unknown())),
  loose: v.optional(v.looseObject({ d: v.optional(v.string()), e: v.unknown() })),
});

describe("nulls of a request", () => {
  test("are dropped where a field is optional, at any depth", () => {
    const given = {
      needed: "n",
      optional: null,
      inner: { a: null, b: "b" },
      list: [{ a: null, b: "b" }],
      either: { type: "x", c: null },
      named: { one: { a: null, b: "b" } },
      loose: { d: null, e: null, other: null },
    };
    expect(withoutNulls(Body, given)).toEqual({
      needed: "n",
      inner: { b: "b" },
      list: [{ b: "b" }],
      either: { type: "x" },
      named: { one: { b: "b" } },
      loose: { e: null },
    });
  });

  test("stay where they are required, mean something, are data, or are of an unknown field", () => {
    const given = {
      needed: null,
      reset: null,
      either: { type: "y", c: null },
      free: { enum: [null], default: null },
      unknown: null,
      __proto__x: null,
    };
    expect(withoutNulls(Body, given)).toEqual(given);
    expect(withoutNulls(Body, null)).toBeNull();
    expect(withoutNulls(Body, ["a", null])).toEqual(["a", null]);
  });
});
