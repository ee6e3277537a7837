/** Recognizes repeated requests: by Idempotency-Key, or as a client's retry of the same body. */
import type { Actor } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { sha256Hex } from "../lib/ids.ts";

/** Hash of sender, path and body of a request. */
function requestHash(actor: Actor, path: string, body: unknown): string {
  return sha256Hex(JSON.stringify([actor.keyId ?? actor.userId, path, body]));
}

/**
 * The marks by which a repeated request is recognized.
 * @throws AppError `invalid_value` for an Idempotency-Key that is empty, too long or has unprintable characters
 */
export function marksOf(actor: Actor, request: Request, path: string, body: unknown) {
  const key = request.headers.get("idempotency-key");
  if (key !== null && !/^[\x20-\x7e]{1,255}$/.test(key))
    throw new AppError("invalid", "invalid_value", "An Idempotency-Key has 1 to 255 printable characters.", {
      param: "Idempotency-Key",
    });
  return {
    requestHash: requestHash(actor, path, body),
    retried: Number(request.headers.get("x-stainless-retry-count") ?? 0) > 0,
    idempotencyKey: key === null ? undefined : `${actor.keyId ?? actor.userId}:${key}`,
  };
}
