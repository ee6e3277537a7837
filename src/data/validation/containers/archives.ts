/** Unpacks gzip, zstd and xz files, and one file of a ZIP archive, as a stream into one file. */

import { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { XzReadableStream } from "xz-decompress";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { AppError } from "../../../errors.ts";
import { countedFile } from "./input.ts";
import type { Output } from "./output.ts";
import { Unreadable } from "./unreadable.ts";

/** Most files of an archive that are looked at and named. */
const MOST_FILES = 10_000;
const DATA = /\.(jsonl|ndjson|json|csv|tsv|txt|parquet|arrow|feather|xlsx|zip)(\.(gz|zst|xz))?$/i;

const CHUNK = { chunkSize: 1 << 18 };

/** The stream of what is packed. `onRead` gets the packed bytes read so far. */
function unpacked(
  path: string,
  kind: "gzip" | "zstd" | "xz",
  onRead: (bytes: number) => void,
): AsyncIterable<Uint8Array> {
  const source = Readable.from(countedFile(path, onRead), { objectMode: false });
  if (kind === "xz") {
    const stream = new XzReadableStream(Readable.toWeb(source) as unknown as ReadableStream<Uint8Array>);
    return Readable.fromWeb(stream as unknown as Parameters<typeof Readable.fromWeb>[0]);
  }
  const decoder = kind === "gzip" ? createGunzip(CHUNK) : createZstdDecompress(CHUNK);
  source.on("error", (error) => decoder.destroy(error));
  return source.pipe(decoder);
}

async function drain(stream: AsyncIterable<Uint8Array>, into: Output, what: string) {
  try {
    for await (const chunk of stream) into.add(chunk);
  } catch (cause) {
    if (cause instanceof Unreadable || cause instanceof AppError) throw cause;
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new Unreadable(
      "damaged_file",
      `The ${what} is damaged or incomplete (${detail.slice(0, 100)}). Pack it again, or upload the data file itself.`,
      cause,
    );
  }
}

/** @throws Unreadable for a damaged archive, and when the limits of `into` are exceeded */
export async function unpack(
  path: string,
  kind: "gzip" | "zstd" | "xz",
  into: Output,
  onRead: (bytes: number) => void,
): Promise<void> {
  await drain(unpacked(path, kind, onRead), into, `${kind} archive`);
}

/** What a ZIP archive holds: files that may be data, a workbook, or another kind of document. */
interface ZipContent {
  names: string[];
  workbook: boolean;
  /** The end of the sentence "This is …", for archives that are documents. */
  other: string | null;
}

const damaged = (cause: unknown) =>
  new Unreadable(
    "damaged_file",
    "The ZIP archive is damaged or incomplete. Pack it again, or upload the data file itself.",
    cause,
  );

async function entriesOf(archive: ZipFile): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of archive.eachEntry()) {
    if (entries.length < MOST_FILES) entries.push(entry);
  }
  return entries;
}

/** @throws Unreadable */
export async function zipContent(path: string): Promise<ZipContent> {
  let archive: ZipFile | null = null;
  try {
    archive = await openPromise(path, { autoClose: false });
    const all = (await entriesOf(archive)).map((entry) => entry.fileName);
    const has = (pattern: RegExp) => all.some((name) => pattern.test(name));
    const files = all.filter((name) => !/(^|\/)(__MACOSX\/|\.)|\/$/.test(name));
    const data = files.filter((name) => DATA.test(name));
    return {
      names: data.length > 0 ? data : files,
      workbook: has(/^xl\/workbook\.xml$/),
      other: has(/^word\/document\.xml$/)
        ? "a Word document; save it as plain text"
        : has(/^ppt\/presentation\.xml$/)
          ? "a PowerPoint presentation"
          : has(/^xl\/workbook\.bin$/)
            ? "a binary Excel workbook (.xlsb); save it as .xlsx or CSV"
            : has(/(^|\/)data\.pkl$/)
              ? "a PyTorch file with pickles in it; save the rows as JSONL or Parquet"
              : has(/^content\.xml$/)
                ? "an OpenDocument file; save it as .xlsx or CSV"
                : has(/\.npy$/)
                  ? "a NumPy archive; save the rows as JSONL, CSV or Parquet"
                  : null,
    };
  } catch (cause) {
    throw damaged(cause);
  } finally {
    archive?.close();
  }
}

/**
 * Unpacks the file `name` of a ZIP archive.
 * @throws Unreadable for a damaged or encrypted archive, and when the limits of `into` are exceeded
 */
export async function unzip(path: string, name: string, into: Output, onRead: (bytes: number) => void): Promise<void> {
  const archive = await openPromise(path, { autoClose: false }).catch((cause) => {
    throw damaged(cause);
  });
  try {
    const entry = (await entriesOf(archive)).find((candidate) => candidate.fileName === name);
    if (!entry) throw damaged(null);
    if (entry.isEncrypted())
      throw new Unreadable("damaged_file", "The ZIP archive is encrypted. Pack it without a password.");
    const stream = await archive.openReadStreamPromise(entry).catch((cause) => {
      throw damaged(cause);
    });
    const counted = async function* () {
      let got = 0;
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        got += chunk.length;
        onRead(Math.round((got / Math.max(1, entry.uncompressedSize)) * entry.compressedSize));
        yield chunk;
      }
    };
    await drain(counted(), into, "ZIP archive");
  } finally {
    archive.close();
  }
}
