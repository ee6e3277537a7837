/** Credits and refunds that administrators give, and credits that the server gives by itself; each with a reason. */
import { and, eq, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { credit, statement, statementLine } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { dollars, MICROS_PER_CENT, microsFrom } from "../meters/money.ts";
import type { GiveCredit, GiveRefund, StatementRow } from "./model.ts";
import { notifyPayers } from "./notices.ts";
import { recordRefund } from "./transitions.ts";

type CreditRow = typeof credit.$inferSelect;

async function requireStatement(tx: Db, id: string): Promise<StatementRow> {
  const [row] = await tx.select().from(statement).where(eq(statement.id, id)).limit(1);
  if (!row) throw notFound("statement", id);
  return row;
}

async function requireRow(tx: Db, id: string): Promise<CreditRow> {
  const [row] = await tx.select().from(credit).where(eq(credit.id, id)).limit(1);
  if (!row) throw notFound("credit", id);
  return row;
}

/**
 * Gives an organization a credit, which its next statements use. Administrators only.
 * @throws AppError `organization_not_found`, `statement_not_found`, `end_in_the_past`
 */
export async function giveCredit(ctx: Ctx, actor: Actor, given: GiveCredit): Promise<CreditRow> {
  requireAdmin(actor);
  const now = ctx.clock.now();
  const expiresAt = given.expires_at === null ? null : given.expires_at * 1000;
  if (expiresAt !== null && expiresAt <= now)
    throw new AppError("invalid", "end_in_the_past", "The credit would have expired already. Choose a later end.", {
      param: "expires_at",
    });
  const { organization: org, reason, note } = given;
  const id = newId("credit");
  const { row, messages } = await ctx.write(async (tx) => {
    const [team] = await tx.select().from(organization).where(eq(organization.id, org)).limit(1);
    if (!team) throw notFound("organization", org).withParam("organization", "invalid");
    if (given.statement && (await requireStatement(tx, given.statement)).org !== org)
      throw notFound("statement", given.statement).withParam("statement", "invalid");
    await tx.insert(credit).values({
      id,
      org,
      kind: "credit",
      reason,
      note,
      micros: microsFrom(given.amount_usd) ?? 0,
      statementId: given.statement,
      state: "done",
      expiresAt,
      createdBy: actor.userId,
      createdAt: now,
    });
    const detail = { organization: org, amount_usd: given.amount_usd, reason, note };
    await audit(tx, ctx, { ...actor, org }, "credit.give", id, detail);
    const messages = [
      await notifyPayers(tx, ctx, org, {
        type: "billing.credit",
        subject: id,
        title: `Your team got a credit of ${dollars(Math.round(given.amount_usd * 100))}`,
        body: note || "The next statements use it.",
      }),
    ];
    return { row: await requireRow(tx, id), messages };
  });
  emitAll(ctx.bus, messages);
  return row;
}

const notRefundable = (message: string, code = "refund_too_large") =>
  new AppError("conflict", code, message, { param: "amount_usd" });

/** What was paid, is not refunded, and no pending refund takes, in cents. */
async function refundable(tx: Db, row: StatementRow): Promise<number> {
  const [pending] = await tx
    .select({ micros: sql<number>`coalesce(sum(${credit.micros}), 0)` })
    .from(credit)
    .where(and(eq(credit.statementId, row.id), eq(credit.kind, "refund"), eq(credit.state, "pending")));
  return row.paidCents - row.refundedCents - Math.round((pending?.micros ?? 0) / MICROS_PER_CENT);
}

/** What a statement has for GPU time, in cents: it was used, and is not refunded without a decision. */
async function usedGpuTime(tx: Db, id: string): Promise<number> {
  const [row] = await tx
    .select({ cents: sql<number>`coalesce(sum(${statementLine.cents}), 0)` })
    .from(statementLine)
    .where(and(eq(statementLine.statementId, id), eq(statementLine.meter, "gpu_seconds")));
  return row?.cents ?? 0;
}

function requireRefundable(row: StatementRow, cents: number, left: number, gpu: number, given: GiveRefund): void {
  if (left <= 0)
    throw notRefundable(
      `Nothing of statement ${row.number} can be refunded: nothing was paid that is not refunded yet. Give a credit instead.`,
      "not_paid",
    );
  if (cents > left)
    throw notRefundable(
      `At most ${dollars(left)} of statement ${row.number} can be refunded: that is what was paid and not refunded yet.`,
    );
  if (given.include_used_gpu_time) {
    if (given.note) return;
    throw new AppError("invalid", "note_required", "Say in the note why used GPU time is refunded.", { param: "note" });
  }
  const without = Math.max(0, left - gpu);
  if (cents > without)
    throw notRefundable(
      `${dollars(gpu)} of statement ${row.number} is GPU time that was used, which is not refundable: at most ${dollars(without)}. To refund more, include used GPU time and say why.`,
      "used_gpu_time",
    );
}

/**
 * Refunds a paid statement, in part or in full. With Stripe the refund waits until Stripe has made it. Administrators
 * only.
 * @throws AppError `statement_not_found`, `not_paid`, `refund_too_large`, `used_gpu_time`, `note_required`
 */
export async function giveRefund(ctx: Ctx, actor: Actor, statementId: string, given: GiveRefund): Promise<CreditRow> {
  requireAdmin(actor);
  const id = newId("credit");
  const { row, messages } = await ctx.write(async (tx) => {
    const of = await requireStatement(tx, statementId);
    const left = await refundable(tx, of);
    const cents = given.amount_usd === undefined ? left : Math.round(given.amount_usd * 100);
    requireRefundable(of, cents, left, await usedGpuTime(tx, statementId), given);
    await tx.insert(credit).values({
      id,
      org: of.org,
      kind: "refund",
      reason: given.reason,
      note: given.note,
      micros: cents * MICROS_PER_CENT,
      statementId,
      state: "pending",
      createdBy: actor.userId,
      createdAt: ctx.clock.now(),
    });
    await audit(tx, ctx, { ...actor, org: of.org }, "credit.refund", id, {
      statement: of.number,
      amount_usd: cents / 100,
      reason: given.reason,
      note: given.note,
      used_gpu_time: given.include_used_gpu_time,
    });
    // Paid outside of the payment provider: the money goes back outside of it too.
    if (of.stripeInvoiceId === null) await recordRefund(tx, ctx, statementId, { cents, refundId: null, creditId: id });
    const messages = [
      await notifyPayers(tx, ctx, of.org, {
        type: "billing.refund",
        subject: id,
        title: `${dollars(cents)} of invoice ${of.number} is refunded`,
        body: given.note,
      }),
    ];
    return { row: await requireRow(tx, id), messages };
  });
  emitAll(ctx.bus, messages);
  return row;
}
