/**
 * JSON documents signed with Ed25519: the canonical text of RFC 8785, a key derived from a secret, and a check that
 * needs only the document.
 */
import { createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from "node:crypto";
import canonicalize from "canonicalize";

/** Added to a document's own fields. `public_key` (32 bytes) and `value` (64 bytes) are base64. */
interface Signature {
  algorithm: "ed25519";
  public_key: string;
  value: string;
}

/** The DER prefixes of a 32-byte private key (PKCS #8) and of a 32-byte public key (SPKI). */
const PRIVATE = Buffer.from("302e020100300506032b657004220420", "hex");
const PUBLIC = Buffer.from("302a300506032b6570032100", "hex");

/** The signed bytes: what JSON keeps of the value, in canonical form. @throws Error on half a surrogate pair */
function signedBytes(value: object): Buffer {
  return Buffer.from(canonicalize(JSON.parse(JSON.stringify(value))) ?? "null");
}

/** The signing key of a secret for one purpose: always the same, and different for every purpose. */
function keyOf(secret: string, purpose: string): KeyObject {
  const seed = Buffer.from(hkdfSync("sha256", secret, "", purpose, 32));
  return createPrivateKey({ key: Buffer.concat([PRIVATE, seed]), format: "der", type: "pkcs8" });
}

/** The public key of a secret for one purpose, 32 bytes in base64. */
export function publicKey(secret: string, purpose: string): string {
  const der = createPublicKey(keyOf(secret, purpose)).export({ format: "der", type: "spki" });
  return der.subarray(PUBLIC.length).toString("base64");
}

/** The document with a signature over all its other fields. @throws Error on half a surrogate pair */
export function signJson<T extends object>(secret: string, purpose: string, value: T): T & { signature: Signature } {
  const signature: Signature = {
    algorithm: "ed25519",
    public_key: publicKey(secret, purpose),
    value: sign(null, signedBytes(value), keyOf(secret, purpose)).toString("base64"),
  };
  return { ...value, signature };
}

/** True when the signature is over these fields and the key is a point of the curve. */
function isSignedBy(publicKeyBytes: Buffer, value: object, mark: Buffer): boolean {
  try {
    const der = Buffer.concat([PUBLIC, publicKeyBytes]);
    return verify(null, signedBytes(value), createPublicKey({ key: der, format: "der", type: "spki" }), mark);
  } catch {
    // Text that cannot be signed, or bytes that are not a key: nobody signed this document.
    return false;
  }
}

/**
 * Checks a signed document.
 * @param key the public key it must be signed with, in base64; without it any key is accepted, which only shows that
 *   nothing was changed since it was signed
 * @returns the problem in words; null when there is none
 */
export function signatureProblem(document: unknown, key?: string): string | null {
  if (typeof document !== "object" || document === null || !("signature" in document)) return "it has no signature";
  const { signature, ...value } = document as { signature: Partial<Signature> | null };
  const own = Buffer.from(String(signature?.public_key ?? ""), "base64");
  const mark = Buffer.from(String(signature?.value ?? ""), "base64");
  if (signature?.algorithm !== "ed25519" || own.length !== 32 || mark.length !== 64)
    return "its signature is not an Ed25519 signature";
  if (key !== undefined && !Buffer.from(key, "base64").equals(own)) return "it was signed with another key";
  return isSignedBy(own, value, mark) ? null : "it was changed after it was signed, or signed by somebody else";
}
