/** Sends files with HTTP ranges, so that an interrupted download can resume. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type Ctx, perContext } from "../../ctx.ts";
import { mergedBytes } from "../../data/storage/merged-rows.ts";
import { notFound } from "../../errors.ts";
import { lruOf } from "../../lib/lru.ts";

interface Span {
  from: number;
  /** Not included. */
  to: number;
}

/** The byte range of a `Range` header; null without a supported range, `bad` when it is outside the file. */
function rangeOf(header: string | null, size: number): Span | "bad" | null {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "");
  if (!match || (!match[1] && !match[2])) return null;
  if (!match[1]) return Number(match[2]) === 0 ? "bad" : { from: Math.max(0, size - Number(match[2])), to: size };
  const from = Number(match[1]);
  const to = match[2] ? Math.min(size, Number(match[2]) + 1) : size;
  return from >= size || to <= from ? "bad" : { from, to };
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  if (!found?.isFile()) throw notFound("file", "its content is not on the server");
  return found.size;
}

/** A response with the content of a file. @throws AppError `file_not_found` */
export async function fileResponse(request: Request, path: string, type: string): Promise<Response> {
  const content = ({ from, to }: Span): AsyncGenerator<Uint8Array> => fileBytes(path, from, to);
  return rangeResponse(request, await sizeOf(path), type, content);
}

/**
 * A response with the rows of one file, or of two files merged by row id; of none, an empty one.
 * @throws AppError `file_not_found` when one is missing
 */
export async function rowsResponse(request: Request, files: string[]): Promise<Response> {
  const [first, second] = files;
  const size = (first ? await sizeOf(first) : 0) + (second ? await sizeOf(second) : 0);
  return rangeResponse(request, size, "application/jsonl", (span) => rowBytes(files, span));
}

const digests = perContext(() => lruOf<Promise<Digest>>(1000));

/** Bytes of one file, or of two files merged by row id. */
export const rowBytes = ([first, second]: string[], span: Span): AsyncGenerator<Uint8Array> =>
  first && second ? mergedBytes(first, second, span) : fileBytes(first, span.from, span.to);

/** Size and SHA-256 of rows. */
interface Digest {
  size: number;
  sha256: string;
}

async function hashRows(files: string[]): Promise<Digest> {
  const [first, second] = files;
  const size = (first ? await sizeOf(first) : 0) + (second ? await sizeOf(second) : 0);
  const hash = new Bun.CryptoHasher("sha256");
  for await (const piece of rowBytes(files, { from: 0, to: size })) hash.update(piece);
  return { size, sha256: hash.digest("hex") };
}

/** Size and hash of what `rowsResponse` sends; computed once, because files of versions never change. */
export async function rowsDigest(ctx: Ctx, files: string[]): Promise<Digest> {
  const key = files.join("\n");
  const known = digests(ctx).get(key);
  if (known) return known;
  const made = hashRows(files);
  digests(ctx).set(key, made);
  made.catch(() => digests(ctx).delete(key));
  return made;
}

async function* fileBytes(path: string | undefined, from: number, to: number): AsyncGenerator<Uint8Array> {
  if (path && from < to) yield* createReadStream(path, { start: from, end: to - 1, highWaterMark: 1 << 18 });
}

function rangeResponse(
  request: Request,
  size: number,
  type: string,
  content: (span: Span) => AsyncGenerator<Uint8Array>,
): Response {
  const range = rangeOf(request.headers.get("range"), size);
  const headers: Record<string, string> = { "content-type": type, "accept-ranges": "bytes" };
  if (range === "bad")
    return new Response(null, { status: 416, headers: { ...headers, "content-range": `bytes */${size}` } });
  const span = range ?? { from: 0, to: size };
  headers["content-length"] = String(span.to - span.from);
  if (range) headers["content-range"] = `bytes ${span.from}-${span.to - 1}/${size}`;
  const source = content(span);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await source.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel() {
      await source.return(undefined);
    },
  });
  return new Response(body, { status: range ? 206 : 200, headers });
}
