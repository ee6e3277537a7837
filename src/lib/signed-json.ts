/**
 * JSON documents signed with Ed25519: canonical text, a key derived from a secret, and a check that needs only the
 * document.
 */
import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from "node:crypto";

/** The signature of a document. `public_key` (32 bytes) and `value` (64 bytes) are base64. */
interface Signature {
  algorithm: "ed25519";
  public_key: string;
  value: string;
}

/** The bytes before the 32 bytes of a private and of a public key in PKCS #8 and SPKI. */
const PRIVATE = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC = Buffer.from("302a300506032b6570032100", "hex");

/** The canonical text of a value: keys sorted at every level, no spaces. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonicalJson(one ?? null)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  const sorted = entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([key, one]) => `${JSON.stringify(key)}:${canonicalJson(one)}`).join(",")}}`;
}

/** The signing key of a secret for one purpose: deterministic, and different for every purpose. */
function keyOf(secret: string, purpose: string): KeyObject {
  const seed = Buffer.from(hkdfSync("sha256", secret, "", purpose, 32));
  return createPrivateKey({ key: Buffer.concat([PRIVATE, seed]), format: "der", type: "pkcs8" });
}

/** The public key of a secret for one purpose, 32 bytes in base64. */
export function publicKey(secret: string, purpose: string): string {
  const der = createPublicKey(keyOf(secret, purpose)).export({ format: "der", type: "spki" });
  return der.subarray(PUBLIC.length).toString("base64");
}

/** The document with a signature over all its other fields. */
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
 * @param key the expected public key, in base64; without it any key is accepted, which only proves that the document is
 *   unchanged
 * @returns what is wrong, as text; null for a valid document
 */
export function signatureProblem(document: unknown, key?: string): string | null {
  if (typeof document !== "object" || document === null || !("signature" in document)) return "it has no signature";
  const { signature, ...value } = document as { signature: Partial<Signature> | null };
  const own = Buffer.from(String(signature?.public_key ?? ""), "base64");
  const mark = Buffer.from(String(signature?.value ?? ""), "base64");
  if (signature?.algorithm !== "ed25519" || own.length !== 32 || mark.length !== 64)
    return "its signature is not an Ed25519 signature";
  if (key !== undefined && !Buffer.from(key, "base64").equals(own)) return "it was signed with another key";
  const spki = createPublicKey({ key: Buffer.concat([PUBLIC, own]), format: "der", type: "spki" });
  return verify(null, Buffer.from(canonicalJson(value)), spki, mark)
    ? null
    : "it was changed after signing, or signed with another key";
}
