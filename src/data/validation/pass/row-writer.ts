/** Writes and hashes canonical rows in one pass, and at the end splits them into training and validation files. */
import { closeSync, fsyncSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { diskGuard } from "../../../lib/disk/reserve.ts";
import { INDEX_EVERY, writeIndex } from "../rows/index-file.ts";
import type { createHoldout, RowSpan, SplitBy, SplitKeys } from "./holdout.ts";

const BUFFER = 1 << 20;
const COPY = 4 << 20;
const LF = 10;
const COMMA = 44;
const ZERO = 48;
const PREFIX = Buffer.from('{"id":');

function writeAll(fd: number, bytes: Buffer, length: number) {
  for (let done = 0; done < length; ) done += writeSync(fd, bytes, done, length - done);
}

/** The rules of the split, for the hash: 1 was by equal rows, 2 is by prompts. */
const SPLIT_RULES = 2;

interface Written {
  hash: string;
  trainRows: number;
  holdoutRows: number;
  splitBy: SplitBy;
}

/**
 * Creates a writer into `dir`. Every row gets an `id`: its line in the uploaded file.
 * The hash of the version covers the rows with their ids, followed by the split settings.
 * @param holdout selects the validation rows
 */
export function createRowWriter(
  dir: string,
  { seed, holdoutFraction, diskReserve }: { seed: number; holdoutFraction: number; diskReserve: number },
  holdout: ReturnType<typeof createHoldout>,
) {
  const path = join(dir, "rows.tmp");
  const fd = openSync(path, "w+", 0o600);
  const hasher = new Bun.CryptoHasher("sha256");
  const guard = diskGuard(dir, diskReserve);
  const index: number[] = [];
  const out = Buffer.allocUnsafe(BUFFER);
  let used = 0;
  let flushed = 0;
  let rows = 0;

  function flush() {
    if (used === 0) return;
    guard(used);
    hasher.update(out.subarray(0, used));
    writeAll(fd, out, used);
    flushed += used;
    used = 0;
  }

  function begin(need: number, id: number): number {
    if (used + need + 32 > BUFFER) flush();
    const start = flushed + used;
    rows++;
    if ((rows - 1) % INDEX_EVERY === 0) index.push(id, start);
    for (let i = 0; i < PREFIX.length; i++) out[used++] = PREFIX[i] ?? 0;
    for (let unit = 10 ** Math.floor(Math.log10(id) + 1e-9); unit >= 1; unit = Math.floor(unit / 10))
      out[used++] = ZERO + (Math.floor(id / unit) % 10);
    out[used++] = COMMA;
    return start;
  }

  function end(start: number, keys: SplitKeys) {
    out[used++] = LF;
    if (holdoutFraction > 0) holdout.add(keys, start, flushed + used);
  }

  return {
    get rows() {
      return rows;
    },
    /** Adds a row as the bytes of a JSON object, without spaces before its brace; ids must increase. */
    addBytes(bytes: Buffer, from: number, to: number, id: number, keys: SplitKeys) {
      const body = to - from - 1;
      const start = begin(body, id);
      if (used + body + 1 > BUFFER) {
        flush();
        const rest = bytes.subarray(from + 1, to);
        guard(rest.length);
        hasher.update(rest);
        writeAll(fd, rest, rest.length);
        flushed += rest.length;
      } else used += bytes.copy(out, used, from + 1, to);
      end(start, keys);
    },
    /**
     * Splits the rows and returns the hash and the row counts. The temporary file is always deleted, also after an
     * error.
     * @param labels rows of each label, whose shares the split keeps; null when rows have none
     */
    finish(labels: Map<number, number> | null, onProgress: () => void): Written {
      try {
        flush();
        const { spans: chosen, by } = holdout.choose(rows, holdoutFraction, labels);
        splitRows(fd, flushed, chosen, index, dir, guard, onProgress);
        const settings = JSON.stringify({ version: SPLIT_RULES, seed, holdout_fraction: holdoutFraction });
        const hash = hasher.update(settings).digest("hex");
        return { hash, trainRows: rows - chosen.length, holdoutRows: chosen.length, splitBy: by };
      } finally {
        this.drop();
      }
    },
    /** Closes and deletes the temporary file. While it is open, its disk space is not freed. */
    drop() {
      holdout.drop();
      closeSync(fd);
      unlinkSync(path);
    },
  };
}

/**
 * Copies the validation rows to holdout.jsonl and all byte ranges between them to train.jsonl, and writes an index for
 * each file.
 */
function splitRows(
  source: number,
  size: number,
  chosen: RowSpan[],
  index: number[],
  dir: string,
  guard: (bytes: number) => void,
  onProgress: () => void,
) {
  const buffer = Buffer.allocUnsafe(Math.min(COPY, Math.max(1, size)));
  const trainIndex: number[] = [];
  const targets: number[] = [];
  const create = (name: string) => {
    const target = openSync(join(dir, name), "w", 0o600);
    targets.push(target);
    return target;
  };
  const copy = (target: number, start: number, end: number) => {
    for (let at = start; at < end; ) {
      const got = readSync(source, buffer, 0, Math.min(buffer.length, end - at), at);
      if (got === 0) throw new Error("the temporary row file is shorter than expected");
      guard(got);
      writeAll(target, buffer, got);
      at += got;
      onProgress();
    }
  };
  try {
    const train = create("train.jsonl");
    const holdout = create("holdout.jsonl");
    let at = 0;
    let removed = 0;
    let entry = 0;
    for (const span of [...chosen, { start: size, end: size }]) {
      // Index entries before this validation row move back by the bytes removed so far. An entry for the row itself
      // then points to the row after it.
      for (; entry < index.length && (index[entry + 1] ?? 0) <= span.start; entry += 2)
        trainIndex.push(index[entry] ?? 0, (index[entry + 1] ?? 0) - removed);
      copy(train, at, span.start);
      copy(holdout, span.start, span.end);
      removed += span.end - span.start;
      at = span.end;
    }
    for (const target of targets) fsyncSync(target);
  } finally {
    for (const target of targets) closeSync(target);
  }
  writeIndex(join(dir, "train.idx"), trainIndex);
  writeIndex(join(dir, "holdout.idx"), []);
}
