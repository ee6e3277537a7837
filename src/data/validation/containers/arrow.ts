/** Reads Arrow IPC files and streams (also Feather 2 and datasets saved to disk) by batches, and writes JSON rows. */

import { type FileHandle, open } from "node:fs/promises";
import { zstdDecompressSync } from "node:zlib";
import {
  CompressionType,
  compressionRegistry,
  DataType,
  Precision,
  RecordBatchReader,
  type Vector,
} from "apache-arrow";
import { decompress } from "lz4js";
import { AppError } from "../../../errors.ts";
import { DAY_MS } from "../../../lib/clock.ts";
import { bigOf, dayOf, decimalOf, shortOf, timeOf } from "./cells.ts";
import { countedFile } from "./input.ts";
import { type Cell, createJsonLines } from "./json-lines.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

/** The first bytes of a file; a stream has none. */
const MAGIC = Buffer.from("ARROW1");

type Read = (row: number) => Cell;

/** Reads the children of a nested value once for each batch, not once for each row. */
function structReader(vector: Vector): Read {
  const names = (vector.type as { children: { name: string }[] }).children.map((field) => field.name);
  const reads = names.map((_, index) => readerOf(vector.getChildAt(index)));
  return (row) => {
    const object: Record<string, Cell> = Object.create(null) as Record<string, Cell>;
    names.forEach((name, index) => {
      object[name] = reads[index]?.(row) ?? null;
    });
    return object;
  };
}

/** @param boundsOf the first item of a row, and the one after its last */
function listReader(vector: Vector, boundsOf: (row: number) => [number, number]): Read {
  const read = readerOf(vector.getChildAt(0));
  return (row) => {
    const [from, to] = boundsOf(row);
    return Array.from({ length: to - from }, (_, item) => read(from + item));
  };
}

function mapReader(vector: Vector): Read {
  return (row) => {
    const entries = vector.get(row) as Iterable<[string, unknown]> | null;
    return entries && Object.fromEntries([...entries].map(([key, value]) => [key, plain(value)]));
  };
}

/** A value without a reader of its own: binary, durations and dictionaries of nested values. */
function plain(value: unknown): Cell {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
  if (ArrayBuffer.isView(value)) return [...(value as unknown as Iterable<number>)];
  return value as Cell;
}

/** Units of a point in time for a second, by `TimeUnit`. */
const PER_SECOND = [1n, 1000n, 1_000_000n, 1_000_000_000n];

/** The reader of a column whose values are bytes of their own batch, by its type; null for any other. */
function flatReader(vector: Vector): Read | null {
  const [data] = vector.data;
  const { type } = vector;
  if (!data || vector.data.length !== 1) return null;
  const { values, valueOffsets: offsets, stride } = data as { values: unknown } & typeof data;
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) {
    const bytes = values as Uint8Array;
    return (row) => bytes.subarray(Number(offsets[row]), Number(offsets[row + 1]));
  }
  if (DataType.isTimestamp(type)) {
    const times = values as BigInt64Array;
    const perSecond = PER_SECOND[type.unit] ?? 1n;
    return (row) => timeOf(times[row] ?? 0n, perSecond);
  }
  if (DataType.isDecimal(type)) {
    const words = values as Uint32Array;
    return (row) => {
      const own = words.slice(row * stride, (row + 1) * stride);
      return decimalOf(bigOf(new Uint8Array(own.buffer).reverse()), type.scale);
    };
  }
  if (DataType.isList(type)) return listReader(vector, (row) => [Number(offsets[row]), Number(offsets[row + 1])]);
  if (DataType.isFixedSizeList(type)) return listReader(vector, (row) => [row * stride, (row + 1) * stride]);
  return null;
}

/** A function that reads one row of a column. */
function readerOf(vector: Vector | null): Read {
  if (!vector) return () => null;
  const { type } = vector;
  const read = (row: number) => vector.get(row) as unknown;
  let from: Read | null = flatReader(vector);
  if (DataType.isStruct(type)) from = structReader(vector);
  else if (DataType.isMap(type)) from = mapReader(vector);
  else if (DataType.isDate(type)) from = (row) => dayOf(Math.floor(Number(read(row)) / DAY_MS));
  else if (DataType.isFloat(type) && type.precision === Precision.SINGLE) from = (row) => shortOf(read(row) as number);
  const known = from ?? ((row: number) => plain(read(row)));
  return vector.nullCount === 0 ? known : (row) => (vector.isValid(row) ? known(row) : null);
}

/** The library has no codecs of its own. */
function prepareCodecs() {
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => zstdDecompressSync(bytes) });
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: (bytes) => decompress(bytes) });
}

/**
 * A reader of a file or a stream. Batches of a file are read one by one; from a stream of bytes, the library would
 * read a whole file into memory.
 */
async function readerFor(path: string, handle: FileHandle, onRead: (bytes: number) => void) {
  const { buffer } = await handle.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, 0);
  const isFile = buffer.equals(MAGIC);
  const reader = await (isFile ? RecordBatchReader.from(handle) : RecordBatchReader.from(countedFile(path, onRead)));
  return { reader, isFile };
}

/**
 * @param onRead gets the bytes of the file that were read so far, about
 * @throws Unreadable
 */
export async function arrowToJsonl(path: string, into: Output, onRead: (bytes: number) => void): Promise<void> {
  prepareCodecs();
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const { reader, isFile } = await readerFor(path, handle, onRead);
    await reader.open();
    const lines = createJsonLines(into);
    const batches = reader.isFile() ? reader.numRecordBatches : 1;
    let done = 0;
    for await (const batch of reader) {
      const names = batch.schema.fields.map((field) => field.name);
      const reads = names.map((_, index) => readerOf(batch.getChildAt(index)));
      for (let row = 0; row < batch.numRows; row++) lines.row(names, (column) => reads[column]?.(row));
      if (isFile) onRead(Math.round((++done / Math.max(1, batches)) * size));
    }
    lines.flush();
  } catch (cause) {
    if (cause instanceof Unreadable || cause instanceof AppError) throw cause;
    throw new Unreadable("damaged_file", "The Arrow file is damaged or incomplete. Write it again.", cause);
  } finally {
    await handle.close();
  }
}
