/** Splits a stream of bytes into paragraphs, which blank lines separate. */
import { createCarry, type RecordSink, type Scanner, scanLines } from "./lines.ts";

const LINE_BREAK = Buffer.from("\n");

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((bytes[at] ?? 0) > 32) return false;
  return true;
}

/** Lines of a paragraph are joined with LF. */
export function scanParagraphs(maxBytes: number, sink: RecordSink, onCrlf?: () => void, lineBreak?: number): Scanner {
  const carry = createCarry(maxBytes);
  let startLine = 1;

  function flush() {
    if (carry.length === 0) return;
    const kept = carry.take();
    if (kept) sink.record(kept.buffer, 0, kept.length, startLine);
    else sink.tooLong(startLine, carry.length);
    carry.clear();
  }

  const lines = scanLines(
    maxBytes,
    {
      record(bytes, start, end, line) {
        if (isBlank(bytes, start, end)) {
          flush();
          return;
        }
        if (carry.length === 0) startLine = line;
        else carry.add(LINE_BREAK, 0, 1);
        carry.add(bytes, start, end);
      },
      tooLong: sink.tooLong,
      broken: sink.broken,
    },
    onCrlf,
    lineBreak,
  );
  return {
    push: lines.push,
    end() {
      lines.end();
      flush();
    },
  };
}
