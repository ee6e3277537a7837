/**
 * Structured log lines on standard error: JSON, or short text on a terminal, without control characters and secrets.
 */
import { clean, cleanFields } from "./text/redact.ts";

type Level = "debug" | "info" | "warn" | "error";
export type Fields = Record<string, unknown>;
export type Log = (level: Level, message: string, fields?: Fields) => void;

const ORDER: Level[] = ["debug", "info", "warn", "error"];

/** A logger that writes lines at or above `level` to `out`. */
export function createLog(level: Level, out: { write(text: string): unknown; isTTY?: boolean } = process.stderr): Log {
  return (at, message, fields = {}) => {
    if (ORDER.indexOf(at) < ORDER.indexOf(level)) return;
    const safe = cleanFields(fields);
    const time = new Date().toISOString();
    if (out.isTTY) {
      const rest = Object.keys(safe).length ? ` ${JSON.stringify(safe)}` : "";
      out.write(`${time.slice(11, 19)} ${at.padEnd(5)} ${clean(message)}${rest}\n`);
    } else {
      out.write(`${JSON.stringify({ time, level: at, message: clean(message), ...safe })}\n`);
    }
  };
}
