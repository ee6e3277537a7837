/**
 * What happens to a statement after it was closed. Each function moves its state and books the ledger in the caller's
 * transaction, and can be called again without an effect. Amounts in cents.
 */
import { eq, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { credit, statement } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { book } from "../ledger/entries.ts";
import { dollars, MICROS_PER_CENT } from "../meters/money.ts";
import { notifyPayers } from "./notices.ts";

type StatementRow = typeof statement.$inferSelect;

/** @throws AppError `statement_not_found` */
async function requireStatement(db: Db, id: string): Promise<StatementRow> {
  const [row] = await db.select().from(statement).where(eq(statement.id, id)).limit(1);
  if (!row) throw notFound("statement", id);
  return row;
}

const change = (tx: Db, id: string, set: Partial<StatementRow>) =>
  tx.update(statement).set(set).where(eq(statement.id, id));

/** What is still to be paid. */
const unpaidCents = (row: StatementRow): number => Math.max(0, row.totalCents - row.paidCents);

/** The invoice is finalized at the payment provider: closing → open. Tax that the provider added becomes payable. */
export async function markSent(
  tx: Db,
  ctx: Ctx,
  id: string,
  sent: { invoiceId: string; url: string | null; taxCents: number; dueAt: number },
): Promise<BusMessage[]> {
  const row = await requireStatement(tx, id);
  if (row.state !== "closing") return [];
  const totalCents = row.totalCents + sent.taxCents;
  await change(tx, id, {
    state: "open",
    taxCents: sent.taxCents,
    totalCents,
    stripeInvoiceId: sent.invoiceId,
    stripeUrl: sent.url,
    dueAt: sent.dueAt,
    error: null,
  });
  const micros = sent.taxCents * MICROS_PER_CENT;
  await book(tx, { name: `tax ${id}`, org: row.org, at: ctx.clock.now() }, { receivable: micros, tax: -micros });
  return [
    await notifyPayers(tx, ctx, row.org, {
      type: "billing.statement",
      subject: id,
      title: `Invoice ${row.number} for ${row.month}: ${dollars(totalCents)}`,
      body: "It is on the page of billing, with all lines.",
    }),
  ];
}

/** It could not be sent: it stays `closing` and is tried again at `notBefore`. */
export async function markUnsent(tx: Db, id: string, error: string, notBefore: number): Promise<void> {
  await change(tx, id, { error, notBefore });
  await tx
    .update(statement)
    .set({ tries: sql`${statement.tries} + 1` })
    .where(eq(statement.id, id));
}

/**
 * A payment arrived. The statement is paid when nothing is left to pay.
 * @param payment id of the payment at the provider; each counts once
 */
export async function markPaid(
  tx: Db,
  ctx: Ctx,
  id: string,
  { payment, cents }: { payment: string; cents: number },
): Promise<void> {
  const row = await requireStatement(tx, id);
  const now = ctx.clock.now();
  const micros = cents * MICROS_PER_CENT;
  const isNew = await book(
    tx,
    { name: `payment ${payment}`, org: row.org, at: now },
    { cash: micros, receivable: -micros },
  );
  if (!isNew) return;
  const paidCents = row.paidCents + cents;
  const settled = paidCents >= row.totalCents;
  await change(tx, id, { paidCents, ...(settled ? { state: "paid", paidAt: now, error: null } : {}) });
  await audit(tx, ctx, systemActor(row.org), "statement.pay", id, { number: row.number, paid_usd: cents / 100 });
}

/**
 * The provider expects no more money although less was paid: the rest was credited there. It is booked as a credit, and
 * the statement is paid.
 */
export async function markSettled(tx: Db, ctx: Ctx, id: string): Promise<void> {
  const row = await requireStatement(tx, id);
  if (row.state !== "open" && row.state !== "past_due") return;
  const now = ctx.clock.now();
  const micros = unpaidCents(row) * MICROS_PER_CENT;
  await book(tx, { name: `settled ${id}`, org: row.org, at: now }, { credits: micros, receivable: -micros });
  await change(tx, id, { state: "paid", paidAt: now, error: null });
  await audit(tx, ctx, systemActor(row.org), "statement.credit", id, {
    number: row.number,
    credited_usd: unpaidCents(row) / 100,
  });
}

/** A payment failed: open → past_due, and the people who manage how the team pays hear why. */
export async function markFailed(tx: Db, ctx: Ctx, id: string, error: string): Promise<BusMessage[]> {
  const row = await requireStatement(tx, id);
  if (row.state !== "open" && row.state !== "past_due") return [];
  await change(tx, id, { state: "past_due", error });
  if (row.state === "past_due" && row.error === error) return [];
  return [
    await notifyPayers(tx, ctx, row.org, {
      type: "billing.payment_failed",
      subject: id,
      title: `The payment of invoice ${row.number} failed`,
      body: `${error} ${dollars(unpaidCents(row))} is unpaid. Change the payment method or pay the invoice.`,
    }),
  ];
}

/** Nothing more is expected: what is unpaid is written off. */
export async function markGivenUp(tx: Db, ctx: Ctx, id: string, state: "void" | "uncollectible"): Promise<void> {
  const row = await requireStatement(tx, id);
  if (!["closing", "open", "past_due"].includes(row.state)) return;
  const micros = unpaidCents(row) * MICROS_PER_CENT;
  await change(tx, id, { state });
  await book(
    tx,
    { name: `${state} ${id}`, org: row.org, at: ctx.clock.now() },
    { written_off: micros, receivable: -micros },
  );
  await audit(tx, ctx, systemActor(row.org), `statement.${state}`, id, { number: row.number });
}

/** A refund, however it began: asked for here (`creditId`), or made at the provider. */
interface Refund {
  cents: number;
  /** Id of the refund at the provider; null when the money was given back outside of it. */
  refundId: string | null;
  creditNoteId?: string | null;
  creditId?: string;
  reason?: "outage" | "billing_error" | "goodwill";
}

/**
 * Money of a paid statement went back. A refund that the provider made by itself gets a row of its own.
 * @throws AppError `refund_too_large` above what was paid and is not refunded
 */
export async function recordRefund(tx: Db, ctx: Ctx, statementId: string, refund: Refund): Promise<void> {
  const row = await requireStatement(tx, statementId);
  const now = ctx.clock.now();
  const [known] = await tx
    .select()
    .from(credit)
    .where(refund.creditId ? eq(credit.id, refund.creditId) : eq(credit.stripeRefundId, refund.refundId ?? ""))
    .limit(1);
  if (known?.state === "done") return;
  const left = row.paidCents - row.refundedCents;
  if (refund.cents > left)
    throw new AppError(
      "conflict",
      "refund_too_large",
      `At most ${dollars(left)} of statement ${row.number} can be refunded: that is what was paid and not refunded yet.`,
      { param: "amount_usd" },
    );
  const micros = refund.cents * MICROS_PER_CENT;
  const done = {
    state: "done" as const,
    micros,
    error: null,
    stripeRefundId: refund.refundId,
    stripeCreditNoteId: refund.creditNoteId ?? known?.stripeCreditNoteId ?? null,
  };
  const id = known?.id ?? newId("credit");
  if (known) await tx.update(credit).set(done).where(eq(credit.id, id));
  else
    await tx.insert(credit).values({
      id,
      org: row.org,
      kind: "refund",
      reason: refund.reason ?? "billing_error",
      note: "Made at the payment provider",
      statementId,
      createdBy: "system",
      createdAt: now,
      ...done,
    });
  await change(tx, statementId, { refundedCents: row.refundedCents + refund.cents });
  await book(tx, { name: `refund ${id}`, org: row.org, at: now }, { refunds: micros, cash: -micros });
  await audit(tx, ctx, systemActor(row.org), "statement.refund", statementId, {
    number: row.number,
    refunded_usd: refund.cents / 100,
  });
}

/** A refund failed at the provider, at once or later: it stays visible with the reason, and its booking is reversed. */
export async function markRefundFailed(tx: Db, ctx: Ctx, creditId: string, error: string): Promise<void> {
  const [row] = await tx.select().from(credit).where(eq(credit.id, creditId)).limit(1);
  if (!row || row.state === "failed" || row.kind !== "refund" || !row.statementId) return;
  await tx.update(credit).set({ state: "failed", error }).where(eq(credit.id, creditId));
  if (row.state !== "done") return;
  const back = Math.round(row.micros / MICROS_PER_CENT);
  await tx
    .update(statement)
    .set({ refundedCents: sql`${statement.refundedCents} - ${back}` })
    .where(eq(statement.id, row.statementId));
  await book(
    tx,
    { name: `refund ${creditId} failed`, org: row.org, at: ctx.clock.now() },
    { cash: row.micros, refunds: -row.micros },
  );
}
