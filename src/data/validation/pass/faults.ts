/** Writes the faulty rows of a file as JSONL: the line, its problems, and the row as it is in the file. */
import { closeSync, openSync, writeSync } from "node:fs";
import { PROBLEMS, type Problems } from "../rows/problems.ts";

/** Bytes of one row that are written. */
const MAX_TEXT = 1 << 20;

interface Fault {
  code: string;
  message: string;
  advice: string;
  field: string;
  detail: string;
}

/** Creates a collector of faulty rows. Without a path it does nothing. */
export function createFaults(path: string | undefined, problems: Problems) {
  if (path === undefined) return { problems, add() {}, close() {} };
  const file = openSync(path, "w", 0o600);
  let found: Fault[] = [];
  return {
    /** The same problems, which are noted for the current row too. */
    problems: {
      ...problems,
      at(line: number) {
        found = [];
        problems.at(line);
      },
      add(...given: Parameters<Problems["add"]>) {
        const [code, field = "", , detail = ""] = given;
        const { severity, message, advice } = PROBLEMS[code];
        if (severity === "error") found.push({ code, message, advice, field, detail });
        problems.add(...given);
      },
    },
    /** Writes the current row. */
    add(bytes: Buffer, start: number, end: number) {
      const text = bytes.toString("utf8", start, Math.min(end, start + MAX_TEXT));
      writeSync(file, `${JSON.stringify({ line: problems.line(), problems: found, text })}\n`);
    },
    close() {
      closeSync(file);
    },
  };
}
