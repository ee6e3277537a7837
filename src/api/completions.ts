/** OpenAI's completions endpoints. The body is read by the gateway itself: it is passed on, not modeled. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { requestState } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import type { Endpoint } from "../serving/gateway/request.ts";
import { complete } from "../serving/gateway/service.ts";

export const gatewayApi = (ctx: Ctx) => {
  const handle =
    (endpoint: Endpoint) =>
    async ({
      actor,
      request,
      server,
    }: {
      actor: Parameters<typeof complete>[1];
      request: Request;
      server: { timeout(request: Request, seconds: number): void } | null;
    }) => {
      // Waking an engine and thinking take longer than a quiet connection is kept otherwise.
      server?.timeout(request, 0);
      const state = requestState(request);
      return complete(ctx, actor, endpoint, request, state?.startedAt ?? ctx.clock.monotonic(), state?.id);
    };
  return new Elysia({ name: "gateway.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .post("/chat/completions", handle("chat/completions"), {
      parse: "none",
      detail: { tags: ["Chat"], summary: "Chat with a model, streaming or not" },
    })
    .post("/completions", handle("completions"), {
      parse: "none",
      detail: { tags: ["Chat"], summary: "Complete a text, streaming or not" },
    });
};
