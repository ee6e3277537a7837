/** Reads request bodies of trainers: parts of artifacts as bytes, everything else as JSON. */
import { MAX_PART_BYTES } from "../../contract/trainer.ts";
import { AppError } from "../../errors.ts";
import * as body from "../../lib/body.ts";
import { parseJson } from "../../lib/text/json.ts";

/** Rows of a dataset may be nested 100 levels deep, and trainers send them inside their own objects. */
const MAX_DEPTH = 128;

/** The whole body as bytes. @throws AppError `body_too_large` (413) */
export function readBytes(request: Request, max = MAX_PART_BYTES): Promise<Uint8Array> {
  return body.readBytes(request, max, () => body.bodyTooLarge(max, "Send smaller parts."));
}

/**
 * The body as JSON, with the digits of its numbers. Characters that a tokenizer has split (half a surrogate pair) and
 * NUL become U+FFFD.
 * @throws AppError `body_not_json`, `body_too_deep` (400), `body_too_large` (413), `wrong_content_type` (415)
 */
export async function readJson(request: Request, max = MAX_PART_BYTES): Promise<unknown> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/json\b/i.test(type))
    throw new AppError("unsupported_media", "wrong_content_type", "Send JSON with `content-type: application/json`.");
  return parseJson(await readBytes(request, max), {
    limit: MAX_DEPTH,
    code: "body_not_json",
    repair: true,
    exact: true,
  });
}
