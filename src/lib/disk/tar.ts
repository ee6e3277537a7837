/** Writes files as a tar stream, in the ustar format with pax records for what does not fit into it. */
import { createReadStream, readFileSync } from "node:fs";

const BLOCK = 512;
/** The largest size that fits eleven octal digits. */
const MAX_FILE = 8 * 1024 ** 3 - 1;
const WHOLE = 4 * 1024 ** 2;

/** A file of an archive; `name` is its path inside, `path` where it is, `size` in bytes. */
export interface TarEntry {
  name: string;
  path: string;
  size: number;
}

type Type = "0" | "5" | "x";

function block(name: string, size: number, type: Type): Buffer {
  const field = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    field.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  field.write(name, 0, 100, "utf8");
  octal(type === "5" ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  // A constant time, so that the same sources give the same layers.
  octal(0, 136, 12);
  field.write("        ", 148, "latin1");
  field.write(type, 156, "latin1");
  field.write("ustar\u000000", 257, "latin1");
  const sum = field.reduce((total, byte) => total + byte, 0);
  field.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return field;
}

const padding = (size: number) => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/** A pax record. It starts with its length in decimal digits, which includes these digits. */
function record(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return Buffer.from(`${length}${rest}`);
}

/** The header of one entry. A name over 100 bytes and a size over 8 GiB are in pax records before it. */
function header(name: string, size: number, type: Type): Buffer {
  const records = [
    ...(Buffer.byteLength(name) > 100 ? [record("path", name)] : []),
    ...(size > MAX_FILE ? [record("size", String(size))] : []),
  ];
  const plain = block(name, Math.min(size, MAX_FILE), type);
  if (records.length === 0) return plain;
  const pax = Buffer.concat(records);
  return Buffer.concat([block("pax", pax.length, "x"), pax, padding(pax.length), plain]);
}

/** Folders and files as a tar stream. */
export async function* tarOf(folders: readonly string[], entries: readonly TarEntry[]): AsyncGenerator<Uint8Array> {
  for (const name of folders) yield header(name, 0, "5");
  for (const { name, path, size } of entries) {
    yield header(name, size, "0");
    let seen = 0;
    // Embedded files are small, and a compiled binary can read them only as a whole.
    for await (const chunk of size < WHOLE ? [readFileSync(path)] : createReadStream(path)) {
      seen += (chunk as Buffer).length;
      yield chunk as Buffer;
    }
    if (seen !== size) throw new Error(`${path} changed while it was read`);
    yield padding(size);
  }
  yield Buffer.alloc(2 * BLOCK);
}
