/** How payments are set up (/v1/admin/stripe), how a team pays (/v1/billing), and the webhook of Stripe. */
import { Elysia } from "elysia";
import * as v from "valibot";
import {
  BillingAccount,
  ChangeBillingAccount,
  changeAccount,
  getAccount,
  openCheckout,
  openPortal,
  StripePage,
} from "../billing/stripe/account.ts";
import { getStripe, StripeConnection, StripeTest, testStripe } from "../billing/stripe/connection.ts";
import { receiveEvent, WebhookAnswer } from "../billing/stripe/events.ts";
import { kickStripe } from "../billing/stripe/run.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { MAX_EVENT_BYTES } from "../http/body.ts";
import { session } from "../http/session.ts";
import { readBytes } from "../lib/body.ts";

const Org = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

/** Answers before anything is carried out: Stripe waits a few seconds only. */
async function take(ctx: Ctx, request: Request) {
  const payload = await readBytes(request, MAX_EVENT_BYTES);
  if (await receiveEvent(ctx, payload, request.headers.get("stripe-signature"))) kickStripe(ctx);
  return { received: true as const };
}

export const stripeApi = (ctx: Ctx) =>
  new Elysia({ name: "stripe.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/admin/stripe", ({ actor }) => getStripe(ctx, actor), {
      detail: {
        tags: ["Administration"],
        summary: "Retrieve how payments with Stripe are set up",
        responses: answers(StripeConnection),
      },
    })
    .post("/admin/stripe/test", ({ actor }) => testStripe(ctx, actor), {
      detail: {
        tags: ["Administration"],
        summary: "Ask Stripe for the account and its webhook endpoint",
        responses: answers(StripeTest),
      },
    })
    .post("/admin/orgs/:id/billing", ({ actor, params, body }) => changeAccount(ctx, actor, params.id, body), {
      params: Org,
      body: ChangeBillingAccount,
      detail: {
        tags: ["Administration"],
        summary: "Set how a team pays, and whether it is exempt from tax",
        responses: answers(BillingAccount),
      },
    })
    .get("/billing/account", ({ actor }) => getAccount(ctx, actor), {
      detail: { tags: ["Billing"], summary: "Retrieve how the team pays", responses: answers(BillingAccount) },
    })
    .post("/billing/checkout", ({ actor }) => openCheckout(ctx, actor), {
      detail: {
        tags: ["Billing"],
        summary: "Open the page of Stripe on which a card is stored",
        responses: answers(StripePage),
      },
    })
    .post("/billing/portal", ({ actor }) => openPortal(ctx, actor), {
      detail: {
        tags: ["Billing"],
        summary: "Open the page of Stripe with card, tax id and invoices",
        responses: answers(StripePage),
      },
    });

export const stripeWebhook = (ctx: Ctx) =>
  new Elysia({ name: "stripe.webhook", prefix: "/v1/stripe", seed: ctx.installation }).post(
    "/webhook",
    ({ request }) => take(ctx, request),
    {
      parse: "none",
      detail: {
        tags: ["Billing"],
        summary: "Receive a signed event of Stripe",
        responses: answers(WebhookAnswer),
      },
    },
  );
