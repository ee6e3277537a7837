/** The customer of a team at Stripe, one each, and what is kept of its payment method: never card data. */
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { billingAccount } from "../../db/schema/billing.ts";
import { billingSettings } from "../settings/service.ts";
import { askStripe, findAtStripe } from "./client.ts";

type AccountRow = typeof billingAccount.$inferSelect;

/** How a team pays; null until it has a customer. */
export async function accountOf(ctx: Ctx, org: string): Promise<AccountRow | null> {
  const [row] = await ctx.db.select().from(billingAccount).where(eq(billingAccount.org, org)).limit(1);
  return row ?? null;
}

/** The team of a customer; null for customers of other installations. */
async function accountOfCustomer(ctx: Ctx, customer: string): Promise<AccountRow | null> {
  const [row] = await ctx.db
    .select()
    .from(billingAccount)
    .where(eq(billingAccount.stripeCustomerId, customer))
    .limit(1);
  return row ?? null;
}

/** A customer that was created before a crash, long enough ago that Stripe forgot the idempotency key. */
async function findCustomer(ctx: Ctx, org: string): Promise<string | null> {
  const query = `metadata['org']:'${org}' AND metadata['installation']:'${ctx.installation}'`;
  const found = await askStripe(ctx, (client) => client.customers.search({ query, limit: 1 }));
  return found.data[0]?.id ?? null;
}

/**
 * The customer of a team, created at its first use.
 * @returns its id at Stripe
 * @throws AppError as `askStripe`
 */
export async function customerOf(ctx: Ctx, org: string): Promise<string> {
  const known = await accountOf(ctx, org);
  if (known?.stripeCustomerId) return known.stripeCustomerId;
  const [team] = await ctx.db.select({ name: organization.name }).from(organization).where(eq(organization.id, org));
  const metadata = { org, installation: ctx.installation };
  const id: string =
    (await findCustomer(ctx, org)) ??
    (await askStripe(ctx, (client) =>
      client.customers.create(
        { name: team?.name ?? org, metadata, ...(known?.taxExempt ? { tax_exempt: "exempt" } : {}) },
        { idempotencyKey: `${ctx.installation}-customer-${org}` },
      ),
    ).then((made) => made.id));
  const { collection } = await billingSettings(ctx);
  const updatedAt = ctx.clock.now();
  await ctx.write((tx) =>
    tx
      .insert(billingAccount)
      .values({ org, stripeCustomerId: id, collection, updatedAt })
      .onConflictDoUpdate({ target: billingAccount.org, set: { stripeCustomerId: id, updatedAt } }),
  );
  return id;
}

/**
 * Reads a customer again and keeps what a person recognizes the card by.
 * @returns false for a customer of somebody else
 */
export async function syncCustomer(ctx: Ctx, customer: string): Promise<boolean> {
  const row = await accountOfCustomer(ctx, customer);
  if (!row) return false;
  const found = await findAtStripe(ctx, (client) =>
    client.customers.retrieve(customer, { expand: ["invoice_settings.default_payment_method"] }),
  );
  const method = found && !found.deleted ? found.invoice_settings.default_payment_method : null;
  const card = method && typeof method !== "string" ? method.card : undefined;
  const after = {
    cardBrand: card?.brand ?? null,
    cardLast4: card?.last4 ?? null,
    cardExpires: card ? `${card.exp_year}-${String(card.exp_month).padStart(2, "0")}` : null,
  };
  if (Object.entries(after).every(([name, value]) => row[name as keyof typeof after] === value)) return true;
  await ctx.write(async (tx) => {
    const set = { ...after, updatedAt: ctx.clock.now() };
    await tx.update(billingAccount).set(set).where(eq(billingAccount.org, row.org));
    const detail = { brand: after.cardBrand, last4: after.cardLast4, expires: after.cardExpires };
    await audit(tx, ctx, systemActor(row.org), "payment_method.change", row.org, detail);
  });
  return true;
}
