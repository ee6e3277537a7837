/**
 * Splits a stream of bytes into lines without copying lines that are complete in a chunk. Memory is bounded by the
 * maximum line length.
 */

/** Receives records as ranges of a buffer that is valid only during the call. Line numbers start at 1. */
export interface RecordSink {
  record(bytes: Buffer, start: number, end: number, line: number): void;
  /** A record over the size limit; its bytes were dropped. */
  tooLong(line: number, bytes: number): void;
  /** The container is malformed; rows after this point may not be read. */
  broken(line: number, detail: string): void;
}

export interface Scanner {
  push(chunk: Buffer): void;
  end(): void;
}

/** Buffers a record that started in an earlier chunk. Above `max` bytes, it only counts. */
export function createCarry(max: number) {
  let buffer = Buffer.allocUnsafe(Math.min(max, 65536));
  let length = 0;
  let total = 0;
  return {
    get length() {
      return total;
    },
    /** The buffered bytes, or null when there were more than `max`. */
    take(): { buffer: Buffer; length: number } | null {
      return total > max ? null : { buffer, length };
    },
    add(chunk: Buffer, start: number, end: number) {
      total += end - start;
      if (total > max) {
        length = 0;
        return;
      }
      if (total > buffer.length) {
        const bigger = Buffer.allocUnsafe(Math.min(max, Math.max(total, buffer.length * 2)));
        buffer.copy(bigger, 0, 0, length);
        buffer = bigger;
      }
      chunk.copy(buffer, length, start, end);
      length = total;
    },
    clear() {
      length = 0;
      total = 0;
    },
  };
}

const LF = 10;
const CR = 13;

/** Index of the next `byte` at or after `from`, or the length of the chunk. */
function indexOr(chunk: Buffer, byte: number, from: number): number {
  const at = chunk.indexOf(byte, from);
  return at < 0 ? chunk.length : at;
}

/** Bytes that are looked at without a native call. */
const NEAR_BYTES = 16;

/** The same for a byte that is often near. */
export function indexNear(chunk: Buffer, byte: number, from: number): number {
  const near = Math.min(from + NEAR_BYTES, chunk.length);
  for (let at = from; at < near; at++) if (chunk[at] === byte) return at;
  return indexOr(chunk, byte, near);
}

/** Counts lines lazily, and scans each line break once. */
export function createLineCount(lineBreak = LF) {
  let line = 1;
  let chunk: Buffer = Buffer.alloc(0);
  let next = 0;
  return {
    begin(bytes: Buffer) {
      chunk = bytes;
      next = indexOr(chunk, lineBreak, 0);
    },
    /** The line number at index `at` of the chunk. Indexes must not decrease between calls. */
    at(at: number): number {
      while (next < at) {
        line++;
        next = indexOr(chunk, lineBreak, next + 1);
      }
      return line;
    },
  };
}

/**
 * Lines end with LF or CRLF, or with CR alone when `lineBreak` says so; it is not part of the record. Empty lines are
 * passed on with start equal to end.
 */
export function scanLines(maxBytes: number, sink: RecordSink, onCrlf: () => void = () => {}, lineBreak = LF): Scanner {
  const carry = createCarry(maxBytes);
  let line = 1;

  function emit(bytes: Buffer, start: number, end: number) {
    let stop = end;
    if (stop > start && bytes[stop - 1] === CR) {
      stop--;
      onCrlf();
    }
    if (end - start > maxBytes) sink.tooLong(line, end - start);
    else sink.record(bytes, start, stop, line);
  }

  function emitCarry() {
    const kept = carry.take();
    if (kept) emit(kept.buffer, 0, kept.length);
    else sink.tooLong(line, carry.length);
    carry.clear();
  }

  return {
    push(chunk) {
      let at = 0;
      if (carry.length > 0) {
        const stop = chunk.indexOf(lineBreak);
        carry.add(chunk, 0, stop < 0 ? chunk.length : stop);
        if (stop < 0) return;
        emitCarry();
        line++;
        at = stop + 1;
      }
      for (;;) {
        const stop = chunk.indexOf(lineBreak, at);
        if (stop < 0) break;
        emit(chunk, at, stop);
        line++;
        at = stop + 1;
      }
      if (at < chunk.length) carry.add(chunk, at, chunk.length);
    },
    end() {
      if (carry.length > 0) emitCarry();
    },
  };
}
