/** Encrypts small secrets for storage: AES-256-GCM, one key for each kind, derived from the installation's secret. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const FORMAT = "s1";
const NONCE = 12;
const TAG = 16;

/** What a text is, and the row that it belongs to: a value that is copied to another row cannot be opened there. */
export interface Place {
  kind: string;
  row: string;
}

const derived = (secret: string, info: string, length: number) =>
  Buffer.from(hkdfSync("sha256", secret, "", info, length));

/** A name of the secret that does not reveal it: 16 hex digits, stored with every sealed text. */
export const secretId = (secret: string): string => derived(secret, "secret id", 8).toString("hex");

/** The id of the secret that sealed a text; null for texts of earlier versions, which have none. */
export function sealedWith(sealed: string): string | null {
  const [format, id] = sealed.split(".", 2);
  return format === FORMAT && id ? id : null;
}

function encrypted(key: Buffer, text: string, bound: string): Buffer {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(bound));
  const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
}

function decrypted(key: Buffer, bytes: Buffer, bound: string): string {
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE), { authTagLength: TAG });
  decipher.setAAD(Buffer.from(bound)).setAuthTag(bytes.subarray(NONCE, NONCE + TAG));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE + TAG)), decipher.final()]).toString("utf8");
}

const keyOf = (secret: string, place: Place) => derived(secret, `sealed kind ${place.kind}`, 32);
const boundTo = (id: string, { kind, row }: Place) => JSON.stringify([FORMAT, id, kind, row]);

/** The sealed text: format, id of the secret, and nonce, tag and ciphertext in base64url, separated by points. */
export function seal(secret: string, place: Place, text: string): string {
  const id = secretId(secret);
  return `${FORMAT}.${id}.${encrypted(keyOf(secret, place), text, boundTo(id, place)).toString("base64url")}`;
}

/** @throws Error when the text was changed or moved to another row, or sealed with another secret or as another kind */
export function unseal(secret: string, place: Place, sealed: string): string {
  const id = secretId(secret);
  const given = sealedWith(sealed);
  if (given !== id) throw new Error(`sealed with the secret ${given ?? "of an earlier version"}, not with ${id}`);
  return decrypted(
    keyOf(secret, place),
    Buffer.from(sealed.slice(FORMAT.length + id.length + 2), "base64url"),
    boundTo(id, place),
  );
}

/** Opens a text of an earlier version: base64 of nonce, tag and ciphertext. @throws Error as `unseal` */
export function unsealEarlier(secret: string, purpose: string, sealed: string): string {
  return decrypted(derived(secret, `sealed ${purpose}`, 32), Buffer.from(sealed, "base64"), "");
}
