/**
 * Requests that the server sends on behalf of a user, through the same path as the user's own: limits and usage rows
 * apply.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import type { Endpoint } from "./request.ts";
import { complete } from "./service.ts";
import type { Purpose } from "./trace.ts";

interface SendOptions {
  signal: AbortSignal;
  /** Monotonic milliseconds at which the user's request arrived; now when absent. */
  startedAt?: number;
  /** Id of the usage row; a new one when absent. */
  id?: string;
  /** What sends it, when it is not a client. */
  purpose?: Purpose;
}

/** Sends `body` to an endpoint as `actor`. @throws AppError as clients get it, before the first byte of an answer */
export function sendAs(
  ctx: Ctx,
  actor: Actor,
  endpoint: Endpoint,
  body: Record<string, unknown>,
  { signal, startedAt = ctx.clock.monotonic(), id, purpose }: SendOptions,
): Promise<Response> {
  const request = new Request(`http://localhost/v1/${endpoint}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  return complete(ctx, actor, endpoint, request, startedAt, id, undefined, purpose);
}

/** @returns a function that sends requests for graders; they are metered as what they are for */
export const askModel =
  (ctx: Ctx, purpose: Purpose = "grade") =>
  (actor: Actor, endpoint: Endpoint, body: Record<string, unknown>, signal: AbortSignal): Promise<Response> =>
    sendAs(ctx, actor, endpoint, body, { signal, purpose });
