/**
 * Opens an uploaded file: unpacks archives, converts tables and other encodings to one text file beside the rows, and
 * finds where in a text the rows are. Text in UTF-8 with a row on each line is read in place.
 */
import { dirname } from "node:path";
import type { ValidateTask } from "../pass/task.ts";
import { unpack, unzip, zipContent } from "./archives.ts";
import { convertText, type Encoding } from "./charset.ts";
import { countedFile } from "./input.ts";
import { findRows } from "./json-rows.ts";
import { type Kind, kindOf } from "./kinds.ts";
import { headOf, MOST_NAMES, Opening } from "./opening.ts";
import { createOutput } from "./output.ts";
import { plainSource, type Source } from "./source.ts";
import { Unreadable } from "./unreadable.ts";

/** Libraries for tables are loaded with the first table: most files are text, and the worker starts for each file. */
const arrow = () => import("./arrow.ts");
const parquet = () => import("./parquet.ts");
const xlsx = () => import("./xlsx.ts");

/** As `part`: all files of a ZIP archive. */
const ALL_PARTS = "*";
/** An archive in an archive is unpacked; one more is refused. */
const MOST_LAYERS = 2;

/** Reads all files of a ZIP archive one after the other: parts of one dataset, as hubs store them. */
async function readAllParts(opening: Opening, names: string[], size: number): Promise<void> {
  const { path, aside, about, task, onRead } = opening;
  about.compression.push("zip");
  about.part = ALL_PARTS;
  await opening.step("parts.jsonl", null, async (into) => {
    for (const name of names) {
      const limits = {
        most: task.maxUnpackedBytes ?? Number.MAX_SAFE_INTEGER,
        packed: size,
        reserve: task.diskReserve,
      };
      const part = createOutput(aside, dirname(aside), limits);
      try {
        await unzip(path, name, part, onRead);
      } finally {
        part.close();
      }
      const { is } = kindOf(headOf(aside), name);
      if (is === "parquet") await (await parquet()).parquetToJsonl(aside, part.bytes, into, onRead);
      else if (is === "arrow_file" || is === "arrow_stream") await (await arrow()).arrowToJsonl(aside, into, onRead);
      else if (is === "text" && !/\.(csv|tsv|json)$/i.test(name)) {
        for await (const chunk of countedFile(aside, onRead)) into.add(chunk);
        into.text("\n");
      } else
        throw new Unreadable(
          "wrong_file",
          `"${name}" cannot be read together with others: only JSONL, Parquet and Arrow can.`,
        );
    }
  });
}

/** Unpacks one layer. */
async function unpackLayer(opening: Opening, kind: "gzip" | "zstd" | "xz" | "zip", size: number): Promise<void> {
  const { path, filename, about } = opening;
  if (about.compression.length >= MOST_LAYERS)
    throw new Unreadable(
      "wrong_file",
      "The archive holds an archive in an archive. Unpack it, and upload the data file.",
    );
  if (kind !== "zip") {
    about.compression.push(kind);
    await opening.step(filename.replace(/\.(gz|gzip|zst|zstd|xz)$/i, ""), size, (into) =>
      unpack(path, kind, into, opening.onRead),
    );
    return;
  }
  const content = await zipContent(path);
  if (content.other) throw new Unreadable("wrong_file", `This is ${content.other}.`);
  if (content.workbook) {
    await readSheetOf(opening);
    return;
  }
  if (content.names.length === 0) throw new Unreadable("empty_file", "The ZIP archive has no files.");
  if (opening.reading.part === ALL_PARTS) {
    await readAllParts(opening, content.names, size);
    return;
  }
  const name = opening.choose(content.names, "ZIP archive");
  about.compression.push(kind);
  await opening.step(name, size, (into) => unzip(path, name, into, opening.onRead));
}

async function readSheetOf(opening: Opening): Promise<void> {
  const { path, filename, about, reading } = opening;
  const { sheetsOf, sheetToCsv } = await xlsx();
  const sheets = await sheetsOf(path);
  const first = sheets[0] ?? "";
  const sheet = reading.part === null ? first : opening.choose(sheets, "workbook");
  about.part = sheet;
  about.other_parts = sheets.filter((name) => name !== sheet).slice(0, MOST_NAMES);
  opening.container = "xlsx";
  opening.note("table_read", `sheet "${sheet}" of an Excel workbook`);
  if (about.other_parts.length > 0)
    opening.note("parts_left_out", `the sheets ${about.other_parts.map((name) => `"${name}"`).join(", ")}`);
  await opening.step(filename.replace(/\.xlsx$/i, ".csv"), null, (into) => sheetToCsv(path, sheet, into));
}

async function readTable(opening: Opening, kind: "parquet" | "arrow_file" | "arrow_stream", size: number) {
  const { path, onRead } = opening;
  const filename = opening.filename.replace(/\.(parquet|pq|arrow|feather|ipc)$/i, ".jsonl");
  opening.container = kind === "parquet" ? "parquet" : "arrow";
  opening.note("table_read", kind === "parquet" ? "a Parquet file" : "an Arrow file");
  await opening.step(filename, null, async (into) =>
    kind === "parquet"
      ? (await parquet()).parquetToJsonl(path, size, into, onRead)
      : (await arrow()).arrowToJsonl(path, into, onRead),
  );
}

/** Converts a text to UTF-8 when its first bytes or the version say so. */
async function toUtf8(opening: Opening, kind: Kind): Promise<void> {
  const { reading, path, filename } = opening;
  const marked = kind.is === "utf16le" ? "utf-16le" : kind.is === "utf16be" ? "utf-16be" : null;
  const encoding: Encoding = reading.encoding ?? marked ?? "utf-8";
  if (encoding !== "utf-8") opening.note("encoding_converted", `from ${encoding}`);
  if (reading.repairText) opening.note("text_repaired", "as requested");
  if (encoding === "utf-8" && !reading.repairText) return;
  await opening.step(filename, null, (into) =>
    convertText(path, { encoding, repair: reading.repairText }, into, opening.onRead),
  );
}

/** The last part of a name in an archive. */
const lastName = (name: string) => name.split("/").at(-1) ?? name;

/**
 * Opens the file of a task. Temporary texts are deleted by `clearWork`.
 * @param onProgress gets bytes of the uploaded file, up to half of it
 * @throws Unreadable with the sentence for the user; AppError `disk_full`
 */
export async function openSource(task: ValidateTask, onProgress: (bytes: number) => void): Promise<Source> {
  const opening = new Opening(task, onProgress);
  let { head, size } = opening.head();
  let kind = kindOf(head, opening.filename);
  for (; kind.is !== "text" && kind.is !== "utf16le" && kind.is !== "utf16be"; ) {
    if (kind.is === "refused") throw new Unreadable("wrong_file", `This is ${kind.what}.`);
    if (kind.is === "parquet" || kind.is === "arrow_file" || kind.is === "arrow_stream")
      await readTable(opening, kind.is, size);
    else await unpackLayer(opening, kind.is, size);
    ({ head, size } = opening.head());
    kind = kindOf(head, opening.filename);
  }
  const { compression } = opening.about;
  if (compression.length > 0) opening.note("unpacked", compression.join(", then "));
  if (opening.container === null) await toUtf8(opening, kind);
  const source: Source = {
    ...plainSource(opening.path, lastName(opening.filename), opening.head().size),
    shape: opening.container === "xlsx" ? "csv" : opening.container ? "jsonl" : "auto",
    container: opening.container,
    about: opening.about,
    notes: opening.notes,
  };
  return source.shape === "auto" ? findRows(opening, source) : source;
}
