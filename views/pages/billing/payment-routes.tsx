/** Page routes of a team's payment method: show it, and open the pages of Stripe. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { getAccount, openCheckout, openPortal, type StripePage } from "../../../src/billing/stripe/account.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { LeavePage, PaymentPage } from "./payment.tsx";

/** `card=stored`: Stripe sent the person back. */
const Query = v.object({ card: v.optional(v.string()) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, stored: boolean) {
  const account = await getAccount(ctx, actor);
  return html(pageOf(ctx, request, actor), <PaymentPage account={account} stored={stored} />);
}

function leave(ctx: Ctx, { request, actor }: Visit, page: StripePage) {
  const headers: Record<string, string> = request.headers.has("hx-request")
    ? { "hx-redirect": page.url }
    : { refresh: `0; url=${page.url}` };
  return html(pageOf(ctx, request, actor), <LeavePage page={page} />, { headers });
}

export const paymentPages = (ctx: Ctx) =>
  new Elysia({ name: "payment.pages", prefix: "/billing/payment", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit, visit.query.card === "stored"), { query: Query })
    .post("/card", async (visit) => leave(ctx, visit, await openCheckout(ctx, visit.actor)))
    .post("/portal", async (visit) => leave(ctx, visit, await openPortal(ctx, visit.actor)));
