/**
 * Encrypts streams before they leave this machine: AES-256-GCM in pieces of 1 MiB. Each object has a key of its own,
 * made of the secret, a random salt and the object's name; the number of a piece and whether it is the last are in its
 * nonce. An object that was cut off, changed, reordered or stored under another name does not open.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { StoreProblem } from "./store.ts";

const FORMAT = Buffer.from("FTL1");
const SALT = 16;
const HEAD = FORMAT.length + SALT;
const PIECE = 1 << 20;
const TAG = 16;

const keyOf = (secret: string, salt: Buffer, name: string) =>
  Buffer.from(hkdfSync("sha256", secret, salt, `backup object ${name}`, 32));

/** A name of a secret that does not reveal it. */
export const keyId = (secret: string): string =>
  Buffer.from(hkdfSync("sha256", secret, "", "backup key id", 8)).toString("hex");

/** The size of an encrypted object of `bytes` bytes. */
export const encryptedBytes = (bytes: number): number => HEAD + bytes + TAG * Math.max(1, Math.ceil(bytes / PIECE));

function nonceOf(piece: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(piece), 0);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** Blocks of exactly `sizeOf(n)` bytes; the last may be shorter, and is named. An empty source has one empty block. */
async function* blocksOf(source: AsyncIterable<Uint8Array>, sizeOf: (block: number) => number) {
  let n = 0;
  let block = Buffer.allocUnsafe(sizeOf(n));
  let used = 0;
  for await (const piece of source)
    for (let at = 0; at < piece.byteLength; ) {
      if (used === block.byteLength) {
        yield { block, last: false };
        block = Buffer.allocUnsafe(sizeOf(++n));
        used = 0;
      }
      const part = piece.subarray(at, at + block.byteLength - used);
      block.set(part, used);
      used += part.byteLength;
      at += part.byteLength;
    }
  yield { block: block.subarray(0, used), last: true };
}

/** @param name binds the object to its place */
export async function* encrypted(
  secret: string,
  name: string,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const salt = randomBytes(SALT);
  const key = keyOf(secret, salt, name);
  yield Buffer.concat([FORMAT, salt]);
  let piece = 0;
  for await (const { block, last } of blocksOf(source, () => PIECE)) {
    const cipher = createCipheriv("aes-256-gcm", key, nonceOf(piece++, last));
    yield Buffer.concat([cipher.update(block), cipher.final(), cipher.getAuthTag()]);
  }
}

/** @throws StoreProblem `damaged` when the bytes, the name or the secret are others */
export async function* decrypted(
  secret: string,
  name: string,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const damaged = () => new StoreProblem("damaged", `${name}: its content changed`);
  let key: Buffer | null = null;
  let piece = 0;
  for await (const { block, last } of blocksOf(source, (n) => (n === 0 ? HEAD : PIECE + TAG))) {
    if (key === null) {
      if (last || !block.subarray(0, FORMAT.length).equals(FORMAT)) throw damaged();
      key = keyOf(secret, block.subarray(FORMAT.length), name);
      continue;
    }
    if (block.byteLength < TAG) throw damaged();
    const decipher = createDecipheriv("aes-256-gcm", key, nonceOf(piece++, last), { authTagLength: TAG });
    decipher.setAuthTag(block.subarray(block.byteLength - TAG));
    let plain: Buffer;
    try {
      plain = Buffer.concat([decipher.update(block.subarray(0, block.byteLength - TAG)), decipher.final()]);
    } catch {
      throw damaged();
    }
    yield plain;
  }
}
