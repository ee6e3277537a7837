/** /v1/admin/deliveries: what could not be sent in the whole installation, and sending it again. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { listDeliveries, resendDelivery } from "../notices/delivery/outbox.ts";
import { DeliveryView, deliveryView } from "../notices/webhooks/model.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.strictObject({
  ...PageQuery.entries,
  status: v.optional(v.picklist(["waiting", "sent", "dead"]), "dead"),
});
const tags = ["Administration"];

export const deliveriesApi = (ctx: Ctx) =>
  new Elysia({ name: "deliveries.api", prefix: "/v1/admin", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/deliveries",
      async ({ actor, query: { status, ...page } }) =>
        pageOf((await listDeliveries(ctx, actor, { ...page, state: status })).map(deliveryView), page.limit),
      {
        query: Query,
        detail: {
          tags,
          summary: "List webhooks and mails by status, newest first; without a status those that failed for good",
          responses: answers(listOf(DeliveryView)),
        },
      },
    )
    .post(
      "/deliveries/:id/resend",
      async ({ actor, params }) => deliveryView(await resendDelivery(ctx, actor, params.id)),
      {
        params: Id,
        detail: { tags, summary: "Send a webhook or mail again", responses: answers(DeliveryView) },
      },
    );
