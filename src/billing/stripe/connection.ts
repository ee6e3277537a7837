/** Whether payments are set up: the key and its mode, and what Stripe says about account and webhook endpoint. */
import type Stripe from "stripe";
import * as v from "valibot";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { askStripe, STRIPE_API_VERSION, stripeMode } from "./client.ts";
import { meterEventState } from "./meter-events.ts";

/** Events that are handled; a webhook endpoint sends all of them. */
export const HANDLED_EVENTS = [
  "charge.dispute.closed",
  "charge.dispute.created",
  "charge.refunded",
  "checkout.session.completed",
  "credit_note.created",
  "credit_note.updated",
  "credit_note.voided",
  "customer.updated",
  "invoice.finalized",
  "invoice.marked_uncollectible",
  "invoice.paid",
  "invoice.payment_action_required",
  "invoice.payment_failed",
  "invoice.voided",
  "payment_method.attached",
  "payment_method.automatically_updated",
  "payment_method.detached",
  "payment_method.updated",
] as const;

const PATH = "/v1/stripe/webhook";
const Mode = v.nullable(v.picklist(["test", "live"]));

/** The keys without their values. `mode` is that of the key: `test` moves no money. */
export const StripeConnection = v.strictObject({
  object: v.literal("stripe_connection"),
  mode: Mode,
  webhook_secret_set: v.boolean(),
  /** Where Stripe sends events; null until public_url is set. */
  webhook_url: v.nullable(v.string()),
  webhook_events: v.array(v.string()),
  api_version: v.string(),
  /** Uses for the meters of Stripe: those that wait to be sent, and those that never will be, with the last error. */
  meter_events: v.strictObject({
    enabled: v.boolean(),
    waiting: v.number(),
    failed: v.number(),
    oldest_at: v.nullable(v.number()),
    error: v.nullable(v.string()),
  }),
});
export type StripeConnection = v.InferOutput<typeof StripeConnection>;

/** What Stripe answers. */
export const StripeTest = v.strictObject({
  object: v.literal("stripe_test"),
  account: v.string(),
  name: v.nullable(v.string()),
  mode: Mode,
  /** Whether the account may charge cards. */
  charges_enabled: v.boolean(),
  /** `ok`; or what is wrong with the webhook endpoint. */
  webhook: v.picklist(["ok", "no_public_url", "missing", "disabled", "other_version", "missing_events", "no_secret"]),
  missing_events: v.array(v.string()),
});
export type StripeTest = v.InferOutput<typeof StripeTest>;

const webhookUrl = ({ config: { public_url: url } }: Ctx) => (url ? new URL(PATH, url).href : null);

/** The keys as administrators see them. */
export async function getStripe(ctx: Ctx, actor: Actor): Promise<StripeConnection> {
  requireAdmin(actor);
  return {
    object: "stripe_connection",
    mode: stripeMode(ctx),
    webhook_secret_set: ctx.config.stripe_webhook_secret !== null,
    webhook_url: webhookUrl(ctx),
    webhook_events: [...HANDLED_EVENTS],
    api_version: STRIPE_API_VERSION,
    meter_events: await meterEventState(ctx),
  };
}

function problemOf(
  ctx: Ctx,
  endpoints: Stripe.WebhookEndpoint[],
): { webhook: StripeTest["webhook"]; missing_events: string[] } {
  const of = (webhook: StripeTest["webhook"], missing: string[] = []) => ({ webhook, missing_events: missing });
  const url = webhookUrl(ctx);
  if (!url) return of("no_public_url");
  const found = endpoints.find((each) => each.url === url);
  if (!found) return of("missing");
  if (found.status !== "enabled") return of("disabled");
  if (found.api_version !== STRIPE_API_VERSION) return of("other_version");
  const enabled = new Set<string>(found.enabled_events);
  const missing = HANDLED_EVENTS.filter((type) => !enabled.has(type) && !enabled.has("*"));
  if (missing.length > 0) return of("missing_events", missing);
  return of(ctx.config.stripe_webhook_secret ? "ok" : "no_secret");
}

/**
 * Asks Stripe for the account and its webhook endpoints; changes nothing. Administrators only.
 * @throws AppError as `askStripe`
 */
export async function testStripe(ctx: Ctx, actor: Actor): Promise<StripeTest> {
  requireAdmin(actor);
  const [account, endpoints] = await askStripe(ctx, (client) =>
    Promise.all([client.accounts.retrieveCurrent(), client.webhookEndpoints.list({ limit: 100 })]),
  );
  return {
    object: "stripe_test",
    account: account.id,
    name: account.business_profile?.name ?? account.settings?.dashboard.display_name ?? null,
    mode: stripeMode(ctx),
    charges_enabled: account.charges_enabled,
    ...problemOf(ctx, endpoints.data),
  };
}
