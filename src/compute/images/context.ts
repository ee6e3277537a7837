/** The build context of an image as a tar stream: the embedded sources, and wheels from a directory. */
import { createReadStream, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { assetPath, listAssets } from "../../assets.ts";

const BLOCK = 512;
/** The largest size that fits eleven octal digits. */
const MAX_FILE = 8 * 1024 ** 3 - 1;
const WHOLE = 4 * 1024 ** 2;

interface Entry {
  /** Path inside the context. */
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

/** The header of one entry. A name over 100 bytes is in a pax record before it. */
function header(name: string, size: number, type: Type): Buffer {
  if (size > MAX_FILE) throw new Error(`${name} does not fit into a tar archive`);
  const plain = block(name, size, type);
  if (Buffer.byteLength(name) <= 100) return plain;
  // A record starts with its length in decimal digits, which includes these digits.
  const rest = ` path=${name}\n`;
  let length = Buffer.byteLength(rest);
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  const record = Buffer.from(`${length}${rest}`);
  return Buffer.concat([block("pax", record.length, "x"), record, padding(record.length), plain]);
}

/** Folders and files as a tar stream. */
export async function* tarOf(folders: readonly string[], entries: readonly Entry[]): AsyncGenerator<Uint8Array> {
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

/**
 * The build context of both Dockerfiles.
 * @param wheels a directory with wheels to install, or null
 */
export function imageContext(wheels: string | null): { folders: string[]; entries: Entry[]; bytes: number } {
  const entry = (name: string, path: string): Entry => ({ name, path, size: statSync(path).size });
  const ours = ["trainer", "compose"].flatMap((folder) =>
    listAssets(folder).map((name) => entry(`${folder}/${name}`, join(assetPath(folder), name))),
  );
  const given = wheels === null ? [] : readdirSync(wheels).filter((name) => name.endsWith(".whl"));
  const entries = [...ours, ...given.sort().map((name) => entry(`wheels/${name}`, join(wheels ?? "", name)))];
  return { folders: ["wheels/"], entries, bytes: entries.reduce((sum, { size }) => sum + size, 0) };
}
