/** Reads one sheet of an Excel workbook and writes it as CSV. A workbook is read as a whole, so its size is limited. */

import { XMLParser } from "fast-xml-parser";
import { readSheet } from "read-excel-file/node";
import { type Entry, openPromise } from "yauzl";
import { AppError } from "../../../errors.ts";
import { formatBytes } from "../../../lib/text/format.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

/** Bytes of all parts of a workbook unpacked; reading takes about six times as much memory. */
const MOST_UNPACKED = 64 * 1024 ** 2;

const damaged = (cause: unknown) =>
  new Unreadable(
    "damaged_file",
    "The Excel workbook is damaged or incomplete. Save it again, or save it as CSV.",
    cause,
  );

function sheetNames(xml: string): string[] {
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: "",
    isArray: (name) => name === "sheet",
  });
  const parsed = parser.parse(xml) as { workbook?: { sheets?: { sheet?: { name?: unknown }[] } } };
  return (parsed.workbook?.sheets?.sheet ?? []).map((sheet) => String(sheet.name ?? ""));
}

/**
 * The names of the sheets, in order. Unpacks every part once, so that one that is longer than it says is found before
 * the workbook is read into memory.
 * @throws Unreadable
 */
export async function sheetsOf(path: string): Promise<string[]> {
  const archive = await openPromise(path, { autoClose: false }).catch((cause) => {
    throw damaged(cause);
  });
  try {
    const entries: Entry[] = [];
    for await (const entry of archive.eachEntry()) entries.push(entry);
    const total = entries.reduce((sum, entry) => sum + entry.uncompressedSize, 0);
    if (total > MOST_UNPACKED)
      throw new Unreadable(
        "expands_too_far",
        `The workbook has ${formatBytes(total)} unpacked; the limit for .xlsx is ${formatBytes(MOST_UNPACKED)}. Save the sheet as CSV.`,
      );
    let workbook = "";
    for (const entry of entries) {
      const stream = await archive.openReadStreamPromise(entry);
      const keep: Buffer[] = [];
      for await (const chunk of stream as AsyncIterable<Buffer>)
        if (entry.fileName === "xl/workbook.xml") keep.push(chunk);
      if (keep.length > 0) workbook = Buffer.concat(keep).toString("utf8");
    }
    return sheetNames(workbook);
  } catch (cause) {
    throw cause instanceof Unreadable ? cause : damaged(cause);
  } finally {
    archive.close();
  }
}

/** A date, a time of the day, or both, as the cell has it: it has no time zone. */
function dateText(date: Date): string {
  const [day = "", time = ""] = date
    .toISOString()
    .replace(/(\.000)?Z$/, "")
    .split("T");
  // A time alone is counted from the first day that Excel knows.
  if (date.getUTCFullYear() < 1900) return time;
  return time === "00:00:00" ? day : `${day}T${time}`;
}

/** A number as Excel shows it, to 15 digits; longer whole numbers, which other programs write, keep all of them. */
const numberOf = (text: string): number | string =>
  /^-?\d{16,}$/.test(text) ? text : Number(Number(text).toPrecision(15));

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = value instanceof Date ? dateText(value) : String(value);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @throws Unreadable */
export async function sheetToCsv(path: string, sheet: string, into: Output): Promise<void> {
  try {
    for (const row of await readSheet(path, sheet, { parseNumber: numberOf }))
      into.text(`${row.map(cell).join(",")}\n`);
  } catch (cause) {
    if (cause instanceof Unreadable || cause instanceof AppError) throw cause;
    throw damaged(cause);
  }
}
