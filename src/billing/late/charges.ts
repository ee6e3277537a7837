/**
 * The fee and the daily interest of late invoices: rows and ledger transactions that the next statement contains. Each
 * is charged once, and none is charged on fees and interest.
 */
import { and, eq, inArray, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { lateCharge, statement, statementLine } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { cursorOf, moveCursor } from "../collect/cursors.ts";
import { book } from "../ledger/entries.ts";
import { amountOf, MICROS_PER_CENT, microsFrom } from "../meters/money.ts";
import { dayAt } from "../meters/months.ts";
import type { BillingSettings } from "../settings/model.ts";
import type { Overdue } from "./overdue.ts";
import { noticeOfAnother } from "./steps.ts";

/** Decimals of the percentage that count. */
const PARTS = 1_000_000;
const CURSOR = "late";
const EVERY_MS = 3_600_000;

type Late = BillingSettings["late"];
type Charge = typeof lateCharge.$inferInsert;

/** Stores and books a charge; one that is known changes nothing. */
async function charge(tx: Db, row: Charge): Promise<void> {
  const name = { name: row.source, org: row.org, at: row.at };
  if (!(await book(tx, name, { unbilled: row.micros, fees: -row.micros }))) return;
  await tx.insert(lateCharge).values(row);
}

/**
 * Interest of one day, in micro-dollars: twelve times the monthly percentage over 365 days, rounded half to even.
 * @param cents the unpaid amount
 */
const interestOf = (cents: number, monthlyPercent: number): number =>
  amountOf(cents * MICROS_PER_CENT, Math.round(monthlyPercent * PARTS) * 12, 365 * 100 * PARTS);

/** What is unpaid of an invoice without the fees and the interest on it, in cents. */
async function chargeable(tx: Db, { id, unpaidCents }: Overdue): Promise<number> {
  const [row] = await tx
    .select({ cents: sql<number>`coalesce(sum(${statementLine.cents}), 0)` })
    .from(statementLine)
    .where(and(eq(statementLine.statementId, id), inArray(statementLine.kind, ["late_fee", "interest"])));
  return Math.max(0, unpaidCents - Math.max(0, row?.cents ?? 0));
}

/** The time since the last call: `since` is exclusive, `now` inclusive. */
interface Span {
  since: number;
  now: number;
}

const noticeAtOf = ({ dueAt }: Overdue, { notice_days: days }: Late) => dueAt + days * DAY_MS;
const isIn = (at: number, { since, now }: Span) => at > since && at <= now;

/** Charges what became due for one invoice. */
async function chargeInvoice(tx: Db, invoice: Overdue, late: Late, span: Span): Promise<void> {
  const { id, org, dueAt } = invoice;
  const cents = await chargeable(tx, invoice);
  if (cents === 0) return;
  const noticeAt = noticeAtOf(invoice, late);
  const fee = microsFrom(late.fee_usd) ?? 0;
  if (fee > 0 && isIn(noticeAt, span))
    await charge(tx, { source: `late_fee ${id}`, org, statementId: id, kind: "late_fee", micros: fee, at: noticeAt });
  const micros = interestOf(cents, late.monthly_interest_percent);
  if (micros === 0) return;
  const first = Math.max(1, Math.floor((span.since - dueAt) / DAY_MS) + 1);
  for (let at = dueAt + first * DAY_MS; at <= span.now; at += DAY_MS)
    await charge(tx, {
      source: `interest ${id} ${dayAt(at)}`,
      org,
      statementId: id,
      kind: "interest",
      micros,
      at,
    });
}

/** An invoice that was voided was never owed: what was charged for it is taken back by rows of its own. */
async function takeBack(tx: Db, now: number): Promise<void> {
  const rows = await tx
    .select({ charge: lateCharge })
    .from(lateCharge)
    .innerJoin(statement, eq(statement.id, lateCharge.statementId))
    .where(
      and(
        eq(statement.state, "void"),
        sql`${lateCharge.micros} > 0`,
        sql`not exists (select 1 from late_charge back where back.source = ${lateCharge.source} || ' void')`,
      ),
    );
  for (const { charge: row } of rows)
    await charge(tx, { ...row, source: `${row.source} void`, micros: -row.micros, at: now, billedOn: null });
}

/**
 * Charges fees and days of interest that became due since the last call, once an hour, in one transaction. A change of
 * the settings has no effect on what became due before it. An invoice that is overdue besides an older one of its team
 * has its notice here.
 * @param invoices the oldest first
 */
export async function chargeLate(ctx: Ctx, invoices: readonly Overdue[], late: Late): Promise<void> {
  const now = ctx.clock.now();
  const last = await cursorOf(ctx.db, CURSOR);
  if (last !== null && now - last < EVERY_MS) return;
  const span = { since: last ?? now, now };
  const messages = await ctx.write(async (tx) => {
    const seen = new Set<string>();
    const found: BusMessage[] = [];
    for (const invoice of invoices) {
      if (seen.has(invoice.org) && isIn(noticeAtOf(invoice, late), span))
        found.push(await noticeOfAnother(tx, ctx, invoice));
      seen.add(invoice.org);
      await chargeInvoice(tx, invoice, late, span);
    }
    await takeBack(tx, now);
    await moveCursor(tx, CURSOR, now);
    return found;
  });
  emitAll(ctx.bus, messages);
}
