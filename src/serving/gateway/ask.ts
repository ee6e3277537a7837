/**
 * Chat completions asked from inside the server on somebody's behalf: the very path their own requests take, limits and
 * usage rows included.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { complete } from "./service.ts";

/**
 * @returns a function that sends `body` (a chat completion request, not streamed) as `actor` @throws AppError as
 * clients get it
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
