/** Splits a stream of server-sent events at the blank lines between them, without changing a byte. */

const LF = 10;
const CR = 13;
/** Longest event of an engine in bytes; a longer one is an error. */
const MAX_EVENT_BYTES = 8 * 1024 * 1024;

/**
 * An incremental splitter.
 * @returns `feed` takes the next piece and returns the complete events, each with its closing blank line; `rest`
 * returns what is left when the stream ends
 */
export function eventSplitter(): { feed(piece: Uint8Array): Uint8Array[]; rest(): Uint8Array | null } {
  let waiting: Uint8Array | null = null;
  return {
    feed(piece) {
      const bytes: Uint8Array = waiting ? Buffer.concat([waiting, piece]) : piece;
      // A blank line may span two pieces: search from shortly before the boundary.
      let at = waiting ? Math.max(0, waiting.length - 3) : 0;
      let start = 0;
      const events: Uint8Array[] = [];
      for (at = bytes.indexOf(LF, at); at !== -1; at = bytes.indexOf(LF, at + 1)) {
        const next = bytes[at + 1] === CR ? at + 2 : at + 1;
        if (bytes[next] !== LF) continue;
        events.push(bytes.subarray(start, next + 1));
        start = next + 1;
        at = next;
      }
      waiting = start < bytes.length ? bytes.subarray(start) : null;
      if (waiting && waiting.length > MAX_EVENT_BYTES) throw new Error("an event of the engine is too long");
      return events;
    },
    rest: () => waiting,
  };
}

/** The data of an event, its lines joined; null when it has none. */
export function eventData(event: string): string | null {
  if (event.startsWith("data: ") && event.indexOf("\n") >= event.length - 2) return event.slice(6).trimEnd();
  const lines = event
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(line[5] === " " ? 6 : 5));
  return lines.length > 0 ? lines.join("\n") : null;
}
