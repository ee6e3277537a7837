/**
 * Sends a closed statement as an invoice of Stripe. Every step looks for what an interrupted one left: a crash at any
 * place makes neither a second invoice nor a second line.
 */
import { eq } from "drizzle-orm";
import type Stripe from "stripe";
import type { Ctx } from "../../ctx.ts";
import { statement, statementLine } from "../../db/schema/billing.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { dollars } from "../meters/money.ts";
import { billingSettings } from "../settings/service.ts";
import { notifyAdministrators } from "../statements/notices.ts";
import { markSent, markUnsent } from "../statements/transitions.ts";
import { askStripe, findAtStripe, idOf } from "./client.ts";
import { accountOf, customerOf } from "./customers.ts";
import { syncInvoice } from "./effects.ts";

const FIRST_RETRY_MS = 30_000;
const LAST_RETRY_MS = 3_600_000;

export type StatementRow = typeof statement.$inferSelect;

/** An amount of an invoice; `line` is its place, which its idempotency key names. */
interface Item {
  line: string;
  description: string;
  cents: number;
}

async function itemsFor(ctx: Ctx, row: StatementRow): Promise<Item[]> {
  const lines = await ctx.db
    .select()
    .from(statementLine)
    .where(eq(statementLine.statementId, row.id))
    .orderBy(statementLine.position);
  const items = lines.map(({ position, description, cents }) => ({ line: String(position), description, cents }));
  const credit = { line: "credit", description: "Credit", cents: -row.creditCents };
  return [...items, credit].filter(({ cents }) => cents !== 0);
}

const isOf = (row: StatementRow) => (invoice: Stripe.Invoice) =>
  invoice.metadata?.statement === row.id && invoice.status !== "void";

/** The invoice that an earlier try created; null without one, or when it was deleted. */
async function findInvoice(ctx: Ctx, row: StatementRow, customer: string): Promise<Stripe.Invoice | null> {
  const { stripeInvoiceId: id } = row;
  const stored = id ? await findAtStripe(ctx, (client) => client.invoices.retrieve(id)) : null;
  if (stored && isOf(row)(stored)) return stored;
  const created = { gte: Math.floor((row.closedAt - DAY_MS) / 1000) };
  return askStripe(ctx, async (client) => {
    for await (const invoice of client.invoices.list({ customer, created, limit: 100 }))
      if (isOf(row)(invoice)) return invoice;
    return null;
  });
}

async function createInvoice(ctx: Ctx, row: StatementRow, customer: string): Promise<Stripe.Invoice> {
  const settings = await billingSettings(ctx);
  const collection = (await accountOf(ctx, row.org))?.collection ?? settings.collection;
  // A draft that was deleted has its id in the row: the next one needs another key.
  const key = [ctx.installation, row.id, "invoice", row.stripeInvoiceId].filter(Boolean).join("-");
  return askStripe(ctx, (client) =>
    client.invoices.create(
      {
        customer,
        currency: row.currency,
        description: `Statement ${row.number}, ${row.month}`,
        footer: settings.late.legal_text || undefined,
        auto_advance: false,
        pending_invoice_items_behavior: "exclude",
        automatic_tax: { enabled: settings.automatic_tax },
        metadata: { statement: row.id, number: row.number, org: row.org, installation: ctx.installation },
        ...(collection === "charge"
          ? { collection_method: "charge_automatically" }
          : { collection_method: "send_invoice", days_until_due: settings.payment_terms_days }),
      },
      { idempotencyKey: key },
    ),
  );
}

async function addItems(ctx: Ctx, row: StatementRow, invoice: Stripe.Invoice, items: Item[]): Promise<void> {
  const customer = idOf(invoice.customer) ?? "";
  await askStripe(ctx, async (client) => {
    const known = new Set<string>();
    for await (const item of client.invoiceItems.list({ invoice: invoice.id, limit: 100 }))
      known.add(item.metadata?.line ?? "");
    for (const { line, description, cents } of items) {
      if (known.has(line)) continue;
      await client.invoiceItems.create(
        {
          customer,
          invoice: invoice.id,
          amount: cents,
          currency: row.currency,
          description,
          metadata: { statement: row.id, line },
        },
        { idempotencyKey: `${ctx.installation}-${row.id}-line-${line}-${invoice.id}` },
      );
      ctx.failPoint("stripe.item");
    }
  });
}

