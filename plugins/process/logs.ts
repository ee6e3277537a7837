/** Reads the last lines of output of a launch from its log files. */
import { open } from "node:fs/promises";
import { join } from "node:path";

/** Bytes to read from each of the two files. */
const READ_BYTES = 256 * 1024;

/** The last `tail` lines of the work in `directory`, oldest first; empty without a log. */
export async function lastLines(directory: string, tail: number): Promise<string[]> {
  const parts = await Promise.all(
    ["output.1.log", "output.log"].map((name) => lastBytes(join(directory, name), READ_BYTES)),
  );
  const lines = parts.join("").split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-tail);
}

async function lastBytes(path: string, limit: number): Promise<string> {
  const file = await open(path).catch(() => null);
  if (!file) return "";
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size, limit));
    await file.read(buffer, 0, buffer.length, Math.max(0, size - limit));
    return buffer.toString("utf8");
  } finally {
    await file.close();
  }
}
