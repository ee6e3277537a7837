/** Page routes of the payments of the installation: show the keys' state, store them, ask Stripe. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { getStripe, testStripe } from "../../../src/billing/stripe/connection.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listSecretSettings, saveSecretSetting } from "../../../src/insights/installation/secret-settings.ts";
import { PaymentsPage, type PaymentsProps } from "./payments.tsx";

const NAMES = ["stripe_secret_key", "stripe_webhook_secret"] as const;
const key = v.optional(v.pipe(v.string(), v.trim(), v.maxLength(300)), "");
const Form = v.object({ stripe_secret_key: key, stripe_webhook_secret: key });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<PaymentsProps> = {}, status = 200) {
  const secrets = listSecretSettings(ctx, actor);
  const page = <PaymentsPage stripe={await getStripe(ctx, actor)} secrets={secrets} {...more} />;
  return html(pageOf(ctx, request, actor), page, { status });
}

/** Shows the page again with what went wrong. */
function refused(ctx: Ctx, visit: Visit, error: unknown) {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  return show(ctx, visit, { error: error.message }, ERROR_TABLE[error.kind].status);
}

async function save(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    for (const name of NAMES) if (body[name]) await saveSecretSetting(ctx, visit.actor, { name, value: body[name] });
    return redirect(visit.request, "/admin/payments", "The keys are saved. Test the connection.");
  } catch (error) {
    return refused(ctx, visit, error);
  }
}

async function test(ctx: Ctx, visit: Visit) {
  try {
    return show(ctx, visit, { tested: await testStripe(ctx, visit.actor) });
  } catch (error) {
    return refused(ctx, visit, error);
  }
}

export const adminPaymentPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.payment.pages", prefix: "/admin/payments", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("", (visit) => save(ctx, visit, visit.body), { body: Form })
    .post("/test", (visit) => test(ctx, visit));
