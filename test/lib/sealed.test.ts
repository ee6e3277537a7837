/** Sealed texts: opened only with the same secret, kind and row, and unchanged. */
import { expect, test } from "bun:test";
import { seal, sealedWith, secretId, unseal } from "../../src/lib/sealed.ts";

const place = { kind: "webhook", row: "whe_1" };

test("a sealed text is opened with its secret, kind and row only", () => {
  const sealed = seal("installation", place, "tëxt");
  expect(unseal("installation", place, sealed)).toBe("tëxt");
  expect(sealedWith(sealed)).toBe(secretId("installation"));
  expect(seal("installation", place, "tëxt")).not.toBe(sealed);
  expect(() => unseal("another", place, sealed)).toThrow(/sealed with the secret/);
  for (const other of [
    { ...place, row: "whe_2" },
    { ...place, kind: "wandb" },
  ])
    expect(() => unseal("installation", other, sealed)).toThrow();
  // The id of another secret in front does not make it another text.
  const moved = sealed.replace(secretId("installation"), secretId("another"));
  expect(() => unseal("another", place, moved)).toThrow();
});

test("a sealed text with one changed character is not opened", () => {
  const sealed = seal("installation", place, "text");
  // The last character also holds unused bits.
  for (let at = sealed.lastIndexOf(".") + 1; at < sealed.length - 1; at++) {
    const changed = `${sealed.slice(0, at)}${sealed[at] === "A" ? "B" : "A"}${sealed.slice(at + 1)}`;
    expect(() => unseal("installation", place, changed)).toThrow();
  }
});
