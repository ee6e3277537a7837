/** Finds the rows in a text: on lines, one after the other, in a list of an object, or spread over columns. */
import { closeSync, openSync, readSync } from "node:fs";
import { writeExact } from "../../../lib/text/exact-json.ts";
import { formatBytes } from "../../../lib/text/format.ts";
import { decide } from "../formats/decide.ts";
import { elect } from "../formats/detect.ts";
import { isTurns } from "../mapping/turns.ts";
import { isObject, type JsonObject } from "../rows/chat.ts";
import { createProblems } from "../rows/problems.ts";
import { parseJson } from "../rows/tools.ts";
import { guessDelimiter, splitCells } from "../scan/csv.ts";
import { scanLines } from "../scan/lines.ts";
import { rowsFromColumns, viewerRows } from "./columns.ts";
import { countedFile } from "./input.ts";
import { type Member, type Outline, outlineOf } from "./json-outline.ts";
import type { Opening } from "./opening.ts";
import type { Source } from "./source.ts";
import { Unreadable } from "./unreadable.ts";

const HEAD = 1 << 18;
const CHUNK = 1 << 20;
const LF = 10;
const CR = 13;
const OPEN_ARRAY = 91;
const OPEN_OBJECT = 123;
/** A longer line is refused when it is checked. */
const MOST_LINE = 1 << 30;
/** An object up to this size is parsed to look whether it is a row, or columns. */
const MOST_PARSED = 64 * 1024 ** 2;

const SPLITS = new Set(["train", "test", "validation", "valid", "val", "dev", "eval"]);
/** Names that lists of rows have in files of one object. */
const WRAPPERS = ["data", "rows", "examples", "items", "records", "instances", "samples", "entries", "dataset"];

/** A file that is open for looking at its parts. */
interface Look {
  fd: number;
  head: Buffer;
  /** The head is the whole file. */
  whole: boolean;
  /** Offset of the first character. */
  start: number;
  opening: Opening;
  source: Source;
}

const isBlank = (byte: number) => byte <= 32;

function readAt(fd: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, from));
}

/** True when the object is a row by itself. */
function isRow(value: JsonObject): boolean {
  const decided = decide([value], elect([value]), null, false);
  return decided.outcome === "read" && !!decided.format?.convert(value, createProblems());
}

