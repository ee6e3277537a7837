/**
 * Reads a multipart/form-data body part by part as it arrives; nothing larger than one network chunk is held in memory.
 */
import { AppError } from "../errors.ts";

interface Part {
  /** Field name. */
  name: string;
  /** File name as the client sent it; null for plain fields. Never to be trusted as a path. */
  filename: string | null;
  contentType: string | null;
  /** The content. Unread content is skipped when the next part is requested. */
  body: AsyncGenerator<Uint8Array>;
}

const MAX_HEADER_BYTES = 16 * 1024;
const MAX_PARTS = 100;

const broken = (detail: string) =>
  new AppError("invalid", "multipart_broken", `The multipart body could not be read: ${detail}. Send it again.`);

/** The boundary of a `content-type: multipart/form-data` header; null when it is another type. */
export function boundaryOf(contentType: string | null): string | null {
  if (!contentType || !/^multipart\/form-data\s*(;|$)/i.test(contentType)) return null;
  const match = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType);
  if (!match) throw broken("the content-type header has no boundary");
  return match[1] ?? match[2] ?? null;
}

const PARAMETER = /;\s*([\w-]{1,40}\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/g;
const EXTENDED = "utf-8''";

/** A parameter of a content-disposition header; `filename*` (RFC 5987) wins over `filename`. */
function parameter(header: string, name: string): string | null {
  const found = new Map<string, string>();
  for (const [, key = "", quoted, bare = ""] of header.matchAll(PARAMETER)) {
    // Browsers send %22 for a quote, other clients escape it.
    const value = quoted?.replaceAll(/\\(["\\])/g, "$1").replaceAll("%22", '"') ?? bare;
    if (!found.has(key.toLowerCase())) found.set(key.toLowerCase(), value);
  }
  const extended = found.get(`${name}*`);
  if (extended?.toLowerCase().startsWith(EXTENDED)) {
    try {
      return decodeURIComponent(extended.slice(EXTENDED.length));
    } catch {
      // Not percent-encoded UTF-8: the plain form below is used.
    }
  }
  return found.get(name) ?? null;
}

/**
 * The parts of a form in their order. A part's body must be read before the next part is requested.
 * @throws AppError `multipart_broken` when the body ends too early or is malformed
 */
export async function* readMultipart(body: AsyncIterable<Uint8Array>, boundary: string): AsyncGenerator<Part> {
  const delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
  const source = body[Symbol.asyncIterator]();
  // The first boundary has no line break before it; adding one makes all boundaries alike.
  let held: Buffer = Buffer.from("\r\n");
  let ended = false;
  let inside = true;

  async function more(): Promise<boolean> {
    if (ended) return false;
    const next = await source.next();
    if (next.done) {
      ended = true;
      return false;
    }
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    return true;
  }

  /** Bytes up to the next boundary, which is consumed as well. */
  async function* content(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const at = held.indexOf(delimiter);
      if (at >= 0) {
        const last = held.subarray(0, at);
        held = held.subarray(at + delimiter.length);
        inside = false;
        if (last.length > 0) yield last;
        return;
      }
      const safe = held.length - delimiter.length + 1;
      if (safe > 0) {
        const piece = held.subarray(0, safe);
        held = held.subarray(safe);
        yield piece;
      }
      if (!(await more())) throw broken("it ended before the closing boundary");
    }
  }

  async function line(limit: number): Promise<string> {
    for (;;) {
      const at = held.indexOf("\r\n");
      if (at >= 0) {
        const text = held.toString("utf8", 0, at);
        held = held.subarray(at + 2);
        return text;
      }
      if (held.length > limit) throw broken("the headers of a part are too long");
      if (!(await more())) throw broken("it ended inside the headers of a part");
    }
  }

  for await (const _ of content());
  for (let count = 0; ; count++) {
    while (held.length < 2) if (!(await more())) throw broken("it ended at a boundary");
    if (held.toString("latin1", 0, 2) === "--") {
      // Data after the closing boundary is ignored, but read so that the connection can be reused.
      do held = Buffer.alloc(0);
      while (await more());
      return;
    }
    if (count >= MAX_PARTS) throw broken(`it has more than ${MAX_PARTS} parts`);
    if ((await line(MAX_HEADER_BYTES)).trim() !== "") throw broken("a boundary is followed by other text");
    const headers = new Map<string, string>();
    for (let size = 0; ; ) {
      const header = await line(MAX_HEADER_BYTES);
      if (header === "") break;
      size += header.length;
      if (size > MAX_HEADER_BYTES) throw broken("the headers of a part are too long");
      const colon = header.indexOf(":");
      if (colon > 0) headers.set(header.slice(0, colon).trim().toLowerCase(), header.slice(colon + 1).trim());
    }
    const disposition = headers.get("content-disposition") ?? "";
    const name = parameter(disposition, "name");
    if (name === null) throw broken("a part has no name");
    inside = true;
    const filename = parameter(disposition, "filename");
    yield { name, filename, contentType: headers.get("content-type") ?? null, body: content() };
    // A reader that stopped early ended its generator; a new one continues from there.
    if (inside) for await (const _ of content());
  }
}

/** The text of a small part. */
export async function partText(part: Part, limit = 64 * 1024): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of part.body) {
    size += chunk.length;
    if (size > limit) throw broken(`the field "${part.name.slice(0, 60)}" is longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
