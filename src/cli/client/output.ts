/** Output of the client's verbs: tables, lists of fields, JSON and questions; plain text where there is no terminal. */
import { createInterface } from "node:readline/promises";
import { clientEnvironment } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { formatExact } from "../../lib/text/format.ts";
import { UsageError } from "../command.ts";

/** A column of a table. */
export interface Column<T> {
  title: string;
  value(row: T): string | null;
  /** May be cut when the terminal is narrow. */
  flexible?: boolean;
  /** Left out when the terminal is narrow. */
  optional?: boolean;
  end?: boolean;
}

const GAP = 2;
const NARROWEST = 10;

/** Characters that a terminal would obey or that change the direction of text. */
const ALL = /[\p{Cc}\s\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;
const BUT_LINES = /(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** A text of the server on one line, without control characters. */
export const oneLine = (text: string) => text.replace(ALL, " ").trim();
/** A text of the server without control characters except line breaks and tabs. */
export const plainLines = (text: string) => text.replace(BUT_LINES, "");

const COLORS: Record<string, number> = {
  succeeded: 32,
  ready: 32,
  running: 36,
  starting: 36,
  validating: 36,
  installing: 36,
  failed: 31,
  cancelled: 33,
  paused: 33,
  needs_mapping: 33,
};

interface Terminal {
  isTTY?: boolean;
  columns?: number;
}

/** A state, in color on a terminal unless NO_COLOR is set. */
function colored(text: string, out: Terminal): string {
  const code = COLORS[text.trim()];
  return code && out.isTTY && clientEnvironment().color ? `\x1b[${code}m${text}\x1b[0m` : text;
}

function cut(text: string, width: number): string {
  if (Bun.stringWidth(text) <= width) return text;
  let kept = "";
  for (const character of text) {
    if (Bun.stringWidth(kept + character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

function padded(text: string, width: number, end: boolean): string {
  const fill = " ".repeat(Math.max(0, width - Bun.stringWidth(text)));
  return end ? fill + text : text + fill;
}

/**
 * Rows as a table. It fits `columns` of a terminal: flexible columns become narrower, then optional ones are left out.
 * Without a terminal nothing is cut.
 */
export function table<T>(all: readonly Column<T>[], rows: readonly T[], out: Terminal = process.stdout): string {
  let columns = [...all];
  const cells = new Map(
    columns.map((column) => [column, rows.map((row) => oneLine(column.value(row) ?? "") || "-")] as const),
  );
  const widths = new Map(
    columns.map((column) => {
      const texts = [column.title, ...(cells.get(column) ?? [])];
      return [column, Math.max(...texts.map((text) => Bun.stringWidth(text)))] as const;
    }),
  );
  const widthOf = (column: Column<T>) => widths.get(column) ?? 0;
  const total = () => columns.reduce((sum, column) => sum + widthOf(column) + GAP, -GAP);
  const room = out.isTTY ? out.columns || 80 : Number.POSITIVE_INFINITY;
  for (const narrower of [true, false]) {
    while (total() > room) {
      const [widest] = columns.filter((column) => column.flexible).sort((a, b) => widthOf(b) - widthOf(a));
      if (narrower && widest && widthOf(widest) > NARROWEST)
        widths.set(widest, Math.max(NARROWEST, widthOf(widest) - (total() - room)));
      else if (!narrower && columns.some((column) => column.optional)) {
        const last = columns.findLastIndex((column) => column.optional);
        columns = columns.filter((_, at) => at !== last);
      } else break;
    }
  }
  const line = (cell: (column: Column<T>) => string) =>
    columns
      .map((column) => colored(padded(cut(cell(column), widthOf(column)), widthOf(column), column.end ?? false), out))
      .join(" ".repeat(GAP))
      .trimEnd();
  return [line((column) => column.title), ...rows.map((_, at) => line((column) => cells.get(column)?.[at] ?? ""))]
    .map((text) => `${text}\n`)
    .join("");
}

/** `name  value` lines; fields without a value are left out. */
export function fields(list: readonly (readonly [string, string | null])[], out: Terminal = process.stdout): string {
  const shown = list.filter((one): one is [string, string] => one[1] !== null && one[1] !== "");
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${colored(oneLine(value), out)}\n`).join("");
}

/** Writes to standard output. */
export function print(text: string): void {
  process.stdout.write(text);
}

/** One JSON document on standard output, as the API answered. */
export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, process.stdout.isTTY ? 2 : undefined)}\n`);
}

/** A line on standard error. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Seconds since 1970 as `2026-11-29 23:04`, in UTC. */
export const moment = (seconds: number | null) => (seconds === null ? null : formatExact(seconds * 1000).slice(0, 16));

/**
 * Asks a question on the terminal.
 * @throws UsageError without a terminal; AppError `not_confirmed` (exit code 3) when the answer is not yes
 */
export async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UsageError(`${question} There is no terminal to ask: add --yes.`);
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await reader.question(`${question} [y/N] `).finally(() => reader.close());
  if (!/^y(es)?$/i.test(answer.trim())) throw new AppError("forbidden", "not_confirmed", "Nothing was done.");
}
