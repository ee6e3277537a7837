/** OpenAI's stored chat completions: list, retrieve, update, delete, and the messages of one. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { listOf, pageLimit, pageOf } from "../lib/page.ts";
import { id, unknownKey } from "../lib/request-fields.ts";
import {
  CompletionView,
  completionView,
  MessagesQuery,
  MessageView,
  messagesOf,
  UpdateCompletion,
} from "../serving/stored/completions.ts";
import { deleteAnswer, getAnswer, listCompletions, setMetadata } from "../serving/stored/store.ts";
import { metadataFilter } from "./fine-tuning-model.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Chat"];
const Deleted = v.strictObject({
  object: v.literal("chat.completion.deleted"),
  id: v.string(),
  deleted: v.literal(true),
});

/** `metadata[KEY]` filters by a pair; see `metadataFilter`. */
const ListQuery = v.pipe(
  v.looseObject({
    model: v.optional(v.pipe(v.string(), v.maxLength(400))),
    after: v.optional(id),
    limit: pageLimit(),
    order: v.optional(v.picklist(["asc", "desc"]), "asc"),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { value } = dataset;
    const known = ["model", "after", "limit", "order"];
    const key = Object.keys(value).find((name) => !known.includes(name) && !/^metadata(\[.{1,64}\])?$/s.test(name));
    if (key !== undefined) addIssue(unknownKey(value, key));
  }),
);

interface Call {
  actor: Actor;
  params: { id: string };
}

const routes = (ctx: Ctx) => ({
  list: async (call: { actor: Actor; query: v.InferOutput<typeof ListQuery>; request: Request }) => {
    const { actor, query, request } = call;
    const { model, after, limit, order } = query;
    const metadata = metadataFilter(request.url);
    const page = pageOf(await listCompletions(ctx, actor, { model, metadata, after, limit, order }), limit);
    return { ...page, data: page.data.map(completionView) };
  },
  retrieve: async ({ actor, params }: Call) => completionView(await getAnswer(ctx, actor, "completion", params.id)),
  update: async ({ actor, params, body }: Call & { body: v.InferOutput<typeof UpdateCompletion> }) =>
    completionView(await setMetadata(ctx, actor, params.id, body.metadata ?? {})),
  remove: async ({ actor, params }: Call) => {
    await deleteAnswer(ctx, actor, "completion", params.id);
    return { object: "chat.completion.deleted" as const, id: params.id, deleted: true as const };
  },
  messages: async ({ actor, params, query }: Call & { query: v.InferOutput<typeof MessagesQuery> }) => {
    const all = messagesOf(await getAnswer(ctx, actor, "completion", params.id));
    const ordered = query.order === "asc" ? all : all.toReversed();
    const start = query.after ? ordered.findIndex((message) => message.id === query.after) + 1 : 0;
    return pageOf(ordered.slice(start, start + query.limit + 1), query.limit);
  },
});

export const storedCompletionsApi = (ctx: Ctx) => {
  const route = routes(ctx);
  return new Elysia({ name: "stored-completions.api", prefix: "/v1/chat/completions", seed: ctx.installation })
    .use(session(ctx))
    .get("", route.list, {
      query: ListQuery,
      detail: { tags, summary: "List stored chat completions", responses: answers(listOf(CompletionView)) },
    })
    .get("/:id", route.retrieve, {
      params: Id,
      detail: { tags, summary: "Retrieve a stored chat completion", responses: answers(CompletionView) },
    })
    .post("/:id", route.update, {
      params: Id,
      body: nullsAbsent(UpdateCompletion),
      detail: { tags, summary: "Replace the metadata of a stored completion", responses: answers(CompletionView) },
    })
    .delete("/:id", route.remove, {
      params: Id,
      detail: { tags, summary: "Delete a stored chat completion", responses: answers(Deleted) },
    })
    .get("/:id/messages", route.messages, {
      params: Id,
      query: MessagesQuery,
      detail: { tags, summary: "List the messages of a stored completion", responses: answers(listOf(MessageView)) },
    });
};
