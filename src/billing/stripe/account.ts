/** How a team pays: its card as a person recognizes it, and the pages of Stripe on which it is changed. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { billingAccount } from "../../db/schema/billing.ts";
import { AppError, notFound } from "../../errors.ts";
import { requirePermission } from "../../roles.ts";
import { billingSettings } from "../settings/service.ts";
import { askStripe, stripeMode } from "./client.ts";
import { accountOf, customerOf } from "./customers.ts";

const Collection = v.picklist(["charge", "send"], "must be charge or send");

/** `card` is what a person recognizes it by; the number is never stored here. */
export const BillingAccount = v.strictObject({
  object: v.literal("billing_account"),
  organization: v.string(),
  /** `test`: no money moves. Null: this installation takes no payments. */
  mode: v.nullable(v.picklist(["test", "live"])),
  card: v.nullable(v.strictObject({ brand: v.string(), last4: v.string(), expires: v.nullable(v.string()) })),
  /** `charge`: invoices are charged to the card; `send`: they are sent, to be paid by the due date. */
  collection: Collection,
  tax_exempt: v.boolean(),
});
export type BillingAccount = v.InferOutput<typeof BillingAccount>;

/** What an administrator sets for a team; only what is given changes. */
export const ChangeBillingAccount = v.strictObject({
  collection: v.optional(Collection),
  tax_exempt: v.optional(v.boolean()),
});

/** A page of Stripe to open in the browser. */
export const StripePage = v.strictObject({
  object: v.literal("stripe_page"),
  url: v.string(),
  mode: v.picklist(["test", "live"]),
});
export type StripePage = v.InferOutput<typeof StripePage>;

async function viewOf(ctx: Ctx, org: string): Promise<BillingAccount> {
  const row = await accountOf(ctx, org);
  const { cardBrand: brand = null, cardLast4: last4 = null, cardExpires: expires = null } = row ?? {};
  return {
    object: "billing_account",
    organization: org,
    mode: stripeMode(ctx),
    card: brand && last4 ? { brand, last4, expires } : null,
    collection: row?.collection ?? (await billingSettings(ctx)).collection,
    tax_exempt: row?.taxExempt ?? false,
  };
}

/** How the actor's team pays. */
export function getAccount(ctx: Ctx, actor: Actor): Promise<BillingAccount> {
  requirePermission(actor, "billing.manage");
  return viewOf(ctx, actor.org);
}

/** The address of this site at which Stripe sends people back. */
function backTo(ctx: Ctx, path: string): string {
  const { public_url: url } = ctx.config;
  if (!url)
    throw new AppError("conflict", "no_public_url", "Stripe cannot send you back: an administrator sets public_url.");
  return new URL(path, url).href;
}

const pageOf = (ctx: Ctx, url: string | null): StripePage => {
  if (!url) throw new AppError("unavailable", "stripe_no_page", "Stripe opened no page. Try again in a moment.");
  return { object: "stripe_page", url, mode: stripeMode(ctx) ?? "test" };
};

/**
 * Opens Checkout, where a card is stored for later invoices; nothing is charged there.
 * @throws AppError `no_public_url`, and as `askStripe`
 */
export async function openCheckout(ctx: Ctx, actor: Actor): Promise<StripePage> {
  requirePermission(actor, "billing.manage");
  const success = backTo(ctx, "/billing/payment?card=stored");
  const customer = await customerOf(ctx, actor.org);
  const session = await askStripe(ctx, (client) =>
    client.checkout.sessions.create({
      mode: "setup",
      currency: "usd",
      customer,
      client_reference_id: actor.org,
      success_url: success,
      cancel_url: backTo(ctx, "/billing/payment"),
      metadata: { org: actor.org, installation: ctx.installation },
    }),
  );
  return pageOf(ctx, session.url);
}

/** Opens the Billing Portal: card, tax id, billing address, invoices. @throws AppError as `openCheckout` */
export async function openPortal(ctx: Ctx, actor: Actor): Promise<StripePage> {
  requirePermission(actor, "billing.manage");
  const back = backTo(ctx, "/billing/payment");
  const customer = await customerOf(ctx, actor.org);
  const session = await askStripe(ctx, (client) =>
    client.billingPortal.sessions.create({ customer, return_url: back }),
  );
  return pageOf(ctx, session.url);
}

/**
 * Sets how a team pays, and whether it pays tax. Administrators only.
 * @throws AppError `organization_not_found`, and as `askStripe`
 */
export async function changeAccount(
  ctx: Ctx,
  actor: Actor,
  org: string,
  given: v.InferOutput<typeof ChangeBillingAccount>,
): Promise<BillingAccount> {
  requireAdmin(actor);
  const [team] = await ctx.db.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
  if (!team) throw notFound("organization", org);
  const row = await accountOf(ctx, org);
  const customer = row?.stripeCustomerId;
  // Stripe decides about tax: it must know before this says so.
  if (given.tax_exempt !== undefined && customer)
    await askStripe(ctx, (client) =>
      client.customers.update(customer, { tax_exempt: given.tax_exempt ? "exempt" : "none" }),
    );
  const before = await viewOf(ctx, org);
  const after = {
    collection: given.collection ?? before.collection,
    taxExempt: given.tax_exempt ?? before.tax_exempt,
    updatedAt: ctx.clock.now(),
  };
  await ctx.write(async (tx) => {
    await tx
      .insert(billingAccount)
      .values({ org, ...after })
      .onConflictDoUpdate({ target: billingAccount.org, set: after });
    await audit(tx, ctx, actor, "payment_method.change", org, given);
  });
  return viewOf(ctx, org);
}
