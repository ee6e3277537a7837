/** The lines of a text file of any size, and a line as JSON where it is JSON. */
import { createReadStream } from "node:fs";

/** A longer line comes in pieces of this many characters. */
const MAX_LINE = 1 << 24;

/** The lines of a file without their line breaks. */
export async function* linesOf(path: string): AsyncGenerator<string> {
  const stream = createReadStream(path, { encoding: "utf8", highWaterMark: 1 << 18 });
  try {
    let rest: string[] = [];
    let size = 0;
    for await (const chunk of stream as AsyncIterable<string>) {
      const lines = chunk.split(/\r?\n/);
      const last = lines.pop() ?? "";
      for (const [index, line] of lines.entries()) yield index === 0 ? rest.join("") + line : line;
      if (lines.length > 0) {
        rest = [];
        size = 0;
      }
      rest.push(last);
      size += last.length;
      if (size < MAX_LINE) continue;
      yield rest.join("");
      rest = [];
      size = 0;
    }
    if (size > 0) yield rest.join("");
  } finally {
    stream.destroy();
  }
}

/** A line as a value: what it is as JSON, else itself. */
export function parseJsonOr(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return line;
  }
}
