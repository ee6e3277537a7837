/** Structured log lines on standard error: JSON when not on a terminal, short text when on one; control characters and secrets removed. */

export type Level = "debug" | "info" | "warn" | "error";
export type Fields = Record<string, unknown>;
export type Log = (level: Level, message: string, fields?: Fields) => void;

const ORDER: Level[] = ["debug", "info", "warn", "error"];
const SECRET = /\b(ftl-|fta-|whsec_|sk-|Bearer )[A-Za-z0-9._-]{6,}/g;

/** Text that is safe on one log line: no control characters (ANSI, CR, LF), no secrets. */
export function clean(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").replace(SECRET, "$1[hidden]");
}

function plain(value: unknown): unknown {
  if (value instanceof Error) return { name: value.name, message: clean(value.message), stack: value.stack };
  return typeof value === "string" ? clean(value) : value;
}

/** A logger writing lines at or above `level` to `out`. */
export function createLog(level: Level, out: { write(text: string): unknown; isTTY?: boolean } = process.stderr): Log {
  return (at, message, fields = {}) => {
    if (ORDER.indexOf(at) < ORDER.indexOf(level)) return;
    const safe = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plain(value)]));
    const time = new Date().toISOString();
    if (out.isTTY) {
      const rest = Object.keys(safe).length ? ` ${JSON.stringify(safe)}` : "";
      out.write(`${time.slice(11, 19)} ${at.padEnd(5)} ${clean(message)}${rest}\n`);
    } else {
      out.write(`${JSON.stringify({ time, level: at, message: clean(message), ...safe })}\n`);
    }
  };
}
