/** Streams the training and validation rows of a version together, in the order of the original file. */
import { open } from "node:fs/promises";

const CHUNK = 1 << 18;
const LF = 10;
const COMMA = 44;
const BRACE = 123;
const LINE_BREAK = Buffer.from("\n");

/** A row as it is stored, without its line break. */
interface StoredRow {
  id: number;
  line: Buffer;
}

/** The numbered lines of a file, each in a buffer that stays valid. */
export async function* linesIn(path: string): AsyncGenerator<StoredRow> {
  const row = (line: Buffer) => ({ id: Number(line.toString("latin1", '{"id":'.length, line.indexOf(COMMA))), line });
  const file = await open(path, "r");
  try {
    let rest = Buffer.alloc(0);
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const { bytesRead } = await file.read(chunk, 0, CHUNK);
      if (bytesRead === 0) return;
      const bytes = rest.length ? Buffer.concat([rest, chunk.subarray(0, bytesRead)]) : chunk.subarray(0, bytesRead);
      let at = 0;
      // The rest of the last chunk has no line break, so only the new bytes are searched.
      for (let stop = bytes.indexOf(LF, rest.length); stop >= 0; stop = bytes.indexOf(LF, at)) {
        yield row(bytes.subarray(at, stop));
        at = stop + 1;
      }
      rest = bytes.subarray(at);
    }
  } finally {
    await file.close();
  }
}

/** The rows of two files by id; each file is in that order already. */
export async function* mergedRows(first: string, second: string): AsyncGenerator<StoredRow> {
  const [left, right] = [linesIn(first), linesIn(second)];
  try {
    let [a, b] = await Promise.all([left.next(), right.next()]);
    while (!a.done || !b.done) {
      if (!a.done && (b.done || a.value.id < b.value.id)) {
        yield a.value;
        a = await left.next();
      } else if (!b.done) {
        yield b.value;
        b = await right.next();
      }
    }
  } finally {
    await Promise.all([left.return(undefined), right.return(undefined)]);
  }
}

/** Bytes `from` to `to` (not included) of the rows of two files as JSONL, in pieces of about 256 KiB. */
export async function* mergedBytes(
  first: string,
  second: string,
  { from, to }: { from: number; to: number },
): AsyncGenerator<Uint8Array> {
  let at = 0;
  let size = 0;
  let parts: Buffer[] = [];
  for await (const { line } of mergedRows(first, second)) {
    for (const bytes of [line, LINE_BREAK]) {
      const part = bytes.subarray(Math.max(0, from - at), Math.max(0, to - at));
      at += bytes.length;
      if (part.length) parts.push(part);
      size += part.length;
    }
    if (size < CHUNK && at < to) continue;
    if (size) yield Buffer.concat(parts);
    parts = [];
    size = 0;
    if (at >= to) return;
  }
}

/** `{"id":12,"messages":…` without its id; changes the buffer. */
export function withoutId(line: Buffer): Buffer {
  const comma = line.indexOf(COMMA);
  line[comma] = BRACE;
  return line.subarray(comma);
}
