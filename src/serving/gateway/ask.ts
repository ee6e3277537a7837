/**
 * Chat completions that the server sends on behalf of a user, through the same path as the user's own requests: limits
 * and usage rows apply.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { complete } from "./service.ts";

/**
 * @returns a function that sends `body` (a chat completion request, not streamed) as `actor`; it throws the AppError
 * that clients get
 */
export const askModel =
  (ctx: Ctx) =>
  (actor: Actor, body: Record<string, unknown>, signal: AbortSignal): Promise<Response> => {
    const request = new Request("http://localhost/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    return complete(ctx, actor, "chat/completions", request, ctx.clock.monotonic());
  };
