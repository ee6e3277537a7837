/** /v1/admin/stripe: how payments are set up, and a test of it. */
import { Elysia } from "elysia";
import { getStripe, StripeConnection, StripeTest, testStripe } from "../billing/stripe/connection.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const tags = ["Administration"];

export const stripeApi = (ctx: Ctx) =>
  new Elysia({ name: "stripe.api", prefix: "/v1/admin/stripe", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor }) => getStripe(ctx, actor), {
      detail: { tags, summary: "Retrieve how payments with Stripe are set up", responses: answers(StripeConnection) },
    })
    .post("/test", ({ actor }) => testStripe(ctx, actor), {
      detail: {
        tags,
        summary: "Ask Stripe for the account and its webhook endpoint",
        responses: answers(StripeTest),
      },
    });
