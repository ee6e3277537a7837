/**
 * Closes a month of one organization: everything that is not on a statement yet becomes lines, credits are used, and
 * the ledger is booked, in one transaction. A statement that does not equal the ledger is kept back with an alarm.
 */
import { and, desc, eq, like, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { credit, lateCharge, ledgerEntry, meterInterval, statement, statementLine } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { book } from "../ledger/entries.ts";
import { centsOf, dollars, MICROS_PER_CENT } from "../meters/money.ts";
import type { BillingSettings } from "../settings/model.ts";
import { applyCredits } from "./credit-use.ts";
import { centsByLine, type Line, linesOf, type Scope, unbilledCharges, unbilledOf } from "./lines.ts";
import { notifyAdministrators, notifyPayers } from "./notices.ts";

const RETRY_MS = 3_600_000;

type Row = typeof statement.$inferSelect;
type Mode = Row["mode"];

/** The next number of a year: `2026-000042`. Statements are never deleted, so there are no gaps. */
async function nextNumber(tx: Db, now: number): Promise<string> {
  const year = new Date(now).getUTCFullYear();
  const [last] = await tx
    .select({ number: statement.number })
    .from(statement)
    .where(like(statement.number, `${year}-%`))
    .orderBy(desc(statement.number))
    .limit(1);
  return `${year}-${String(Number(last?.number.slice(5) ?? 0) + 1).padStart(6, "0")}`;
}

async function anything(tx: Db, scope: Scope): Promise<boolean> {
  const [use] = await tx.select({ n: meterInterval.n }).from(meterInterval).where(unbilledOf(scope)).limit(1);
  if (use) return true;
  const [charge] = await tx.select().from(lateCharge).where(unbilledCharges(scope)).limit(1);
  return charge !== undefined;
}

/** What the ledger says of the same uses and charges, in micro-dollars. */
async function booked(tx: Db, scope: Scope): Promise<number> {
  const ofUses = sql`select 'use ' || ${meterInterval.source} from ${meterInterval} where ${unbilledOf(scope)}`;
  const ofCharges = sql`select ${lateCharge.source} from ${lateCharge} where ${unbilledCharges(scope)}`;
  const [row] = await tx
    .select({ micros: sql<number>`coalesce(sum(${ledgerEntry.micros}), 0)` })
    .from(ledgerEntry)
    .where(
      and(
        eq(ledgerEntry.account, "unbilled"),
        sql`(${ledgerEntry.transaction} in (${ofUses}) or ${ledgerEntry.transaction} in (${ofCharges}))`,
      ),
    );
  return row?.micros ?? 0;
}

/** Keeps a statement back. @returns the alarm, the first time only */
async function keepBack(tx: Db, ctx: Ctx, row: Row, known: boolean, error: string): Promise<BusMessage[]> {
  const failed: Row = { ...row, state: "failed", error, notBefore: ctx.clock.now() + RETRY_MS };
  const tries = sql`${statement.tries} + 1`;
  await tx
    .insert(statement)
    .values({ ...failed, tries: 1 })
    .onConflictDoUpdate({ target: statement.id, set: { error, notBefore: failed.notBefore, tries } });
  ctx.log("error", "a statement does not equal the ledger and is kept back", { id: row.id, org: row.org, error });
  if (known) return [];
  return [
    await notifyAdministrators(tx, ctx, {
      type: "billing.close_failed",
      subject: row.id,
      title: `Statement ${row.number} for ${row.month} could not be closed`,
      body: `${error} Nothing was sent. Run finetune-lab billing verify. The server tries again every hour.`,
    }),
  ];
}

/** More was taken back than used: what is owed to the team is a credit for the next month. */
async function creditRest(tx: Db, row: Row, cents: number): Promise<void> {
  if (cents <= 0) return;
  await tx.insert(credit).values({
    id: newId("credit"),
    org: row.org,
    kind: "credit",
    reason: "failed_work",
    note: `Work of months before ${row.month} was taken back`,
    micros: cents * MICROS_PER_CENT,
    source: `statement ${row.id}`,
    state: "done",
    createdBy: "system",
    createdAt: row.closedAt,
  });
}

async function store(tx: Db, ctx: Ctx, scope: Scope, row: Row, lines: Line[]): Promise<BusMessage[]> {
  const { id, org } = row;
  const cents = centsByLine(lines.map(({ micros }) => micros));
  const micros = lines.reduce((sum, line) => sum + line.micros, 0);
  const used = row.subtotalCents > 0 ? await applyCredits(tx, row, row.subtotalCents, row.closedAt) : 0;
  const owed = Math.max(0, -row.subtotalCents);
  const totalCents = Math.max(0, row.subtotalCents) - used;
  const settled = row.mode === "stripe" && totalCents === 0;
  const state = row.mode === "chargeback" ? "final" : settled ? "paid" : "closing";
  const done: Row = {
    ...row,
    state,
    creditCents: used,
    totalCents,
    error: null,
    paidAt: settled ? row.closedAt : null,
  };
  await tx.insert(statement).values(done).onConflictDoUpdate({ target: statement.id, set: done });
  for (const [position, line] of lines.entries())
    await tx
      .insert(statementLine)
      .values({ id: newId("statementLine"), statementId: id, position, ...line, cents: cents[position] ?? 0 });
  await creditRest(tx, row, owed);
  await tx.update(meterInterval).set({ statementId: id }).where(unbilledOf(scope));
  await tx.update(lateCharge).set({ billedOn: id }).where(unbilledCharges(scope));
  await book(
    tx,
    { name: `statement ${id}`, org, at: row.closedAt },
    {
      unbilled: -micros,
      receivable: totalCents * MICROS_PER_CENT,
      credits: (used - owed) * MICROS_PER_CENT,
      rounding: micros - row.subtotalCents * MICROS_PER_CENT,
    },
  );
  ctx.failPoint("statement.booked");
  await audit(tx, ctx, systemActor(org), "statement.close", id, {
    number: row.number,
    month: row.month,
    mode: row.mode,
    total_usd: totalCents / 100,
  });
  if (row.mode === "stripe") return [];
  return [
    await notifyPayers(tx, ctx, org, {
      type: "billing.statement",
      subject: id,
      title: `The statement for ${row.month} is ready: ${dollars(totalCents)}`,
      body: `Statement ${row.number} is charged back inside your company. Nothing is to be paid here.`,
    }),
  ];
}

/**
 * Closes a month of an organization. A month that is closed stays as it is; one that was kept back is tried again.
 * @returns messages to emit after the commit; null when there is nothing to close
 */
export async function closeMonth(
  tx: Db,
  ctx: Ctx,
  scope: Scope,
  settings: Pick<BillingSettings, "payment_terms_days"> & { mode: Mode },
): Promise<BusMessage[] | null> {
  const { org, month } = scope;
  const now = ctx.clock.now();
  const [known] = await tx
    .select()
    .from(statement)
    .where(and(eq(statement.org, org), eq(statement.month, month)))
    .limit(1);
  if (known && known.state !== "failed") return null;
  if (!(await anything(tx, scope))) return null;
  const lines = await linesOf(tx, scope);
  const micros = lines.reduce((sum, line) => sum + line.micros, 0);
  const row: Row = {
    id: known?.id ?? newId("statement"),
    number: known?.number ?? (await nextNumber(tx, now)),
    org,
    month,
    mode: settings.mode,
    state: "closing",
    currency: "usd",
    subtotalCents: centsOf(micros),
    creditCents: 0,
    taxCents: 0,
    totalCents: centsOf(micros),
    paidCents: 0,
    refundedCents: 0,
    closedAt: now,
    dueAt: settings.mode === "stripe" ? now + settings.payment_terms_days * DAY_MS : null,
    paidAt: null,
    stripeInvoiceId: null,
    stripeUrl: null,
    error: null,
    tries: 0,
    notBefore: 0,
  };
  const inLedger = await booked(tx, scope);
  if (inLedger !== micros) {
    const said = `The uses of ${month} cost ${micros} micro-dollars and the ledger has ${inLedger}.`;
    return keepBack(tx, ctx, row, known !== undefined, said);
  }
  return store(tx, ctx, scope, row, lines);
}
