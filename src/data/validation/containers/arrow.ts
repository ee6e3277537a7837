/** Reads Arrow IPC files and streams (also Feather 2 and datasets saved to disk) by batches, and writes JSON rows. */

import { zstdDecompressSync } from "node:zlib";
import { CompressionType, compressionRegistry, DataType, RecordBatchReader, type Vector } from "apache-arrow";
import { decompress } from "lz4js";
import { AppError } from "../../../errors.ts";
import { countedFile } from "./input.ts";
import { whole } from "./numbers.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

type Read = (row: number) => unknown;

/** Reads the children of a nested value once for each batch, not once for each row. */
function structReader(vector: Vector): Read {
  const names = (vector.type as { children: { name: string }[] }).children.map((field) => field.name);
  const reads = names.map((_, index) => readerOf(vector.getChildAt(index)));
  return (row) => {
    const object: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    names.forEach((name, index) => {
      object[name] = reads[index]?.(row) ?? null;
    });
    return object;
  };
}

function listOf(vector: Vector): unknown[] {
  const read = readerOf(vector);
  return Array.from({ length: vector.length }, (_, row) => read(row));
}

function mapReader(vector: Vector): Read {
  return (row) => {
    const entries = vector.get(row) as Iterable<[string, unknown]> | null;
    return entries && Object.fromEntries([...entries].map(([key, value]) => [key, plain(value)]));
  };
}

/** A value without a reader of its own: dates, decimals, binary and dictionaries of nested values. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return whole(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8");
  return value;
}

/** A function that reads one row of a column as a JSON value. */
function readerOf(vector: Vector | null): Read {
  if (!vector) return () => null;
  const { type } = vector;
  const read = (row: number) => vector.get(row) as unknown;
  let from: Read = (row) => plain(read(row));
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isBool(type)) from = read;
  else if (DataType.isInt(type)) from = (row) => whole(read(row) as number | bigint);
  else if (DataType.isDate(type) || DataType.isTimestamp(type))
    from = (row) => new Date(Number(read(row))).toISOString();
  else if (DataType.isList(type) || DataType.isFixedSizeList(type)) from = (row) => listOf(read(row) as Vector);
  else if (DataType.isStruct(type)) from = structReader(vector);
  else if (DataType.isMap(type)) from = mapReader(vector);
  return (row) => (vector.isValid(row) ? from(row) : null);
}

/** The library has no codecs of its own. */
function prepareCodecs() {
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => zstdDecompressSync(bytes) });
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: (bytes) => decompress(bytes) });
}

/**
 * @param onRead gets the bytes of the file that were read so far
 * @throws Unreadable
 */
export async function arrowToJsonl(path: string, into: Output, onRead: (bytes: number) => void): Promise<void> {
  prepareCodecs();
  try {
    const reader = await RecordBatchReader.from(countedFile(path, onRead));
    await reader.open();
    for await (const batch of reader) {
      const names = batch.schema.fields.map((field) => field.name);
      const reads = names.map((_, index) => readerOf(batch.getChildAt(index)));
      for (let row = 0; row < batch.numRows; row++) {
        const object: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
        for (let column = 0; column < names.length; column++) object[names[column] ?? ""] = reads[column]?.(row);
        into.text(`${JSON.stringify(object)}\n`);
      }
    }
  } catch (cause) {
    if (cause instanceof Unreadable || cause instanceof AppError) throw cause;
    throw new Unreadable("damaged_file", "The Arrow file is damaged or incomplete. Write it again.", cause);
  }
}
