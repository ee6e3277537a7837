/**
 * Splits a stream of CSV bytes (RFC 4180) into records, and records into cells. Quoted cells can contain delimiters and
 * line breaks.
 */
import { createCarry, createLineCount, indexNear, type RecordSink, type Scanner } from "./lines.ts";

const LF = 10;
const CR = 13;
const QUOTE = 34;

/**
 * Records end at a line break outside quotes (LF or CRLF, or CR alone when `lineBreak` says so). A quote opens a cell
 * only at its beginning. Empty lines are passed on with start equal to end.
 */
export function scanCsv(
  maxBytes: number,
  delimiter: string,
  sink: RecordSink,
  onCrlf: () => void = () => {},
  lineBreak = LF,
): Scanner {
  const carry = createCarry(maxBytes);
  const lines = createLineCount(lineBreak);
  let startLine = 1;
  let quoted = false;
  let cellStart = true;
  const comma = delimiter.charCodeAt(0);

  function emit(chunk: Buffer, start: number, end: number) {
    if (carry.length > 0) {
      carry.add(chunk, start, end);
      const kept = carry.take();
      if (kept) hand(kept.buffer, 0, kept.length);
      else sink.tooLong(startLine, carry.length);
      carry.clear();
    } else if (end - start > maxBytes) sink.tooLong(startLine, end - start);
    else hand(chunk, start, end);
  }

  function hand(bytes: Buffer, start: number, end: number) {
    let stop = end;
    if (stop > start && bytes[stop - 1] === CR) {
      stop--;
      onCrlf();
    }
    sink.record(bytes, start, stop, startLine);
  }

  return {
    push(chunk) {
      let start = 0;
      lines.begin(chunk);
      for (let at = 0; at < chunk.length; at++) {
        if (quoted) {
          at = indexNear(chunk, QUOTE, at);
          if (at === chunk.length) break;
          quoted = false;
          // If another quote follows, both are one quote in the cell, and the cell stays quoted.
          cellStart = true;
          continue;
        }
        const byte = chunk[at];
        if (byte === lineBreak) {
          emit(chunk, start, at);
          start = at + 1;
          startLine = lines.at(start);
          cellStart = true;
        } else if (byte === QUOTE && cellStart) quoted = true;
        else cellStart = byte === comma;
      }
      lines.at(chunk.length);
      if (start < chunk.length) carry.add(chunk, start, chunk.length);
    },
    end() {
      if (quoted) {
        sink.broken(startLine, "the record that starts here has an open quote");
        return;
      }
      if (carry.length > 0) emit(Buffer.alloc(0), 0, 0);
    },
  };
}

/**
 * The cells of one record. Outer quotes are removed, and doubled quotes become single.
 * @param onEscaped called when a quote after a backslash ends a cell and text follows: some databases write quotes so
 */
export function splitCells(record: string, delimiter: string, onEscaped?: () => void): string[] {
  if (!record.includes('"')) return record.split(delimiter);
  const cells: string[] = [];
  let at = 0;
  for (;;) {
    if (record[at] === '"') {
      let cell = "";
      let from = at + 1;
      let close = record.indexOf('"', from);
      while (close >= 0 && record[close + 1] === '"') {
        cell += record.slice(from, close + 1);
        from = close + 2;
        close = record.indexOf('"', from);
      }
      const end = close < 0 ? record.length : close;
      cell += record.slice(from, end);
      const next = record.indexOf(delimiter, end);
      // Text between the closing quote and the delimiter is kept unchanged.
      const after = record.slice(end + 1, next < 0 ? record.length : next);
      if (record[end - 1] === "\\" && after.trim() !== "") onEscaped?.();
      cell += after;
      cells.push(cell);
      if (next < 0) return cells;
      at = next + 1;
    } else {
      const next = record.indexOf(delimiter, at);
      cells.push(record.slice(at, next < 0 ? record.length : next));
      if (next < 0) return cells;
      at = next + 1;
    }
  }
}

/** The delimiter (comma, semicolon, tab or bar) that splits the header line into the most cells. */
export function guessDelimiter(header: string): string {
  let best = ",";
  let most = 1;
  for (const delimiter of [",", ";", "\t", "|"]) {
    const cells = splitCells(header, delimiter).length;
    if (cells > most) {
      best = delimiter;
      most = cells;
    }
  }
  return best;
}
