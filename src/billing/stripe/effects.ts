/**
 * What an event of Stripe changes here. The object is read again, so that late, repeated and reordered events have the
 * effect of its present state. Each function answers false for an object that is not of this installation.
 */
import { and, eq, inArray } from "drizzle-orm";
import type Stripe from "stripe";
import type { Ctx } from "../../ctx.ts";
import { billingAccount, statement } from "../../db/schema/billing.ts";
import { emitAll } from "../../lib/bus.ts";
import { dollars } from "../meters/money.ts";
import { notifyAdministrators } from "../statements/notices.ts";
import {
  markFailed,
  markGivenUp,
  markPaid,
  markRefundFailed,
  markSettled,
  recordRefund,
} from "../statements/transitions.ts";
import { askStripe, findAtStripe, idOf } from "./client.ts";
import { syncCustomer } from "./customers.ts";

async function statementOf(ctx: Ctx, invoice: string): Promise<typeof statement.$inferSelect | null> {
  const [row] = await ctx.db.select().from(statement).where(eq(statement.stripeInvoiceId, invoice)).limit(1);
  return row ?? null;
}

function whyUnpaid(invoice: Stripe.Invoice, type: string): string {
  if (type === "invoice.payment_action_required") return "The bank asks the cardholder to confirm the payment.";
  return invoice.default_payment_method || invoice.attempt_count > 0
    ? "The payment method was declined."
    : "There is no payment method.";
}

/** Brings a statement to the state of its invoice. */
export async function syncInvoice(ctx: Ctx, id: string, type = ""): Promise<boolean> {
  const row = await statementOf(ctx, id);
  const invoice = row ? await findAtStripe(ctx, (client) => client.invoices.retrieve(id)) : null;
  if (!row || !invoice) return false;
  // The invoice is being sent; the sender reads it once more at its end.
  if (row.state === "closing") return true;
  const messages = await ctx.write(async (tx) => {
    if (invoice.status === "paid") {
      await markPaid(tx, ctx, row.id, { payment: id, cents: invoice.amount_paid });
      await markSettled(tx, ctx, row.id);
    } else if (invoice.status === "void") await markGivenUp(tx, ctx, row.id, "void");
    else if (invoice.status === "uncollectible") await markGivenUp(tx, ctx, row.id, "uncollectible");
    else if (invoice.status === "open" && invoice.attempted && invoice.collection_method === "charge_automatically")
      return markFailed(tx, ctx, row.id, whyUnpaid(invoice, type));
    return [];
  });
  emitAll(ctx.bus, messages);
  return true;
}

/** Tries unpaid invoices of a team with its new card. */
async function payOpen(ctx: Ctx, org: string, method: string): Promise<void> {
  const unpaid = await ctx.db
    .select({ id: statement.stripeInvoiceId })
    .from(statement)
    .where(and(eq(statement.org, org), inArray(statement.state, ["open", "past_due"])));
  for (const { id } of unpaid) {
    if (!id) continue;
    const options = { idempotencyKey: `${ctx.installation}-${id}-pay-${method}` };
    await askStripe(ctx, (client) => client.invoices.pay(id, {}, options)).catch((cause) =>
      ctx.log("warn", "an unpaid invoice could not be charged to the new card", { invoice: id, cause }),
    );
    await syncInvoice(ctx, id);
  }
}

/** A card was entered: it becomes the one that invoices are charged to. */
async function finishCheckout(ctx: Ctx, id: string): Promise<boolean> {
  const session = await findAtStripe(ctx, (client) =>
    client.checkout.sessions.retrieve(id, { expand: ["setup_intent"] }),
  );
  const customer = idOf(session?.customer);
  if (!session || !customer || session.metadata?.installation !== ctx.installation) return false;
  const setup = session.setup_intent;
  const method = setup && typeof setup !== "string" ? idOf(setup.payment_method) : null;
  if (session.mode !== "setup" || session.status !== "complete" || !method) return true;
  await askStripe(ctx, (client) =>
    client.customers.update(customer, { invoice_settings: { default_payment_method: method } }),
  );
  if (!(await syncCustomer(ctx, customer))) return false;
  const [row] = await ctx.db.select().from(billingAccount).where(eq(billingAccount.stripeCustomerId, customer));
  if (row) await payOpen(ctx, row.org, method);
  return true;
}

/** The statement that a payment intent paid; null for payments of somebody else. */
async function statementOfPayment(ctx: Ctx, intent: string): Promise<typeof statement.$inferSelect | null> {
  const payments = await askStripe(ctx, (client) =>
    client.invoicePayments.list({ payment: { type: "payment_intent", payment_intent: intent }, limit: 10 }),
  );
  const invoice = idOf(payments.data[0]?.invoice);
  return invoice ? statementOf(ctx, invoice) : null;
}

/** Books refunds that are done, wherever they were asked for. */
async function syncRefunds(ctx: Ctx, charge: string): Promise<boolean> {
  const found = await findAtStripe(ctx, (client) => client.charges.retrieve(charge));
  const intent = idOf(found?.payment_intent);
  const row = intent ? await statementOfPayment(ctx, intent) : null;
  if (!intent || !row) return false;
  const refunds = await askStripe(ctx, (client) => client.refunds.list({ payment_intent: intent, limit: 100 }));
  await ctx.write(async (tx) => {
    for (const { id, amount, status, metadata } of refunds.data) {
      const creditId = metadata?.credit;
      if (status === "failed" && creditId) await markRefundFailed(tx, ctx, creditId, "Stripe could not refund it.");
      if (status !== "succeeded") continue;
      await recordRefund(tx, ctx, row.id, { cents: amount, refundId: id, ...(creditId ? { creditId } : {}) });
    }
  });
  return true;
}

/** A cardholder disputes a payment: administrators hear of it, and the team's card is not charged any more. */
async function syncDispute(ctx: Ctx, id: string): Promise<boolean> {
  const dispute = await findAtStripe(ctx, (client) => client.disputes.retrieve(id));
  const intent = idOf(dispute?.payment_intent);
  const row = intent ? await statementOfPayment(ctx, intent) : null;
  if (!dispute || !row) return false;
  const isOpen = dispute.status !== "won" && dispute.status !== "lost" && dispute.status !== "warning_closed";
  const messages = await ctx.write(async (tx) => {
    if (isOpen)
      await tx
        .update(billingAccount)
        .set({ collection: "send", updatedAt: ctx.clock.now() })
        .where(eq(billingAccount.org, row.org));
    return [
      await notifyAdministrators(tx, ctx, {
        type: "billing.dispute",
        subject: row.id,
        title: isOpen ? `The payment of invoice ${row.number} is disputed` : `The dispute of ${row.number} ended`,
        body: isOpen
          ? `The cardholder disputes ${dollars(dispute.amount)}. The team's invoices are sent, not charged, from now on. Answer the dispute at Stripe.`
          : `Stripe reports: ${dispute.status}. The team's invoices are still sent, not charged.`,
      }),
    ];
  });
  emitAll(ctx.bus, messages);
  return true;
}

/** Carries out an event. @returns false when it is about nothing of this installation */
export function applyEvent(ctx: Ctx, type: string, id: string): Promise<boolean> {
  if (type === "checkout.session.completed") return finishCheckout(ctx, id);
  if (type.startsWith("invoice.")) return syncInvoice(ctx, id, type);
  if (type.startsWith("charge.dispute.")) return syncDispute(ctx, id);
  if (type === "charge.refunded") return syncRefunds(ctx, id);
  return syncCustomer(ctx, id);
}
