/** Writes and hashes canonical rows in one pass, and at the end moves the validation rows to a file of their own. */
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { diskGuard } from "../../../lib/disk/reserve.ts";
import { INDEX_EVERY, writeIndex } from "../../storage/index-file.ts";
import type { createHoldout, RowSpan, SplitBy, SplitKeys } from "./holdout.ts";

const BUFFER = 1 << 20;
const COPY = 4 << 20;
const LF = 10;
const NINE = 57;
/** Where the digits of an id start in a row. */
const DIGITS = '{"id":'.length;

/** @param at position in the file; null = where the last write ended */
function writeAll(fd: number, bytes: Buffer, length: number, at: number | null = null) {
  for (let done = 0; done < length; ) done += writeSync(fd, bytes, done, length - done, at === null ? null : at + done);
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
  const path = join(dir, "train.jsonl");
  const fd = openSync(path, "w+", 0o600);
  const hasher = new Bun.CryptoHasher("sha256");
  const guard = diskGuard(dir, diskReserve);
  const index: number[] = [];
  const out = Buffer.allocUnsafe(BUFFER);
  let used = 0;
  let flushed = 0;
  let rows = 0;
  /** The start of the last row: its id. */
  const prefix = Buffer.alloc(32);
  let prefixEnd = 0;
  let lastId = 0;

  function flush() {
    if (used === 0) return;
    guard(used);
    hasher.update(out.subarray(0, used));
    writeAll(fd, out, used);
    flushed += used;
    used = 0;
  }

  function close() {
    holdout.drop();
    closeSync(fd);
  }

  /** Counts up the digits of the last id: ids that are close to each other are the rule. */
  function setPrefix(id: number) {
    let more = id - lastId;
    lastId = id;
    for (let at = prefixEnd - 2; more < 10 && at >= DIGITS; at--) {
      const digit = (prefix[at] ?? 0) + more;
      more = digit > NINE ? 1 : 0;
      prefix[at] = digit - more * 10;
      if (more === 0) return;
    }
    prefixEnd = prefix.write(`{"id":${id},`, "latin1");
  }

  function begin(need: number, id: number): number {
    if (used + need + 32 > BUFFER) flush();
    const start = flushed + used;
    rows++;
    if ((rows - 1) % INDEX_EVERY === 0) index.push(id, start);
    setPrefix(id);
    for (let i = 0; i < prefixEnd; i++) out[used++] = prefix[i] ?? 0;
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
     * Splits the rows and returns the hash and the row counts.
     * @param labels rows of each label, whose shares the split keeps; null when rows have none
     */
    finish(labels: Map<number, number> | null, onProgress: () => void): Written {
      let written: Written;
      try {
        flush();
        const { spans: chosen, by } = holdout.choose(rows, holdoutFraction, labels);
        takeOut(fd, flushed, chosen, index, dir, guard, onProgress);
        const settings = JSON.stringify({ version: SPLIT_RULES, seed, holdout_fraction: holdoutFraction });
        const hash = hasher.update(settings).digest("hex");
        written = { hash, trainRows: rows - chosen.length, holdoutRows: chosen.length, splitBy: by };
      } catch (error) {
        this.drop();
        throw error;
      }
      close();
      return written;
    },
    /** Closes and deletes the file. While it is open, its disk space is not freed. */
    drop() {
      close();
      unlinkSync(path);
    },
  };
}

/**
 * Copies the validation rows to holdout.jsonl, closes the gaps that they leave in the file of all rows, and writes an
 * index for each file.
 */
function takeOut(
  rows: number,
  size: number,
  chosen: RowSpan[],
  index: number[],
  dir: string,
  guard: (bytes: number) => void,
  onProgress: () => void,
) {
  const buffer = Buffer.allocUnsafe(Math.min(COPY, Math.max(1, size)));
  const copy = (from: RowSpan, target: number, to: number | null) => {
    for (let at = from.start; at < from.end; ) {
      const got = readSync(rows, buffer, 0, Math.min(buffer.length, from.end - at), at);
      if (got === 0) throw new Error("the file of all rows is shorter than expected");
      writeAll(target, buffer, got, to === null ? null : to + at - from.start);
      at += got;
      onProgress();
    }
  };
  const holdout = openSync(join(dir, "holdout.jsonl"), "w", 0o600);
  try {
    for (const span of chosen) {
      guard(span.end - span.start);
      copy(span, holdout, null);
    }
    fsyncSync(holdout);
  } finally {
    closeSync(holdout);
  }
  const trainIndex: number[] = [];
  let removed = 0;
  let entry = 0;
  for (const [at, span] of [...chosen, { start: size, end: size }].entries()) {
    // Index entries before this validation row move back by the bytes removed so far. An entry for the row itself then
    // points to the row after it.
    for (; entry < index.length && (index[entry + 1] ?? 0) <= span.start; entry += 2)
      trainIndex.push(index[entry] ?? 0, (index[entry + 1] ?? 0) - removed);
    removed += span.end - span.start;
    const next = { start: span.end, end: chosen[at + 1]?.start ?? size };
    copy(next, rows, next.start - removed);
  }
  ftruncateSync(rows, size - removed);
  fsyncSync(rows);
  writeIndex(join(dir, "train.idx"), trainIndex);
  writeIndex(join(dir, "holdout.idx"), []);
}
