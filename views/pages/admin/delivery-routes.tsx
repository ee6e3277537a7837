/** Page routes of deliveries: the list by state, and sending one again. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { listDeliveries, resendDelivery } from "../../../src/notices/delivery/outbox.ts";
import { deliveryView } from "../../../src/notices/webhooks/model.ts";
import { DeliveriesPage, type DeliveriesProps, DeliveryList } from "./deliveries.tsx";

const PAGE = 50;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({ after: text(100), status: text(20) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, query: v.InferOutput<typeof Query>) {
  const status = (["waiting", "sent"] as const).find((one) => one === query.status) ?? "dead";
  const rows = await listDeliveries(ctx, actor, { state: status, limit: PAGE, after: query.after || undefined });
  const props: DeliveriesProps = { status, deliveries: listed(rows.map(deliveryView), PAGE) };
  return html(pageOf(ctx, request, actor), <DeliveriesPage {...props} />, {
    fragments: { "all-deliveries": () => <DeliveryList {...props} /> },
  });
}

async function resend(ctx: Ctx, { request, actor }: Visit, id: string) {
  await resendDelivery(ctx, actor, id);
  return redirect(request, "/admin/deliveries", "It is being sent again.");
}

export const deliveryPages = (ctx: Ctx) =>
  new Elysia({ name: "deliveries.pages", prefix: "/admin/deliveries", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit, visit.query), { query: Query })
    .post("/:id/resend", (visit) => resend(ctx, visit, visit.params.id), { params: Id });
