/** Reads upload requests: a multipart form with fields in any order, or raw bytes with the fields in the query. */
import { rm } from "node:fs/promises";
import * as v from "valibot";
import { requireRoom } from "../../accounts/quotas/service.ts";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { boundaryOf, partText, readMultipart } from "../../lib/multipart.ts";
import { checkText } from "../../lib/text/well-formed.ts";
import { type Received, receive, tooLarge } from "../storage/receive.ts";

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
 * @param options `field`: name of the form field with the file; `limit`: maximum bytes of the file; `org`: the
 *   organization whose quota must have space for the announced bytes, absent when they are already counted; `raw`:
 *   accept a body that is not a form when the query has a `filename`
 * @throws AppError `unsupported_content_type`, `file_missing`, `quota_exceeded`, `disk_full`, and those of `receive`
 */
export async function readUpload(
  ctx: Ctx,
  request: Request,
  options: { field: string; limit: number; raw: boolean; org?: string },
): Promise<UploadForm> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  // Rejects before reading the first byte. 1 MiB is allowed for the other fields of a form.
  if (declared > options.limit + 1024 ** 2) throw tooLarge(options.limit, options.field);
  if (options.org) await requireRoom(ctx, options.org, declared);
  requireDisk(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes, declared);
  const type = request.headers.get("content-type");
  const query = Object.fromEntries(new URL(request.url).searchParams);
  const boundary = boundaryOf(type);
  if (!boundary) {
    const { filename, ...fields } = query;
    if (options.raw && filename && (!type || RAW_TYPE.test(type)) && request.body)
      return {
        fields,
        filename,
        received: await receive(ctx, request.body, options.limit, options),
      };
    throw new AppError(
      "unsupported_media",
      "unsupported_content_type",
      `Send multipart/form-data with a field "${options.field}"${options.raw ? `, or the raw bytes as ${RAW} with ?filename= in the URL` : ""}. The content type of this request was ${type?.slice(0, 100) ?? "missing"}.`,
    );
  }
  return readForm(ctx, request, boundary, options);
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
        throw new AppError("invalid", "one_file_only", "Send one file per request.", { param: options.field });
      else
        found = {
          received: await receive(ctx, part.body, options.limit, options),
          filename: part.filename || "upload",
        };
    }
    if (!found) throw missing();
    return { fields, ...found };
  } catch (error) {
    if (found) await rm(found.received.path, { force: true });
    throw error;
  }
}

/** Plain and `name[key]` fields as one object, so that one schema fits a form and a JSON body. */
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

/** Parses input with a schema. @throws AppError `invalid_value`, `invalid_text` with the name of the field */
export function parseWith<S extends v.GenericSchema>(schema: S, input: unknown): v.InferOutput<S> {
  checkText(input);
  const parsed = v.safeParse(schema, input);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const param = v.getDotPath(issue);
  throw new AppError(
    "invalid",
    "invalid_value",
    param ? `Invalid '${param}': ${issue.message}` : `Invalid request: ${issue.message}`,
    { param },
  );
}
