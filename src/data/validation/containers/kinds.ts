/** Finds from the first bytes what a file is: packed, a table, text, or something that holds no rows. */
import { isUtf8 } from "node:buffer";

/** Bytes of the head that decide; the rest of it may be a text of any kind. */
export type Kind =
  | { is: "gzip" | "zstd" | "xz" | "zip" }
  | { is: "parquet" | "arrow_file" | "arrow_stream" }
  | { is: "utf16le" | "utf16be" }
  | { is: "text" }
  /** `what` it is, as the end of the sentence "This is …". */
  | { is: "refused"; what: string };

type Magic = [at: number, bytes: string, kind: Kind];

const refused = (what: string): Kind => ({ is: "refused", what });

/** Signatures at fixed places, as Latin-1 text. */
const MAGIC: Magic[] = [
  [0, "\x1f\x8b", { is: "gzip" }],
  [0, "\x28\xb5\x2f\xfd", { is: "zstd" }],
  [0, "\xfd7zXZ\0", { is: "xz" }],
  [0, "PK\x03\x04", { is: "zip" }],
  [0, "PK\x05\x06", refused("an empty ZIP archive")],
  [0, "PAR1", { is: "parquet" }],
  [0, "PARE", refused("an encrypted Parquet file; write it without encryption")],
  [0, "ARROW1\0\0", { is: "arrow_file" }],
  [0, "FEA1", refused("a Feather file of version 1; write it as Feather version 2 (Arrow), Parquet or JSONL")],
  [0, "\xff\xfe\0\0", refused("UTF-32 text; save it as UTF-8")],
  [0, "\xff\xfe", { is: "utf16le" }],
  [0, "\xfe\xff", { is: "utf16be" }],
  [0, "%PDF-", refused("a PDF document; extract its text first")],
  [0, "{\\rtf", refused("an RTF document; save it as plain text")],
  [0, "SQLite format 3\0", refused("an SQLite database; export the table as JSONL, CSV or Parquet")],
  [0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", refused("an old Office file (.xls or .doc); save it as .xlsx or CSV")],
  [0, "\x89PNG\r\n\x1a\n", refused("a PNG image")],
  [0, "\xff\xd8\xff", refused("a JPEG image")],
  [0, "GIF8", refused("a GIF image")],
  [0, "BM", refused("a BMP image")],
  [0, "II*\0", refused("a TIFF image")],
  [0, "MM\0*", refused("a TIFF image")],
  [8, "WEBP", refused("a WebP image")],
  [8, "WAVE", refused("a WAV recording")],
  [0, "ID3", refused("an MP3 recording")],
  [4, "ftyp", refused("a video or audio file")],
  [0, "7z\xbc\xaf\x27\x1c", refused("a 7-Zip archive; unpack it, or pack it as gzip, zstd, xz or ZIP")],
  [0, "Rar!\x1a\x07", refused("a RAR archive; unpack it, or pack it as gzip, zstd, xz or ZIP")],
  [0, "BZh", refused("a bzip2 archive; unpack it, or pack it as gzip, zstd or xz")],
  [0, "\x04\x22\x4d\x18", refused("an LZ4 archive; unpack it, or pack it as gzip, zstd or xz")],
  [257, "ustar", refused("a tar archive; upload the data file in it alone, packed or not")],
  [0, "\x93NUMPY", refused("a NumPy array; save the rows as JSONL, CSV or Parquet")],
  [0, "\x89HDF\r\n\x1a\n", refused("an HDF5 file; save the rows as JSONL, CSV or Parquet")],
  [0, "Obj\x01", refused("an Avro file; convert it to JSONL or Parquet")],
  [0, "ORC", refused("an ORC file; convert it to JSONL or Parquet")],
  [0, "GGUF", refused("a GGUF model, not data")],
  [0, "\x7fELF", refused("a program")],
  [0, "MZ", refused("a Windows program")],
];

/** Signatures of two or three letters that a text can begin with as well; they count only in binary files. */
const WORDS = new Set(["BM", "MZ", "ID3", "ORC", "BZh", "GIF8", "FEA1", "PAR1", "PARE", "GGUF"]);

const at = (head: Buffer, index: number) => head[index] ?? 0;

/** A pickle: protocol 2 to 5, then a frame or another of its codes; protocol 0 and 1 are text without a signature. */
const isPickle = (head: Buffer, name: string) =>
  (at(head, 0) === 0x80 && at(head, 1) >= 2 && at(head, 1) <= 5) || (/\.(pkl|pickle)$/i.test(name) && hasControl(head));

/** An Arrow stream: the continuation mark, then the length of its first message, a schema. */
const isArrowStream = (head: Buffer) =>
  head.length > 16 && head.readUInt32LE(0) === 0xffffffff && head.readUInt32LE(4) > 0 && head.readUInt32LE(4) < 1 << 24;

/** Safetensors: the length of a JSON header, then the header. */
const isSafetensors = (head: Buffer) =>
  head.length > 9 && at(head, 8) === 0x7b && at(head, 9) === 0x22 && head.readUInt16LE(6) === 0 && at(head, 4) === 0;

/** Control characters that no text has. */
function hasControl(head: Buffer): boolean {
  return head.some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27 && byte !== 26) || byte === 127);
}

/** UTF-16 without a byte order mark: every second byte of Western text is zero. */
function looksUtf16(head: Buffer): "utf16le" | "utf16be" | null {
  const size = Math.min(head.length, 512) & ~1;
  if (size < 4) return null;
  const zeros = [0, 0];
  for (let index = 0; index < size; index++) if (at(head, index) === 0) zeros[index % 2] = (zeros[index % 2] ?? 0) + 1;
  const [even = 0, odd = 0] = zeros;
  if (odd > size / 4 && even === 0) return "utf16le";
  return even > size / 4 && odd === 0 ? "utf16be" : null;
}

/** What a text is that holds no rows, or null. */
function wrongText(text: string): string | null {
  if (text.startsWith("version https://git-lfs.github.com/spec/"))
    return "a Git LFS pointer, not the file; run git lfs pull, or download the file itself";
  if (/^<(!doctype\s+html|html|head|body)[\s>]/i.test(text))
    return "a web page that was saved instead of the file; use the download link of the file itself";
  if (/^<\?xml|^<[a-z][\w:-]*[\s>]/i.test(text)) return "an XML or HTML document; convert its rows to JSONL or CSV";
  if (text.startsWith("%!PS")) return "a PostScript document";
  return null;
}

/** @param head the first bytes, with a byte order mark if there is one */
export function kindOf(head: Buffer, filename: string): Kind {
  if (isPickle(head, filename))
    return refused("a Python pickle, which could run any program when it is read; save the rows as JSONL or Parquet");
  const latin = head.toString("latin1", 0, 512);
  const binary = hasControl(head.subarray(0, 4096));
  for (const [index, bytes, kind] of MAGIC)
    if (latin.startsWith(bytes, index) && (binary || !WORDS.has(bytes))) return kind;
  if (isArrowStream(head)) return { is: "arrow_stream" };
  if (isSafetensors(head)) return refused("a safetensors model, not data");
  const utf16 = looksUtf16(head);
  if (utf16) return { is: utf16 };
  const wrong = wrongText(
    head
      .toString("utf8", 0, 512)
      .replace(/^\ufeff/, "")
      .trimStart(),
  );
  if (wrong) return refused(wrong);
  if (binary && (head.includes(0) || !isUtf8(head.subarray(0, head.lastIndexOf(10) + 1 || head.length))))
    return refused("a binary file, not text");
  return { is: "text" };
}
