/** OpenAI's completion and embedding endpoints. The gateway reads the body itself and forwards it unchanged. */
import { Elysia } from "elysia";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, answersType, takes } from "../http/answers.ts";
import { requestState } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import type { Endpoint } from "../serving/gateway/request.ts";
import { complete } from "../serving/gateway/service.ts";
import { ChatShape, CompletionShape, EmbeddingShape, EmbeddingsView } from "../serving/gateway/shapes.ts";
import { completionTap } from "../serving/stored/completions.ts";

interface CompletionCall {
  actor: Actor;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

const tags = ["Chat"];
const responses = answersType("text/event-stream", "OpenAI's chunks when `stream` is true; otherwise one JSON object.");

export const gatewayApi = (ctx: Ctx) => {
  const completionRoute =
    (endpoint: Endpoint) =>
    ({ actor, request, server }: CompletionCall): Promise<Response> => {
      // Waking an engine and generating take longer than Bun keeps a quiet connection open.
      server?.timeout(request, 0);
      const state = requestState(request);
      const startedAt = state?.startedAt ?? ctx.clock.monotonic();
      return complete(ctx, actor, endpoint, request, startedAt, state?.id, completionTap(ctx, actor));
    };

  return new Elysia({ name: "gateway.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .post("/chat/completions", completionRoute("chat/completions"), {
      parse: "none",
      detail: { tags, summary: "Chat with a model, streaming or not", requestBody: takes(ChatShape), responses },
    })
    .post("/completions", completionRoute("completions"), {
      parse: "none",
      detail: { tags, summary: "Complete a text, streaming or not", requestBody: takes(CompletionShape), responses },
    })
    .post("/embeddings", completionRoute("embeddings"), {
      parse: "none",
      detail: {
        tags: ["Embeddings"],
        summary: "Embed texts with any served model",
        requestBody: takes(EmbeddingShape),
        responses: answers(EmbeddingsView),
      },
    });
};
