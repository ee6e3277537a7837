/**
 * Reads Parquet page by page and writes its rows as JSON. hyparquet decodes the pages; this file keeps only the pages
 * that the next rows need, so that memory does not depend on the size of row groups (pandas writes one of a million
 * rows).
 */

import { closeSync, openSync, readSync } from "node:fs";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import {
  asyncBufferFromFile,
  type ColumnMetaData,
  type FileMetaData,
  parquetMetadataAsync,
  parquetSchema,
} from "hyparquet";
import { assembleNested } from "hyparquet/src/assemble.js";
import { parquetHeader, readPage } from "hyparquet/src/column.js";
import { convert, DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { getTreePath, isFlatColumn } from "hyparquet/src/schema.js";
import type {
  ColumnDecoder,
  Compressors,
  DecodedArray,
  PageHeader,
  ParquetParsers,
  SchemaElement,
  SchemaTree,
} from "hyparquet/src/types.js";
import { compressors } from "hyparquet-compressors";
import { AppError } from "../../../errors.ts";
import { bigOf, dayOf, decimalOf, jsonOf, shortOf, timeOf } from "./cells.ts";
import { type Cell, createJsonLines } from "./json-lines.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

/** Bytes of one page, packed or unpacked. Writers make pages of 1 MB; one value alone can be longer. */
const MOST_PAGE = 256 * 1024 ** 2;
/** Bytes of the description at the end of the file. */
const MOST_METADATA = 64 * 1024 ** 2;
const HEADER = 1 << 14;

const exactly = (inflate: (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array) => {
  return (bytes: Uint8Array, length: number) => inflate(bytes, { maxOutputLength: Math.max(1, length) });
};

type Inflate = NonNullable<Compressors[keyof Compressors]>;

/** The pages of a column without values are empty, which the library takes for damage. */
const orEmpty =
  (inflate: Inflate | undefined): Inflate =>
  (bytes, length) =>
    length === 0 || !inflate ? new Uint8Array(0) : inflate(bytes, length);

/** Native code for the codecs that Bun has: it is several times faster. */
const CODECS: Compressors = {
  ...compressors,
  LZ4: orEmpty(compressors.LZ4),
  LZ4_RAW: orEmpty(compressors.LZ4_RAW),
  GZIP: exactly(gunzipSync),
  ZSTD: exactly(zstdDecompressSync),
  BROTLI: exactly(brotliDecompressSync),
};

/** One physical column of a row group: its pages are decoded one after the other. */
class Leaf {
  readonly path: string;
  private readonly flat: boolean;
  private at: number;
  private readonly end: number;
  private dictionary: DecodedArray | undefined;
  /** Decoded rows that no one took; the last one can continue on the next page. */
  private rows: unknown[] = [];
  /** Rows of `rows` that were taken already. */
  private taken = 0;

  constructor(
    private readonly fd: number,
    meta: ColumnMetaData,
    private readonly decoder: ColumnDecoder,
    /** Changes each value at last. */
    private readonly finish: ((value: unknown) => unknown) | null,
  ) {
    this.path = meta.path_in_schema.join(".");
    this.flat = isFlatColumn(decoder.schemaPath);
    this.at = Number(meta.dictionary_page_offset || meta.data_page_offset);
    this.end = this.at + Number(meta.total_compressed_size);
  }

  private get done() {
    return this.at >= this.end;
  }

  /** Rows that are complete. */
  get ready(): number {
    return this.rows.length - this.taken - (this.flat || this.done ? 0 : 1);
  }

  /** Decodes pages until a row is complete. @throws Unreadable when the column ends early */
  fill(): void {
    while (this.ready < 1) {
      if (this.done) throw damaged("a column is shorter than its row group");
      this.page();
    }
  }

  private page(): void {
    const [header, start] = this.header();
    const bytes = this.bytes(start, header.compressed_page_size);
    this.at = start + header.compressed_page_size;
    const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
    if (header.type === "DICTIONARY_PAGE") {
      const { data } = readPage(reader, header, this.decoder, undefined, undefined, 0);
      if (data) this.dictionary = convert(data, this.decoder);
      return;
    }
    if (this.taken > 0) {
      this.rows = this.rows.slice(this.taken);
      this.taken = 0;
    }
    const { data } = readPage(reader, header, this.decoder, this.dictionary, this.rows, 0);
    if (data && data !== this.rows) this.rows = this.rows.concat(Array.from(data));
  }

  /** The header of the next page, and where its content starts. */
  private header(): [PageHeader, number] {
    for (let size = HEADER; ; size *= 8) {
      const bytes = this.bytes(this.at, Math.min(size, this.end - this.at));
      const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
      try {
        const header = parquetHeader(reader);
        for (const length of [header.compressed_page_size, header.uncompressed_page_size])
          if (!(length >= 0) || length > MOST_PAGE) throw damaged(`a page of ${length} bytes`);
        return [header, this.at + reader.offset];
      } catch (error) {
        // A header with long statistics is read again as a whole.
        if (!(error instanceof RangeError) || size >= this.end - this.at) throw error;
      }
    }
  }

  private bytes(from: number, length: number): Buffer {
    // Not a part of a shared buffer: texts of the page refer to it.
    const bytes = Buffer.allocUnsafeSlow(length);
    const got = readSync(this.fd, bytes, 0, length, from);
    if (got < length) throw damaged("it ends in the middle of a page");
    return bytes;
  }

  take(count: number): unknown[] {
    const from = this.taken;
    this.taken += count;
    const rows = this.rows.slice(from, this.taken);
    return this.finish ? (deep(rows, this.finish) as unknown[]) : rows;
  }
}

const damaged = (detail: string, cause?: unknown) =>
  new Unreadable("damaged_file", `The Parquet file is damaged or incomplete: ${detail}. Write it again.`, cause);

/** Top-level columns of the next `count` rows, by name. */
function assemble(leaves: Leaf[], root: SchemaTree, count: number): Map<string, DecodedArray> {
  const physical = new Map<string, DecodedArray>(leaves.map((leaf) => [leaf.path, leaf.take(count)]));
  for (const child of root.children) if (child.children.length > 0) assembleNested(physical, child, PARSERS);
  return physical;
}

/** The bytes of a text as they are: a text with faults is reported with its row. */
const asBytes = (bytes: Uint8Array) => bytes;
const PARSERS: ParquetParsers = {
  ...DEFAULT_PARSERS,
  timestampFromMilliseconds: (value) => timeOf(BigInt(value), 1000n),
  timestampFromMicroseconds: (value) => timeOf(value, 1_000_000n),
  timestampFromNanoseconds: (value) => timeOf(value, 1_000_000_000n),
  dateFromDays: dayOf,
  jsonFromBytes: (bytes) => jsonOf(Buffer.from(bytes).toString("utf8")),
};

/**
 * How the values of a column are decoded. Texts stay bytes, except where they become names of fields, and where the
 * file does not say that the bytes are a text.
 */
function decoding(schemaPath: SchemaTree[], element: SchemaElement) {
  const { converted_type: kind, logical_type: logical, type } = element;
  if (kind === "DECIMAL" || logical?.type === "DECIMAL") {
    const scale = element.scale ?? (logical?.type === "DECIMAL" ? logical.scale : 0);
    const finish = (units: unknown) =>
      decimalOf(units instanceof Uint8Array ? bigOf(units) : BigInt(units as number | bigint), scale);
    const { converted_type: _, logical_type: __, ...raw } = element;
    return { element: raw, parsers: { ...PARSERS, stringFromBytes: asBytes }, finish };
  }
  const isText = kind === "UTF8" || kind === "ENUM" || logical?.type === "STRING" || logical?.type === "ENUM";
  const inMap = schemaPath.some(({ element: { converted_type, logical_type } }) =>
    /^MAP/.test(converted_type ?? logical_type?.type ?? ""),
  );
  const parsers = isText && !inMap ? { ...PARSERS, stringFromBytes: asBytes } : PARSERS;
  const finish = type === "FLOAT" ? shortFloat : type === "FIXED_LEN_BYTE_ARRAY" ? asText : null;
  return { element, parsers, finish };
}
const shortFloat = (value: unknown) => (typeof value === "number" ? shortOf(value) : value);
const asText = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString("utf8") : value);

/** Changes each value of a list of lists. */
const deep = (value: unknown, change: (value: unknown) => unknown): unknown =>
  Array.isArray(value) ? value.map((each) => deep(each, change)) : value == null ? value : change(value);

async function describe(path: string, size: number): Promise<FileMetaData> {
  const tail = Buffer.alloc(8);
  const fd = openSync(path, "r");
  try {
    readSync(fd, tail, 0, 8, Math.max(0, size - 8));
  } finally {
    closeSync(fd);
  }
  if (tail.toString("latin1", 4) !== "PAR1") throw damaged("its end is missing");
  if (tail.readUInt32LE(0) > MOST_METADATA) throw damaged("its description is too long");
  return parquetMetadataAsync(await asyncBufferFromFile(path));
}

/**
 * @param onRead gets the bytes of the file that were read so far, about
 * @throws Unreadable
 */
export async function parquetToJsonl(
  path: string,
  size: number,
  into: Output,
  onRead: (bytes: number) => void,
): Promise<void> {
  let fd = -1;
  try {
    const metadata = await describe(path, size);
    const root = parquetSchema(metadata);
    const names = root.children.map((child) => child.element.name);
    const lines = createJsonLines(into);
    const total = Math.max(1, Number(metadata.num_rows));
    let rows = 0;
    fd = openSync(path, "r");
    for (const group of metadata.row_groups) {
      const leaves = group.columns.map(({ meta_data: meta }) => {
        if (!meta) throw damaged("a column has no description");
        const schemaPath = getTreePath(root, meta.path_in_schema);
        const { finish, ...how } = decoding(schemaPath, (schemaPath.at(-1) ?? root).element);
        const { type, codec, path_in_schema: pathInSchema } = meta;
        return new Leaf(fd, meta, { pathInSchema, type, schemaPath, codec, compressors: CODECS, ...how }, finish);
      });
      for (let left = Number(group.num_rows); left > 0; ) {
        for (const leaf of leaves) leaf.fill();
        const count = Math.min(left, ...leaves.map((leaf) => leaf.ready));
        const columns = assemble(leaves, root, count);
        const values = names.map((name) => columns.get(name) ?? []);
        for (let row = 0; row < count; row++) lines.row(names, (column) => values[column]?.[row] as Cell);
        left -= count;
        rows += count;
        onRead(Math.round((rows / total) * size));
      }
    }
    lines.flush();
  } catch (cause) {
    if (cause instanceof Unreadable || cause instanceof AppError) throw cause;
    throw damaged(cause instanceof Error ? cause.message.slice(0, 100) : String(cause), cause);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
