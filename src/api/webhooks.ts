/** /v1/webhook_endpoints as in OpenAI's API, and the deliveries of each endpoint. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { resendWebhook } from "../notices/delivery/outbox.ts";
import { EVENT_TYPES } from "../notices/events/types.ts";
import {
  ChangeEndpoint,
  CreateEndpoint,
  DeliveryView,
  deliveryView,
  EndpointView,
  EndpointWithSecret,
  EventTypeList,
  endpointView,
  RotateSecret,
  TestEndpoint,
  TestResult,
} from "../notices/webhooks/model.ts";
import {
  changeEndpoint,
  createEndpoint,
  deleteEndpoint,
  getEndpoint,
  listDeliveriesOf,
  listEndpoints,
  rotateSecret,
  testEndpoint,
} from "../notices/webhooks/service.ts";

const text = v.pipe(v.string(), v.maxLength(100));
const Id = v.strictObject({ id: text });
const DeliveryId = v.strictObject({ id: text, delivery: text });
const tags = ["Webhooks"];
const Deleted = v.strictObject({
  object: v.literal("webhook_endpoint.deleted"),
  id: v.string(),
  deleted: v.literal(true),
});

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

async function createRoute(ctx: Ctx, actor: Actor, body: CreateEndpoint) {
  const { row, secret } = await createEndpoint(ctx, actor, body);
  return { ...endpointView(row), signing_secret: secret };
}

async function rotateRoute(ctx: Ctx, { actor, params }: Call, body: v.InferOutput<typeof RotateSecret> | null) {
  const keepOld = body?.keep_old_secret_active_for_24_hours ?? false;
  const { row, secret } = await rotateSecret(ctx, actor, params.id, keepOld);
  return { ...endpointView(row), signing_secret: secret };
}

async function testRoute(ctx: Ctx, { actor, params }: Call, type: string) {
  return {
    object: "webhook_endpoint.test" as const,
    webhook_endpoint_id: params.id,
    event_type: type,
    status_code: await testEndpoint(ctx, actor, params.id, type),
    success: true as const,
  };
}

async function deleteRoute(ctx: Ctx, { actor, params }: Call) {
  await deleteEndpoint(ctx, actor, params.id);
  return { object: "webhook_endpoint.deleted" as const, id: params.id, deleted: true as const };
}

export const webhooksApi = (ctx: Ctx) =>
  new Elysia({ name: "webhooks.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/webhook_event_types", () => ({ object: "list" as const, data: [...EVENT_TYPES] }), {
      detail: { tags, summary: "List the event types of webhooks", responses: answers(EventTypeList) },
    })
    .post("/webhook_endpoints", ({ actor, body }) => createRoute(ctx, actor, body), {
      body: CreateEndpoint,
      detail: {
        tags,
        summary: "Create a webhook endpoint; the answer contains the signing secret",
        description:
          "Events are sent as OpenAI sends them, signed as Standard Webhooks defines: `client.webhooks.unwrap()` of OpenAI's clients reads them. A failed delivery is repeated for about three days.",
        responses: answers(EndpointWithSecret),
      },
    })
    .get(
      "/webhook_endpoints",
      async ({ actor, query }) => pageOf((await listEndpoints(ctx, actor, query)).map(endpointView), query.limit),
      {
        query: PageQuery,
        detail: { tags, summary: "List webhook endpoints, newest first", responses: answers(listOf(EndpointView)) },
      },
    )
    .get(
      "/webhook_endpoints/:id",
      async ({ actor, params }) => endpointView(await getEndpoint(ctx, actor, params.id)),
      {
        params: Id,
        detail: { tags, summary: "Retrieve a webhook endpoint", responses: answers(EndpointView) },
      },
    )
    .post(
      "/webhook_endpoints/:id",
      async ({ actor, params, body }) => endpointView(await changeEndpoint(ctx, actor, params.id, body)),
      {
        params: Id,
        body: ChangeEndpoint,
        detail: { tags, summary: "Change a webhook endpoint", responses: answers(EndpointView) },
      },
    )
    .delete("/webhook_endpoints/:id", (call) => deleteRoute(ctx, call), {
      params: Id,
      detail: {
        tags,
        summary: "Delete a webhook endpoint and what waits for it",
        responses: answers(Deleted),
      },
    })
    .post("/webhook_endpoints/:id/rotate_secret", (call) => rotateRoute(ctx, call, call.body ?? null), {
      params: Id,
      body: v.optional(v.nullable(RotateSecret)),
      detail: {
        tags,
        summary: "Replace the signing secret of a webhook endpoint",
        responses: answers(EndpointWithSecret),
      },
    })
    .post("/webhook_endpoints/:id/test", (call) => testRoute(ctx, call, call.body.event_type), {
      params: Id,
      body: TestEndpoint,
      detail: { tags, summary: "Send a sample event now", responses: answers(TestResult) },
    })
    .get(
      "/webhook_endpoints/:id/deliveries",
      async ({ actor, params, query }) =>
        pageOf((await listDeliveriesOf(ctx, actor, params.id, query)).map(deliveryView), query.limit),
      {
        params: Id,
        query: PageQuery,
        detail: {
          tags,
          summary: "List the deliveries to a webhook endpoint, newest first",
          responses: answers(listOf(DeliveryView)),
        },
      },
    )
    .post(
      "/webhook_endpoints/:id/deliveries/:delivery/resend",
      async ({ actor, params }) => deliveryView(await resendWebhook(ctx, actor, params.id, params.delivery)),
      {
        params: DeliveryId,
        detail: {
          tags,
          summary: "Send a delivery again, with the same webhook-id",
          responses: answers(DeliveryView),
        },
      },
    );
