/** Asks Stripe for refunds that were decided here, each with a credit note on its invoice. */
import { and, asc, eq, notInArray } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { credit, statement } from "../../db/schema/billing.ts";
import { AppError } from "../../errors.ts";
import { MICROS_PER_CENT } from "../meters/money.ts";
import { markRefundFailed, recordRefund } from "../statements/transitions.ts";
import { askStripe, idOf } from "./client.ts";

export type RefundRow = typeof credit.$inferSelect;

/** The oldest refund of an invoice that Stripe was not asked for. */
export async function nextRefund(ctx: Ctx, running: string[]): Promise<RefundRow | null> {
  const waits = and(eq(credit.kind, "refund"), eq(credit.state, "pending"), eq(statement.mode, "stripe"));
  const [row] = await ctx.db
    .select({ credit })
    .from(credit)
    .innerJoin(statement, eq(statement.id, credit.statementId))
    .where(and(waits, notInArray(credit.id, running)))
    .orderBy(asc(credit.createdAt))
    .limit(1);
  return row?.credit ?? null;
}

/** The refund at Stripe: one that an interrupted try left, otherwise a new one. */
async function refundOf(ctx: Ctx, row: RefundRow, invoice: string, cents: number): Promise<string> {
  return askStripe(ctx, async (client) => {
    const payments = await client.invoicePayments.list({ invoice, status: "paid", limit: 10 });
    const intent = idOf(payments.data[0]?.payment.payment_intent);
    if (!intent)
      throw new AppError(
        "conflict",
        "no_payment",
        "Stripe has no card payment of this invoice. Give the money back yourself.",
      );
    const refunds = await client.refunds.list({ payment_intent: intent, limit: 100 });
    const known = refunds.data.find(({ metadata }) => metadata?.credit === row.id);
    if (known) return known.id;
    const made = await client.refunds.create(
      { payment_intent: intent, amount: cents, metadata: { credit: row.id, installation: ctx.installation } },
      { idempotencyKey: `${ctx.installation}-${row.id}-refund` },
    );
    return made.id;
  });
}

async function creditNoteOf(ctx: Ctx, row: RefundRow, invoice: string, refund: string, cents: number): Promise<string> {
  return askStripe(ctx, async (client) => {
    const notes = await client.creditNotes.list({ invoice, limit: 100 });
    const known = notes.data.find(({ metadata }) => metadata?.credit === row.id);
    if (known) return known.id;
    const made = await client.creditNotes.create(
      {
        invoice,
        amount: cents,
        refunds: [{ refund, amount_refunded: cents }],
        reason: row.reason === "goodwill" ? "order_change" : "product_unsatisfactory",
        memo: row.note || undefined,
        metadata: { credit: row.id },
      },
      { idempotencyKey: `${ctx.installation}-${row.id}-credit-note` },
    );
    return made.id;
  });
}

/** Refunds at Stripe and books it. What Stripe refuses stays visible; what it cannot do now is tried again. */
export async function sendRefund(ctx: Ctx, row: RefundRow): Promise<void> {
  const cents = Math.round(row.micros / MICROS_PER_CENT);
  try {
    const [of] = await ctx.db
      .select()
      .from(statement)
      .where(eq(statement.id, row.statementId ?? ""));
    if (!of?.stripeInvoiceId) throw new AppError("conflict", "no_invoice", "The statement has no invoice at Stripe.");
    const refundId = await refundOf(ctx, row, of.stripeInvoiceId, cents);
    ctx.failPoint("stripe.refunded");
    const creditNoteId = await creditNoteOf(ctx, row, of.stripeInvoiceId, refundId, cents);
    await ctx.write((tx) => recordRefund(tx, ctx, of.id, { cents, refundId, creditNoteId, creditId: row.id }));
  } catch (cause) {
    // The queue waits before it tries again.
    if (!(cause instanceof AppError) || cause.kind !== "conflict") throw cause;
    await ctx.write((tx) => markRefundFailed(tx, ctx, row.id, cause.message));
  }
}
