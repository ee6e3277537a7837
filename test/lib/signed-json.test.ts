/** Signed JSON: documents of earlier builds still verify, and no document, however strange, ends the check. */
import { describe, expect, test } from "bun:test";
import { publicKey, signatureProblem, signJson } from "../../src/lib/signed-json.ts";

/** Signed by the first release. Do not sign it again: the test is that its signature still verifies. */
const FIRST = {
  schema: "run-passport/1",
  model: "ft:näme:✓",
  é: 1,
  "\u{1F600}": 2,
  ﬁ: 3,
  B: null,
  a: { z: [1, null, 1e21, 0.1, 0, 5e-7, 'x\u2028\n"\\'], nan: null },
  seconds: 12.5,
  signature: {
    algorithm: "ed25519",
    public_key: "kqjGeukus7ChodTktmq2GkctP/Sbufid84JbdCNeoeQ=",
    value: "KJuRHzk+T/Oy8oefOMeOAJ0RB8G4hmXD3d3zBXRESIUGQS5P32nwX+qzC2FQdaZynMXjs2OSAHt53zLSQ8BEDg==",
  },
} as const;
const SECRET = "a secret of thirty-two characters";

describe("signed JSON", () => {
  test("a document signed by the first release verifies, and gets the same signature today", () => {
    const { signature, ...value } = FIRST;
    expect(signatureProblem(FIRST, publicKey(SECRET, "passport"))).toBeNull();
    expect(signJson(SECRET, "passport", value).signature).toEqual(signature);
  });

  test("values that JSON drops or replaces do not change the signature", () => {
    const signed = signJson(SECRET, "passport", { a: undefined, b: [undefined, Number.NaN], c: -0 });
    expect(signatureProblem(JSON.parse(JSON.stringify(signed)))).toBeNull();
  });

  test("a changed document, half a surrogate pair, deep nesting and a bad key are reported as not signed", () => {
    const nested = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`);
    const changes: object[] = [{ model: "other" }, { model: "\ud800" }, { model: nested }];
    for (const change of changes) expect(signatureProblem({ ...FIRST, ...change })).toContain("changed after");
    const zeros = { ...FIRST.signature, public_key: Buffer.alloc(32).toString("base64") };
    expect(signatureProblem({ ...FIRST, signature: zeros })).toContain("changed after");
  });
});