/** The invoice differs from the ledger: its draft goes, and administrators hear of it. */
async function stop(ctx: Ctx, row: StatementRow, invoice: Stripe.Invoice, said: string): Promise<void> {
  await askStripe(ctx, async (client) => {
    for await (const { id } of client.invoiceItems.list({ invoice: invoice.id, limit: 100 }))
      await client.invoiceItems.del(id);
    await client.invoices.del(invoice.id);
  });
  const messages = await ctx.write(async (tx) => {
    await markUnsent(tx, row.id, said, ctx.clock.now() + LAST_RETRY_MS);
    if (row.error === said) return [];
    return [
      await notifyAdministrators(tx, ctx, {
        type: "billing.close_failed",
        subject: row.id,
        title: `Invoice ${row.number} for ${row.month} was stopped`,
        body: `${said} The draft at Stripe was deleted, and nothing was charged. It is tried again every hour.`,
      }),
    ];
  });
  ctx.log("error", "an invoice does not equal its statement and was deleted", { id: row.id, error: said });
  emitAll(ctx.bus, messages);
}

/** What Stripe adds up without tax. */
const withoutTax = (invoice: Stripe.Invoice) => invoice.total_excluding_tax ?? invoice.subtotal;

async function sendNow(ctx: Ctx, row: StatementRow): Promise<void> {
  const customer = await customerOf(ctx, row.org);
  const found = (await findInvoice(ctx, row, customer)) ?? (await createInvoice(ctx, row, customer));
  ctx.failPoint("stripe.invoice");
  if (row.stripeInvoiceId !== found.id)
    await ctx.write((tx) => tx.update(statement).set({ stripeInvoiceId: found.id }).where(eq(statement.id, row.id)));
  let invoice = found;
  if (found.status === "draft") {
    await addItems(ctx, row, found, await itemsFor(ctx, row));
    const checked = await askStripe(ctx, (client) => client.invoices.retrieve(found.id));
    const sum = withoutTax(checked);
    if (sum !== row.totalCents || checked.currency !== row.currency)
      return stop(
        ctx,
        row,
        checked,
        `The invoice at Stripe is ${dollars(sum)} and the ledger says ${dollars(row.totalCents)}.`,
      );
    ctx.failPoint("stripe.checked");
    const charge = checked.collection_method === "charge_automatically";
    invoice = await askStripe(ctx, (client) => client.invoices.finalizeInvoice(found.id, { auto_advance: charge }));
    if (!charge)
      await askStripe(ctx, (client) =>
        client.invoices.sendInvoice(found.id, {}, { idempotencyKey: `${ctx.installation}-${row.id}-send` }),
      );
    ctx.failPoint("stripe.finalized");
  }
  const sent = {
    invoiceId: invoice.id,
    url: invoice.hosted_invoice_url ?? null,
    taxCents: invoice.total - withoutTax(invoice),
    // A card is charged within hours: that takes no longer than a day, and is not late meanwhile.
    dueAt: invoice.due_date ? invoice.due_date * 1000 : Math.max(row.dueAt ?? 0, ctx.clock.now() + DAY_MS),
  };
  emitAll(ctx.bus, await ctx.write((tx) => markSent(tx, ctx, row.id, sent)));
  await syncInvoice(ctx, invoice.id);
}

/** Sends a statement; what fails is tried again, later each time. */
export async function sendStatement(ctx: Ctx, row: StatementRow): Promise<void> {
  try {
    await sendNow(ctx, row);
  } catch (cause) {
    if (ctx.signal.aborted) return;
    if (!(cause instanceof AppError)) ctx.log("error", "an invoice could not be sent", { id: row.id, cause });
    const said = cause instanceof AppError ? cause.message : "The invoice could not be sent; see the server log.";
    const delay = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(row.tries, 10));
    await ctx.write((tx) => markUnsent(tx, row.id, said, ctx.clock.now() + delay));
  }
}
