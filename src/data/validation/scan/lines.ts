/**
 * Cuts a stream of byte chunks into lines without copying the ones that lie whole in a chunk; memory is bounded by the
 * longest line allowed.
 */

/** Receives records as ranges of a buffer that is valid only during the call. Lines count from 1. */
export interface RecordSink {
  record(bytes: Buffer, start: number, end: number, line: number): void;
  /** A record over the limit; its bytes were dropped. */
  tooLong(line: number, bytes: number): void;
  /** The container itself is broken; rows after this place may be lost. */
  broken(line: number, detail: string): void;
}

export interface Scanner {
  push(chunk: Buffer): void;
  end(): void;
}

/** Bytes of a record that began in an earlier chunk. Over `max` bytes they are only counted. */
export function createCarry(max: number) {
  let buffer = Buffer.allocUnsafe(Math.min(max, 65536));
  let length = 0;
  let total = 0;
  return {
    get length() {
      return total;
    },
    /** The kept bytes, or null when there were too many. */
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

/** Index of a byte from `from` on, or the length when there is none. */
export function indexOr(chunk: Buffer, byte: number, from: number): number {
  const at = chunk.indexOf(byte, from);
  return at < 0 ? chunk.length : at;
}

/** Counts lines only as far as someone asks, and looks for each line break once. */
export function createLineCount() {
  let line = 1;
  let chunk: Buffer = Buffer.alloc(0);
  let next = 0;
  return {
    begin(bytes: Buffer) {
      chunk = bytes;
      next = indexOr(chunk, LF, 0);
    },
    /** The line on which the byte at `at` of the chunk lies. Never asked about a place before the last one. */
    at(at: number): number {
      while (next < at) {
        line++;
        next = indexOr(chunk, LF, next + 1);
      }
      return line;
    },
  };
}

/** Lines end with LF or CR LF; the ending is not part of the record. Empty lines are passed on (start equals end). */
export function scanLines(maxBytes: number, sink: RecordSink, onCrlf: () => void = () => {}): Scanner {
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
        const stop = chunk.indexOf(LF);
        carry.add(chunk, 0, stop < 0 ? chunk.length : stop);
        if (stop < 0) return;
        emitCarry();
        line++;
        at = stop + 1;
      }
      for (;;) {
        const stop = chunk.indexOf(LF, at);
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
