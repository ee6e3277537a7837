/** Reads bodies of requests and answers whole, with a limit that does not depend on the headers. */
import { AppError } from "../errors.ts";

const MIB = 1024 ** 2;

/**
 * The refusal of a request body above its limit.
 * @param max bytes
 * @param advice a sentence that says what to do instead
 * @param code for routes whose clients know another one
 */
export function bodyTooLarge(max: number, advice = "", code = "body_too_large"): AppError {
  const size = max >= MIB ? `${Math.floor(max / MIB)} MiB` : `${max} bytes`;
  return new AppError(
    "too_large",
    code,
    `The request body is larger than ${size}, the limit at this address. ${advice}`.trimEnd(),
  );
}

/**
 * At most `max` bytes of a body; the rest is not read. Never more than one network chunk above the limit is in memory.
 * @returns `truncated` when the body is longer
 */
export async function readUpTo(
  body: AsyncIterable<Uint8Array> | null,
  max: number,
): Promise<{ bytes: Uint8Array; truncated: boolean }> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body ?? []) {
    size += piece.byteLength;
    pieces.push(size > max ? piece.subarray(0, piece.byteLength - (size - max)) : piece);
    if (size > max) break;
  }
  const [first = new Uint8Array()] = pieces;
  return { bytes: pieces.length > 1 ? Buffer.concat(pieces) : first, truncated: size > max };
}

/**
 * The whole body of a request.
 * @param max bytes
 * @param tooLarge makes the error thrown above the limit
 */
export async function readBytes(
  request: Request,
  max: number,
  tooLarge = () => bodyTooLarge(max),
): Promise<Uint8Array> {
  const claimed = request.headers.get("content-length");
  if (Number(claimed ?? 0) > max) throw tooLarge();
  if (claimed !== null && request.body) {
    // The server does not read more than the declared length.
    const bytes = await request.bytes();
    if (bytes.byteLength > max) throw tooLarge();
    return bytes;
  }
  const { bytes, truncated } = await readUpTo(request.body, max);
  if (truncated) throw tooLarge();
  return bytes;
}
