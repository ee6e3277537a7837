/**
 * JSON documents signed with Ed25519: one canonical text of a value, a key derived from a secret, and the check that
 * needs the document alone.
 */
import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from "node:crypto";

/** What stands beside a document's own fields. `public_key` and `value` in base64: 32 bytes and 64. */
interface Signature {
  algorithm: "ed25519";
  public_key: string;
  value: string;
}

/** What comes before the 32 bytes of a private and of a public key in their usual encodings (PKCS #8, SPKI). */
const PRIVATE = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC = Buffer.from("302a300506032b6570032100", "hex");

/** One text for equal values: keys sorted at every level, no spaces. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one ?? null)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  const sorted = entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([key, one]) => `${JSON.stringify(key)}:${canonicalJson(one)}`).join(",")}}`;
}

/** The signing key of a secret for one purpose: the same every time, and useless for another. */
function keyOf(secret: string, purpose: string): KeyObject {
  const seed = Buffer.from(hkdfSync("sha256", secret, "", purpose, 32));
  return createPrivateKey({ key: Buffer.concat([PRIVATE, seed]), format: "der", type: "pkcs8" });
}

/** The public key of a secret for one purpose, 32 bytes in base64. */
export function publicKey(secret: string, purpose: string): string {
  const der = createPublicKey(keyOf(secret, purpose)).export({ format: "der", type: "spki" });
  return der.subarray(PUBLIC.length).toString("base64");
}

/** The document with its signature over everything else in it. */
export function signJson<T extends object>(secret: string, purpose: string, value: T): T & { signature: Signature } {
  const bytes = Buffer.from(canonicalJson(value));
  const signature: Signature = {
    algorithm: "ed25519",
    public_key: publicKey(secret, purpose),
    value: sign(null, bytes, keyOf(secret, purpose)).toString("base64"),
  };
  return { ...value, signature };
}

/**
 * Checks a signed document.
 * @param key the public key it must bear, in base64; without it any key is taken, which shows only that nothing was
 *   changed since it was signed
 * @returns what is wrong in words; null when nothing is
 */
export function signatureProblem(document: unknown, key?: string): string | null {
  if (typeof document !== "object" || document === null || !("signature" in document)) return "it has no signature";
  const { signature, ...value } = document as { signature: Partial<Signature> | null };
  const own = Buffer.from(String(signature?.public_key ?? ""), "base64");
  const mark = Buffer.from(String(signature?.value ?? ""), "base64");
  if (signature?.algorithm !== "ed25519" || own.length !== 32 || mark.length !== 64)
    return "its signature is none of Ed25519";
  if (key !== undefined && !Buffer.from(key, "base64").equals(own)) return "it was signed with another key";
  const spki = createPublicKey({ key: Buffer.concat([PUBLIC, own]), format: "der", type: "spki" });
  return verify(null, Buffer.from(canonicalJson(value)), spki, mark)
    ? null
    : "it was changed after it was signed, or signed by somebody else";
}
