/** Reads request bodies with a limit that holds whatever the headers claim. */
import { MAX_PART_BYTES } from "../contract/trainer.ts";
import { AppError } from "../errors.ts";

function tooLarge(max: number): AppError {
  return new AppError("too_large", "body_too_large", `A request body is at most ${max} bytes; send smaller parts.`);
}

/** The whole body as bytes. @throws AppError `body_too_large` (413) */
export async function readBytes(request: Request, max = MAX_PART_BYTES): Promise<Uint8Array> {
  const claimed = Number(request.headers.get("content-length") ?? 0);
  if (claimed > max) throw tooLarge(max);
  if (!request.body) return new Uint8Array();
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of request.body) {
    size += piece.byteLength;
    if (size > max) throw tooLarge(max);
    pieces.push(piece);
  }
  if (pieces.length === 1) return pieces[0] as Uint8Array;
  return Buffer.concat(pieces);
}

/** The body as JSON. @throws AppError `body_not_json` (400), `body_too_large` (413), `wrong_content_type` (415) */
export async function readJson(request: Request, max = MAX_PART_BYTES): Promise<unknown> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/json\b/i.test(type))
    throw new AppError("unsupported_media", "wrong_content_type", "Send JSON with `content-type: application/json`.");
  const bytes = await readBytes(request, max);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new AppError("invalid", "body_not_json", "The request body is not valid JSON in UTF-8.", { cause });
  }
}
