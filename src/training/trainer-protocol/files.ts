/** Sends files with HTTP ranges, so that an interrupted download can resume. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { notFound } from "../../errors.ts";

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

async function* pieces(files: { path: string; size: number }[], span: Span): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const { path, size } of files) {
    const from = Math.max(0, span.from - start);
    const to = Math.min(size, span.to - start);
    start += size;
    if (from >= to) continue;
    yield* createReadStream(path, { start: from, end: to - 1, highWaterMark: 1 << 18 });
  }
}

/**
 * A response with the concatenated content of `paths`.
 * @throws AppError `file_not_found` when one is missing
 */
export async function fileResponse(request: Request, paths: string[], type: string): Promise<Response> {
  const files: { path: string; size: number }[] = [];
  for (const path of paths) {
    const found = await stat(path).catch(() => null);
    if (!found?.isFile()) throw notFound("file", "its content is not on the server");
    files.push({ path, size: found.size });
  }
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const range = rangeOf(request.headers.get("range"), size);
  const headers: Record<string, string> = { "content-type": type, "accept-ranges": "bytes" };
  if (range === "bad")
    return new Response(null, { status: 416, headers: { ...headers, "content-range": `bytes */${size}` } });
  const span = range ?? { from: 0, to: size };
  headers["content-length"] = String(span.to - span.from);
  if (range) headers["content-range"] = `bytes ${span.from}-${span.to - 1}/${size}`;
  const source = pieces(files, span);
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
