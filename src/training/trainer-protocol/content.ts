/**
 * Checks uploaded files before they count: safetensors, JSON, JSONL, GGUF and plain text. Executable content is refused
 * and nothing is ever unpickled.
 */
import { type FileHandle, open } from "node:fs/promises";
import { AppError } from "../../errors.ts";

type FileKind = "safetensors" | "json" | "jsonl" | "gguf" | "text";

const MiB = 1024 ** 2;
/** Limits in bytes for content that is read into memory. */
const MAX_JSON = 64 * MiB;
const MAX_TEXT = 16 * MiB;
const MAX_LINE = 16 * MiB;
const MAX_HEADER = 64 * MiB;

const KINDS: Record<string, FileKind> = {
  safetensors: "safetensors",
  json: "json",
  jsonl: "jsonl",
  gguf: "gguf",
  txt: "text",
  md: "text",
  jinja: "text",
};

/** The kind of a file by its extension; null when such files are not accepted. */
export function kindOf(path: string): FileKind | null {
  return KINDS[/\.([a-z0-9]+)$/.exec(path)?.[1] ?? ""] ?? null;
}

export const KINDS_TEXT = `.${Object.keys(KINDS).join(", .")}`;

/** The error 422 for a refused file, with its name. */
export function badFile(path: string, why: string, code = "bad_artifact_file"): AppError {
  return new AppError("unprocessable", code, `${path}: ${why}`, { param: path });
}

/** Bits per element of every safetensors type. */
const DTYPE_BITS: Record<string, number> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

/** The problem with the first bytes of a file of this kind, or null. Checked with the first part. */
export function headProblem(kind: FileKind, head: Uint8Array, size: number): string | null {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const text = (from: number, to: number) => new TextDecoder("latin1").decode(head.subarray(from, to));
  if (text(0, 2) === "PK") return "zip archives, including PyTorch's pickle format, are not accepted";
  if (head[0] === 0x80 && (head[1] ?? 0) >= 2 && (head[1] ?? 0) <= 5) return "Python pickles are not accepted";
  if (kind === "safetensors") {
    if (size < 10 || head.byteLength < 9) return "too short for a safetensors file";
    const length = view.getBigUint64(0, true);
    if (length > BigInt(Math.min(MAX_HEADER, size - 8)))
      return "not a safetensors file: the header is longer than the file";
    if (head[8] !== 0x7b) return "not a safetensors file: the header is not JSON";
  }
  if (kind === "gguf") {
    if (head.byteLength < 24 || text(0, 4) !== "GGUF") return "not a GGUF file";
    const version = view.getUint32(4, true);
    if (version < 2 || version > 3) return `GGUF version ${version} is not supported`;
  }
  if ((kind === "json" || kind === "jsonl" || kind === "text") && head.includes(0))
    return "not a text file: it contains zero bytes";
  return null;
}

async function readAt(file: FileHandle, length: number, position: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}

function parse(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
}

/** Tensors must follow one another without gaps or overlaps, and fill the file to its last byte. */
function tensorProblem(header: unknown, dataBytes: number): string | null {
  if (typeof header !== "object" || header === null || Array.isArray(header)) return "the header is not an object";
  const spans: { name: string; from: number; to: number }[] = [];
  for (const [name, entry] of Object.entries(header as Record<string, unknown>)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
    const bits = typeof dtype === "string" && Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype] : undefined;
    if (bits === undefined) return `tensor ${name.slice(0, 100)} has an unknown type`;
    const dims = Array.isArray(shape) ? shape : null;
    if (!dims?.every((one) => Number.isSafeInteger(one) && one >= 0))
      return `tensor ${name.slice(0, 100)} has no valid shape`;
    const [from, to] = Array.isArray(offsets) ? offsets : [];
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > dataBytes)
      return `tensor ${name.slice(0, 100)} is outside the file`;
    const bytes = (dims.reduce((product: number, one: number) => product * one, 1) * bits) / 8;
    if (bytes !== to - from) return `tensor ${name.slice(0, 100)} has ${to - from} bytes, but its shape needs ${bytes}`;
    spans.push({ name, from, to });
  }
  spans.sort((a, b) => a.from - b.from || a.to - b.to);
  let end = 0;
  for (const span of spans) {
    if (span.from !== end) return `tensor ${span.name.slice(0, 100)} leaves a gap or overlaps another`;
    end = span.to;
  }
  return end === dataBytes ? null : `${dataBytes - end} bytes at the end belong to no tensor`;
}

async function linesProblem(file: FileHandle, size: number): Promise<string | null> {
  let rest = Buffer.alloc(0);
  let line = 0;
  const check = (bytes: Uint8Array): string | null => {
    line++;
    if (bytes.byteLength === 0) return null;
    try {
      parse(bytes);
      return null;
    } catch {
      return `line ${line} is not valid JSON`;
    }
  };
  for (let at = 0; at < size; ) {
    const piece = await readAt(file, Math.min(MiB, size - at), at);
    if (piece.byteLength === 0) break;
    at += piece.byteLength;
    let buffer = Buffer.concat([rest, piece]);
    for (let end = buffer.indexOf(10); end >= 0; end = buffer.indexOf(10)) {
      const problem = check(buffer.subarray(0, end));
      if (problem) return problem;
      buffer = buffer.subarray(end + 1);
    }
    if (buffer.byteLength > MAX_LINE) return `line ${line + 1} is longer than ${MAX_LINE} bytes`;
    rest = buffer;
  }
  return check(rest);
}

/**
 * The problem with a complete file on disk; null when its content matches its extension. Reads into memory the header
 * of safetensors, one line of JSONL, or all of a JSON or text file (bounded).
 */
export async function contentProblem(path: string, kind: FileKind, size: number): Promise<string | null> {
  const file = await open(path, "r");
  try {
    const head = await readAt(file, Math.min(64, size), 0);
    const early = headProblem(kind, head, size);
    if (early) return early;
    if (kind === "safetensors") {
      const length = Number(new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true));
      return tensorProblem(parse(await readAt(file, length, 8)), size - 8 - length);
    }
    if (kind === "jsonl") return await linesProblem(file, size);
    if (kind === "gguf") return null;
    const max = kind === "json" ? MAX_JSON : MAX_TEXT;
    if (size > max) return `larger than ${max} bytes, the limit for such a file`;
    const bytes = await readAt(file, size, 0);
    if (kind === "json") parse(bytes);
    else if (bytes.includes(0)) return "not a text file: it contains zero bytes";
    else new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return "not valid JSON";
    if (error instanceof TypeError) return "not valid UTF-8";
    throw error;
  } finally {
    await file.close();
  }
}
