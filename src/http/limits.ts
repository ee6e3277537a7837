/** Limits on what a request may carry and how often a key may ask: bodies that are read whole stay small, uploads go to the routes that stream them. */
import type { Config } from "../config.ts";
import { AppError } from "../errors.ts";
import { lruOf } from "../lib/lru.ts";

const MIB = 1024 ** 2;
/** Largest body that is read whole, unless the table says otherwise. */
const DEFAULT_BODY = MIB;
/** Larger bodies that are still read whole, by the start of the path. */
const BODIES: [prefix: string, bytes: number][] = [
  ["/v1/chat/completions", 16 * MIB],
  ["/v1/completions", 16 * MIB],
  ["/trainer/v1/", 9 * MIB],
];
/** Routes that stream their body: files of any size allowed by the configuration. */
const STREAMED = /^\/(v1\/)?(files|uploads|datasets)(\/|$)/;
const TRAINER = /^\/trainer\/v1\//;

type BodyKind = "whole" | "streamed";

/** How the body of a request is taken, by its content type. @throws AppError `unsupported_content_type` */
function kindOf(path: string, type: string): BodyKind {
  if (TRAINER.test(path)) return "streamed";
  if (type === "application/json") return "whole";
  const page = !path.startsWith("/v1/");
  const upload = STREAMED.test(path);
  // Those routes say themselves which kinds of file they take.
  if (upload && type && !(page && type === "application/x-www-form-urlencoded")) return "streamed";
  if (page && (type === "application/x-www-form-urlencoded" || type === "multipart/form-data")) return "whole";
  const wanted = upload ? "multipart/form-data or application/json" : page ? "a form" : "application/json";
  throw new AppError(
    "unsupported_media",
    "unsupported_content_type",
    type
      ? `This address does not take ${/^[\w.+-]+\/[\w.+-]+$/.test(type) ? type : "that content type"}. Send ${wanted}.`
      : `The request has a body but no content-type. Send ${wanted} and say so in the header.`,
  );
}

function tooLarge(limit: number): AppError {
  const size = limit >= MIB ? `${Math.floor(limit / MIB)} MiB` : `${limit} bytes`;
  return new AppError(
    "too_large",
    "body_too_large",
    `The request body is larger than ${size}, the limit at this address.`,
  );
}

async function readBounded(body: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/**
 * Checks type and size of a body before it is read. A body of unknown length that will be read whole is read here, up
 * to the limit.
 * @returns the request to go on with
 * @throws AppError `body_too_large`, `unsupported_content_type`
 */
export async function checkBody(config: Config, request: Request, path: string): Promise<Request> {
  const { headers } = request;
  const length = headers.get("content-length");
  if (length === "0" || (length === null && request.body === null)) return request;
  const type = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
  const kind = kindOf(path, type);
  const limit =
    kind === "streamed" && !TRAINER.test(path)
      ? config.max_upload_bytes + MIB
      : (BODIES.find(([prefix]) => path.startsWith(prefix))?.[1] ?? DEFAULT_BODY);
  if (length !== null && Number(length) > limit) throw tooLarge(limit);
  if (kind === "streamed" || length !== null || request.body === null) return request;
  const bytes = await readBounded(request.body, limit);
  return new Request(request.url, { method: request.method, headers, body: bytes, signal: request.signal });
}

interface Bucket {
  tokens: number;
  at: number;
}

/**
 * A token bucket a key: `perMinute` requests at once, refilled evenly. Answers the headers OpenAI's clients read.
 * @returns null when there is no limit
 */
export function rateLimiter(
  perMinute: number,
): ((key: string, now: number) => { allowed: boolean; retryAfterS: number; headers: Record<string, string> }) | null {
  if (perMinute === 0) return null;
  const buckets = lruOf<Bucket>(20_000);
  const perMs = perMinute / 60_000;
  return (key, now) => {
    const bucket = buckets.get(key) ?? { tokens: perMinute, at: now };
    bucket.tokens = Math.min(perMinute, bucket.tokens + Math.max(0, now - bucket.at) * perMs);
    bucket.at = now;
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens -= 1;
    buckets.set(key, bucket);
    return {
      allowed,
      retryAfterS: Math.ceil((1 - bucket.tokens) / perMs / 1000),
      headers: {
        "x-ratelimit-limit-requests": String(perMinute),
        "x-ratelimit-remaining-requests": String(Math.floor(bucket.tokens)),
        "x-ratelimit-reset-requests": `${Math.ceil((perMinute - bucket.tokens) / perMs / 1000)}s`,
      },
    };
  };
}
