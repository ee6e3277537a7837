/**
 * Requests that the server sends on behalf of a user, through the same path as the user's own: limits and usage rows
 * apply.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import type { Endpoint } from "./request.ts";
import { complete } from "./service.ts";

/**
 * @returns a function that sends `body` to an endpoint as `actor`; it throws the AppError that clients get
 */
export const askModel =
  (ctx: Ctx) =>
  (actor: Actor, endpoint: Endpoint, body: Record<string, unknown>, signal: AbortSignal): Promise<Response> => {
    const request = new Request(`http://localhost/v1/${endpoint}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    return complete(ctx, actor, endpoint, request, ctx.clock.monotonic());
  };
