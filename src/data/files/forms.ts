/**
 * Reads what uploads come as: a multipart form in any order of fields, or the raw bytes with the fields in the query.
 */
import { rm } from "node:fs/promises";
import * as v from "valibot";
import { requireRoom } from "../../accounts/quotas/service.ts";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { boundaryOf, partText, readMultipart } from "../../lib/multipart.ts";
import { unknownParameter } from "../../lib/request-fields.ts";
import { checkText } from "../../lib/text/well-formed.ts";
import { cleanFilename, type Received, receive, tooLarge } from "../storage/receive.ts";

interface UploadForm {
  /** Text fields; `expires_after[seconds]` and the like keep their brackets. */
  fields: Record<string, string>;
  received: Received;
  filename: string;
}

const RAW = "application/octet-stream, application/jsonl, application/x-ndjson, text/csv or text/plain";
const RAW_TYPE =
  /^(application\/(octet-stream|jsonl|x-ndjson|ndjson|x-jsonlines|csv)|text\/(csv|plain|jsonl|tab-separated-values))\s*(;|$)/i;

/**
 * Stores the one file of an upload request under a temporary name.
 * @param field name of the file field of a form
 * @param limit most bytes of the file
 * @param org whose quota must have room for what the request says it sends; none when the bytes are counted already
 * @param raw take a body that is no form when the query names a `filename`
 * @throws AppError `unsupported_content_type`, `file_missing`, `file_empty`, `quota_exceeded`, `disk_full`, and those
 *   of `receive`
 */
export async function readUpload(
  ctx: Ctx,
  request: Request,
  options: { field: string; limit: number; raw: boolean; org?: string },
): Promise<UploadForm> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  // Refused before the first byte is read; 1 MiB is left for the other fields of a form.
  if (declared > options.limit + 1024 ** 2) throw tooLarge(options.limit, options.field);
  if (options.org) await requireRoom(ctx, options.org, declared);
  requireDisk(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes, declared);
  const type = request.headers.get("content-type");
  const query = Object.fromEntries(new URL(request.url).searchParams);
  const boundary = boundaryOf(type);
  if (!boundary) {
    const { filename, ...fields } = query;
    if (options.raw && filename && (!type || RAW_TYPE.test(type))) {
      if (!request.body) throw emptyFile(filename, options.field);
      const received = await receive(ctx, request.body, options.limit, options);
      return { fields, filename, received: await refuseEmpty(received, filename, options.field) };
    }
    throw new AppError(
      "unsupported_media",
      "unsupported_content_type",
      `Send multipart/form-data with a field "${options.field}"${options.raw ? `, or the bytes alone as ${RAW} with ?filename= in the address` : ""}; this was ${type?.slice(0, 100) ?? "without a content type"}.`,
    );
  }
  return readForm(ctx, request, boundary, options);
}

function emptyFile(filename: string, field: string): AppError {
  return new AppError("invalid", "file_empty", `${cleanFilename(filename)} is empty (0 bytes).`, { param: field });
}

async function refuseEmpty(received: Received, filename: string, field: string): Promise<Received> {
  if (received.bytes > 0) return received;
  await rm(received.path, { force: true });
  throw emptyFile(filename, field);
}

async function readForm(
  ctx: Ctx,
  request: Request,
  boundary: string,
  options: { field: string; limit: number },
): Promise<UploadForm> {
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  let found: { received: Received; filename: string } | null = null;
  const missing = () =>
    new AppError("invalid", "file_missing", `The form has no file in the field "${options.field}".`, {
      param: options.field,
    });
  try {
    if (!request.body) throw missing();
    for await (const part of readMultipart(request.body, boundary)) {
      if (part.name !== options.field) fields[part.name] = await partText(part);
      else if (found)
        throw new AppError("invalid", "one_file_only", "Send one file a request.", { param: options.field });
      else
        found = {
          received: await receive(ctx, part.body, options.limit, options),
          filename: part.filename || "upload",
        };
    }
    if (!found) throw missing();
    // A part of an upload has an error of its own.
    if (options.field === "file") await refuseEmpty(found.received, found.filename, options.field);
    return { fields, ...found };
  } catch (error) {
    if (found) await rm(found.received.path, { force: true });
    throw error;
  }
}

/** Plain values and `name[key]` fields as one object, so that a schema can read a form like a JSON body. */
export function nested(fields: Record<string, string>): Record<string, unknown> {
  const out: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(fields)) {
    const match = /^([a-z_]+)\[([^\]]{1,200})\]$/.exec(name);
    if (!match) {
      out[name] = value;
      continue;
    }
    const [, outer = "", inner = ""] = match;
    const known = out[outer];
    const group: Record<string, unknown> =
      typeof known === "object" && known !== null ? (known as Record<string, unknown>) : {};
    if (inner !== "__proto__") group[inner] = value;
    out[outer] = group;
  }
  return out;
}

/**
 * Parses input with a schema.
 * @throws AppError `invalid_value`, `unknown_parameter`, `invalid_text` with the name of the field
 */
export function parseWith<S extends v.GenericSchema>(schema: S, input: unknown): v.InferOutput<S> {
  checkText(input);
  const parsed = v.safeParse(schema, input);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const param = v.getDotPath(issue);
  const unknown = unknownParameter(issue, param);
  if (unknown) throw unknown;
  throw new AppError(
    "invalid",
    "invalid_value",
    param ? `Invalid '${param}': ${issue.message}` : `Invalid request: ${issue.message}`,
    { param },
  );
}