/** A turn of a conversation: a list of turns belongs to a row. */
const TURN = /^\{\s*"(role|from|speaker|author|content|value)"/;

function linesBefore(fd: number, offset: number, lineBreak: number): number {
  let lines = 0;
  for (let base = 0; base < offset; base += CHUNK) {
    const bytes = readAt(fd, base, Math.min(CHUNK, offset - base));
    for (let at = bytes.indexOf(lineBreak); at >= 0; at = bytes.indexOf(lineBreak, at + 1)) lines++;
  }
  return lines;
}

/** Lists whose elements are rows. */
function rowLists(fd: number, outline: Outline): Member[] {
  return outline.members.filter((member) => {
    if (member.opens !== "[" || member.first === 0) return false;
    const first = readAt(fd, member.first, 200).toString("utf8");
    return first.startsWith("{") && !TURN.test(first);
  });
}

/** The list to read. The other ones are named. @throws Unreadable `choose_part` */
function chooseList({ opening }: Look, lists: Member[]): Member | undefined {
  const names = lists.map((list) => list.key);
  const known = WRAPPERS.filter((name) => names.includes(name));
  const { part } = opening.reading;
  let key = known.length === 1 ? known[0] : undefined;
  if (names.every((name) => SPLITS.has(name)) && names.includes("train")) key = "train";
  if (part !== null || key === undefined) key = opening.choose(names, "JSON object");
  opening.about.part = key;
  opening.about.other_parts = names.filter((name) => name !== key);
  return lists.find((list) => list.key === key);
}

/** The object holds columns: its rows are put together and written to a text. */
async function readColumns(look: Look, rows: JsonObject[]): Promise<Source> {
  const { opening, source } = look;
  opening.note("columns_turned", `${rows.length} rows`);
  await opening.step(source.filename, null, async (into) => {
    for (const row of rows) into.text(`${writeExact(row)}\n`);
  });
  const to = opening.about.unpacked_bytes ?? 0;
  return { ...source, path: opening.path, shape: "jsonl", container: "json_columns", from: 0, to, lineBreak: LF };
}

/** A file of one object: a row, a list of rows inside, or columns. */
async function singleObject(look: Look, outline: Outline): Promise<Source> {
  const { fd, start, opening, source } = look;
  const size = (outline.end ?? start) - start;
  const parsed = size <= MOST_PARSED ? parseJson(readAt(fd, start, size).toString("utf8")) : null;
  if (isObject(parsed) && isRow(parsed)) return outline.oneLine ? source : sequence(look);
  const lists = rowLists(fd, outline);
  const rows = isObject(parsed) && lists.length < outline.count ? rowsFromColumns(parsed) : null;
  const apart = isObject(parsed) ? (viewerRows(parsed) ?? rows) : null;
  if (apart?.every(isObject)) return readColumns(look, apart);
  if (lists.length === 0 && parsed === null)
    throw new Unreadable(
      "unknown_format",
      `The file is one JSON object of ${formatBytes(size)} without a list of rows in it. Write one row on each line (JSONL).`,
    );
  if (lists.length === 0) return outline.oneLine ? source : sequence(look);
  const list = chooseList(look, lists);
  if (!list) return source;
  opening.note("rows_in_object", `the list "${list.key}"`);
  if (opening.about.other_parts.length > 0)
    opening.note("parts_left_out", `the lists ${opening.about.other_parts.map((name) => `"${name}"`).join(", ")}`);
  const line = linesBefore(fd, list.from, source.lineBreak);
  return { ...source, shape: "json_array", container: "json_object", from: list.from, to: list.to, line };
}

function sequence({ opening, source }: Look): Source {
  opening.note("objects_in_sequence", "");
  return { ...source, shape: "json_sequence" };
}

/** The first character after `offset` and what stands before it; null at the end of the file. */
function nextAfter(fd: number, offset: number): { byte: number; between: Buffer } | null {
  const bytes = readAt(fd, offset, HEAD);
  const at = bytes.findIndex((byte) => !isBlank(byte));
  return at < 0 ? null : { byte: bytes[at] ?? 0, between: bytes.subarray(0, at) };
}

/** A text that begins with a brace. */
async function jsonObjects(look: Look): Promise<Source> {
  const { fd, head, whole, start, source } = look;
  const stop = head.indexOf(source.lineBreak, start);
  if (stop >= 0 && isObject(parseJson(head.toString("utf8", start, stop)))) {
    const more = !whole || head.subarray(stop).some((byte) => !isBlank(byte));
    if (more) return source;
  }
  const outline = outlineOf(fd, start);
  if (outline.end === null) return source;
  const next = nextAfter(fd, outline.end);
  if (!next) return singleObject(look, outline);
  if (outline.oneLine && next.between.includes(source.lineBreak)) return source;
  if (next.byte !== OPEN_OBJECT && next.byte !== 44) return source;
  const size = outline.end - start;
  return size <= MOST_PARSED && isObject(parseJson(readAt(fd, start, size).toString("utf8"))) ? sequence(look) : source;
}

/** Lines that are lists of turns become rows that have the list as their messages; null for other lines. */
async function turnsByLine({ fd, head, start, opening, source }: Look): Promise<Source | null> {
  const stop = head.indexOf(source.lineBreak, start);
  if (stop < 0 || nextAfter(fd, stop)?.byte !== OPEN_ARRAY) return null;
  if (!isTurns(parseJson(head.toString("utf8", start, stop)))) return null;
  opening.note("lists_read", "");
  const { path, lineBreak } = source;
  await opening.step(source.filename, null, async (into) => {
    const record = (bytes: Buffer, from: number, to: number) => {
      if (from < to) {
        into.text('{"messages":');
        into.add(bytes.subarray(from, to));
        into.text("}");
      }
      // A blank line stays, so that lines keep their numbers.
      into.text("\n");
    };
    const lines = scanLines(MOST_LINE, { record, tooLong() {}, broken() {} }, undefined, lineBreak);
    for await (const chunk of countedFile(path, opening.onRead)) lines.push(Buffer.from(chunk));
    lines.end();
  });
  return { ...source, path: opening.path, shape: "jsonl", to: opening.about.unpacked_bytes ?? 0, lineBreak: LF };
}

/** Plain text: paragraphs when blank lines separate them, else lines. */
function plainText({ head, start, opening, source }: Look): Source {
  const paragraphs = /(\r\n|\r|\n)[ \t]*(\r\n|\r|\n)[ \t]*\S/.test(head.toString("utf8", start));
  opening.note("text_rows", paragraphs ? "a row for each paragraph" : "a row for each line");
  return { ...source, shape: paragraphs ? "paragraphs" : "text_lines", container: "text" };
}

function hasPairColumns(head: Buffer, start: number): boolean {
  const header = head.toString("utf8", start).split(/[\r\n]/, 1)[0] ?? "";
  const cells = splitCells(header, guessDelimiter(header)).map((cell) => cell.trim().toLowerCase());
  return cells.includes("prompt") && cells.includes("completion");
}

/** Where the rows of a text are, and how they are split. @throws Unreadable */
export async function findRows(opening: Opening, source: Source): Promise<Source> {
  const fd = openSync(source.path, "r");
  try {
    const head = readAt(fd, 0, HEAD);
    const whole = head.length === source.to;
    const bom = head.indexOf("\ufeff") === 0 ? 3 : 0;
    const at = head.subarray(bom).findIndex((byte) => !isBlank(byte));
    if (at < 0) return source;
    if (head.includes(CR) && !head.includes(LF)) {
      source.lineBreak = CR;
      opening.note("cr_lines", "");
    }
    const sep = /^sep=([^\r\n])(\r\n|\r|\n)/i.exec(head.toString("utf8", bom, bom + 8));
    if (sep) {
      opening.note("sep_line", `sep=${sep[1]}`);
      return { ...source, shape: "csv", delimiter: sep[1] ?? ",", from: bom + sep[0].length, line: 1 };
    }
    const look: Look = { fd, head, whole, start: bom + at, opening, source };
    if (/\.(csv|tsv)$/i.test(source.filename)) return source;
    if (head[bom + at] === OPEN_OBJECT) return await jsonObjects(look);
    const turns = head[bom + at] === OPEN_ARRAY ? await turnsByLine(look) : null;
    if (turns) return turns;
    const isText = /\.(txt|text|md)$/i.test(source.filename) && head[bom + at] !== 91;
    return isText && !hasPairColumns(head, bom + at) ? plainText(look) : source;
  } finally {
    closeSync(fd);
  }
}
