/** OpenAI's /v1/responses: create, retrieve, delete, input items and token counts. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { requestState } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import { newId } from "../lib/ids.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { listOf, pageOf } from "../lib/page.ts";
import type { Asking } from "../serving/responses/asking.ts";
import { compactResponse } from "../serving/responses/compaction.ts";
import {
  CompactResponse,
  CountTokens,
  CreateResponse,
  InputItemsQuery,
  RetrieveQuery,
  TokenCountView,
} from "../serving/responses/request.ts";
import {
  cancelResponse,
  countTokens,
  createResponse,
  deleteResponse,
  listInputItems,
  retrieveResponse,
  streamResponse,
} from "../serving/responses/service.ts";
import { CompactionView, InputItemView, ResponseView } from "../serving/responses/view.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Responses"];

interface Call {
  actor: Actor;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

function routes(ctx: Ctx) {
  /** Waking an engine and generating take longer than Bun keeps a quiet connection open. */
  const asking = ({ request, server }: Call): Asking => {
    server?.timeout(request, 0);
    const state = requestState(request);
    return {
      signal: request.signal,
      startedAt: state?.startedAt ?? ctx.clock.monotonic(),
      requestId: state?.id ?? newId("request"),
    };
  };
  return {
    create: (call: Call & { body: CreateResponse }) => createResponse(ctx, call.actor, call.body, asking(call)),
    compact: (call: Call & { body: CompactResponse }) => compactResponse(ctx, call.actor, call.body, asking(call)),
    count: (call: Call & { body: CountTokens }) => countTokens(ctx, call.actor, call.body, asking(call)),
    retrieve: ({ actor, params, query, request, server }: Call & { params: { id: string }; query: RetrieveQuery }) => {
      if (query.stream !== "true") return retrieveResponse(ctx, actor, params.id);
      server?.timeout(request, 0);
      return streamResponse(ctx, actor, params.id, query.starting_after ?? -1);
    },
    cancel: ({ actor, params }: { actor: Actor; params: { id: string } }) => cancelResponse(ctx, actor, params.id),
    remove: async ({ actor, params }: { actor: Actor; params: { id: string } }) => {
      await deleteResponse(ctx, actor, params.id);
      return { object: "response" as const, id: params.id, deleted: true as const };
    },
    inputItems: async (call: { actor: Actor; params: { id: string }; query: v.InferOutput<typeof InputItemsQuery> }) =>
      pageOf(await listInputItems(ctx, call.actor, call.params.id, call.query), call.query.limit),
  };
}

export const responsesApi = (ctx: Ctx) => {
  const route = routes(ctx);
  return new Elysia({ name: "responses.api", prefix: "/v1/responses", seed: ctx.installation })
    .use(session(ctx))
    .post("", route.create, {
      body: nullsAbsent(CreateResponse),
      detail: {
        tags,
        summary: "Create a response, streaming or not",
        description:
          "As in OpenAI's API, with text, function tools and structured output. Stored unless `store` is false, for `previous_response_id`. With `background` the answer comes at once, and the response is retrieved later.",
        responses: answers(ResponseView, "The response; with `stream`, OpenAI's events."),
      },
    })
    .post("/input_tokens", route.count, {
      body: nullsAbsent(CountTokens),
      detail: {
        tags,
        summary: "Count the input tokens of a request",
        description: "The engine counts them: it generates one token for that, which the usage row contains.",
        responses: answers(TokenCountView),
      },
    })
    .post("/compact", route.compact, {
      body: nullsAbsent(CompactResponse),
      detail: {
        tags,
        summary: "Compact a conversation",
        description:
          "The model summarizes the conversation. The result is the user's messages and one `compaction` item with the sealed summary: the input of the next response, in front of its new messages. Only this server can read the item, for the same organization.",
        responses: answers(CompactionView),
      },
    })
    .get("/:id", route.retrieve, {
      params: Id,
      query: RetrieveQuery,
      detail: {
        tags,
        summary: "Retrieve a stored response, or its events",
        description: "With `stream=true` its events after `starting_after`, those to come included.",
        responses: answers(ResponseView),
      },
    })
    .delete("/:id", route.remove, {
      params: Id,
      detail: { tags, summary: "Delete a stored response", responses: answers(deletedOf("response")) },
    })
    .post("/:id/cancel", route.cancel, {
      params: Id,
      detail: {
        tags,
        summary: "Cancel a response in the background",
        responses: answers(ResponseView),
      },
    })
    .get("/:id/input_items", route.inputItems, {
      params: Id,
      query: InputItemsQuery,
      detail: { tags, summary: "List the input items of a response", responses: answers(listOf(InputItemView)) },
    });
};
