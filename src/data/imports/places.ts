/** Finds the files of an import: each place becomes a list of files with a function that requests their bytes. */
import { realpathSync, statSync } from "node:fs";
import { basename, resolve, sep } from "node:path";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { requireAddress } from "../../lib/net/guarded.ts";
import { findHubFiles } from "./hub-files.ts";
import type { Source, SourceOf } from "./model.ts";
import { getRemote, importGuard, type Place, requireOnline } from "./remote.ts";

/** The last part of an address, as a file name. */
function nameIn(path: string): string {
  const part = path.split("/").filter(Boolean).at(-1) ?? "";
  try {
    return decodeURIComponent(part) || "data";
  } catch {
    return part;
  }
}

function urlPlace(ctx: Ctx, source: SourceOf<"url">): Place {
  const url = URL.parse(source.url);
  if (!url) throw new AppError("invalid", "invalid_value", "'url' is not an address.", { param: "source.url" });
  requireAddress(url, importGuard(ctx));
  const secret: Record<string, string> = source.authorization ? { authorization: source.authorization } : {};
  return {
    name: nameIn(url.pathname),
    address: url.href,
    size: null,
    sha256: null,
    get: (headers, signal) => getRemote(ctx, url, { headers, secret, signal }),
  };
}

/** Seconds for which a signed address is valid; a new one is signed for each request. */
const SIGNED_S = 3600;

function s3Place(ctx: Ctx, source: SourceOf<"s3">): Place {
  const endpoint = URL.parse(source.endpoint);
  if (!endpoint)
    throw new AppError("invalid", "invalid_value", "'endpoint' is not an address.", { param: "source.endpoint" });
  requireAddress(endpoint, importGuard(ctx));
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey, session_token: sessionToken } = source;
  const bucket = new Bun.S3Client({
    endpoint: source.endpoint,
    bucket: source.bucket,
    region: source.region ?? "us-east-1",
    ...(accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : {}),
    ...(sessionToken ? { sessionToken } : {}),
  });
  const path = `/${source.bucket}/${source.key.split("/").map(encodeURIComponent).join("/")}`;
  // A public object needs no signature.
  const address = () =>
    accessKeyId && secretAccessKey
      ? new URL(bucket.presign(source.key, { method: "GET", expiresIn: SIGNED_S }))
      : new URL(path, endpoint);
  return {
    name: nameIn(source.key),
    address: source.endpoint,
    size: null,
    sha256: null,
    get: (headers, signal) => getRemote(ctx, address(), { headers, signal }),
  };
}

/** A file below one of the directories of the setting `dataset_roots`, with all links resolved. */
function pathPlace(ctx: Ctx, source: SourceOf<"path">): Place {
  const outside = (why: string) =>
    new AppError("forbidden", "path_refused", `${source.path} is not imported: ${why}`, { param: "source.path" });
  const roots = ctx.config.dataset_roots;
  if (roots.length === 0)
    throw outside(
      "this installation has no directories to import from. An administrator can name them (dataset_roots).",
    );
  const within = (path: string, root: string) => path.startsWith(root.endsWith(sep) ? root : root + sep);
  const real = (path: string) => {
    try {
      return realpathSync(path);
    } catch {
      return null;
    }
  };
  const path = real(source.path);
  const allowed = roots.map((root) => real(root)).filter((root) => root !== null);
  if (!allowed.some((root) => within(path ?? resolve(source.path), root)))
    throw outside(`it is not below ${roots.join(" or ")}.`);
  const found = path === null ? undefined : statSync(path, { throwIfNoEntry: false });
  if (path === null || !found?.isFile()) throw outside("there is no such file.");
  return {
    name: basename(path),
    address: `file://${path}`,
    size: found.size,
    sha256: null,
    path,
    get: () => Promise.reject(new Error("a file of this machine is copied")),
  };
}

/** The files of a source. @throws AppError with the reason for the user */
export async function placesOf(ctx: Ctx, source: Source, signal: AbortSignal): Promise<Place[]> {
  if (source.type === "path") return [pathPlace(ctx, source)];
  requireOnline(ctx, source.type === "huggingface" ? source.repo : source.type === "url" ? source.url : source.key);
  if (source.type === "url") return [urlPlace(ctx, source)];
  if (source.type === "s3") return [s3Place(ctx, source)];
  return findHubFiles(ctx, source, signal);
}

/** Checks what can be checked without a request. @throws AppError with the name of the field */
export function checkSource(ctx: Ctx, source: Source): void {
  if (source.type === "path") pathPlace(ctx, source);
  else requireOnline(ctx, "data of another server");
  if (source.type === "url") urlPlace(ctx, source);
  if (source.type === "s3") s3Place(ctx, source);
  if (source.type === "huggingface" && ctx.config.hub_url === "")
    throw new AppError(
      "unavailable",
      "hub_disabled",
      "This installation does not use a hub (hub_url is none). Upload the file instead.",
    );
}
