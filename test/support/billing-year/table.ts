/** Compares what the simulated year should cost with use, ledger, statements and Stripe, to the cent. */
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { verifyLedger } from "../../../src/billing/ledger/verify.ts";
import { centsOf } from "../../../src/billing/meters/money.ts";
import { openDatabase } from "../../../src/db/open.ts";
import type { Db } from "../../../src/db/types.ts";
import type { Story } from "./story.ts";

const MICROS_PER_CENT = 10_000;

/** A month of a team. Use in micro-dollars, the rest in cents. */
interface YearRow {
  team: string;
  month: string;
  /** By the script, and by the intervals of the month. */
  expected: number;
  used: number;
  /** By the intervals and fees on the statement of the month, and by the entries of the ledger about them. */
  billed: number;
  ledger: number;
  statement: number;
  credited: number;
  stripe: number;
  paid: number;
  refunded: number;
  state: string;
}

interface Statement {
  id: string;
  org: string;
  month: string;
  state: string;
  subtotal: number;
  credit: number;
  total: number;
  paid: number;
  refunded: number;
  invoice: string | null;
  due: number | null;
  paidAt: number | null;
  /** Fees and interest on its lines, in cents. */
  charges: number;
}

interface Late {
  fee_usd: number;
  monthly_interest_percent: number;
}

type Sums = Map<string, number>;
const sums = (rows: { name: string; n: number }[]): Sums => new Map(rows.map(({ name, n }) => [name, n]));

async function read(db: Db) {
  const map = async (query: ReturnType<typeof sql>) => sums(await db.all<{ name: string; n: number }>(query));
  return {
    statements: await db.all<Statement>(sql`select id, org, month, state, subtotal_cents subtotal, credit_cents credit,
      total_cents total, paid_cents paid, refunded_cents refunded, stripe_invoice_id invoice, due_at due, paid_at "paidAt",
      (select coalesce(sum(cents), 0) from statement_line where statement_id = statement.id and meter is null) charges
      from statement order by month`),
    late: (
      await db.all<Late>(sql`select json_extract(value, '$.late.fee_usd') fee_usd,
      json_extract(value, '$.late.monthly_interest_percent') monthly_interest_percent from installation where key = 'billing'`)
    )[0],
    lateCharges: await map(sql`select statement_id name, sum(micros) n from late_charge group by 1`),
    holds: await map(sql`select org || ' ' || action name, count(*) n from audit_log
      where action in ('organization.suspend', 'organization.lift') group by 1`),
    used: await map(sql`select org || ' ' || strftime('%Y-%m', from_ms / 1000, 'unixepoch') name, sum(micros) n
      from meter_interval group by 1`),
    billed: await map(
      sql`select statement_id name, sum(micros) n from meter_interval where statement_id is not null group by 1`,
    ),
    charges: await map(
      sql`select billed_on name, sum(micros) n from late_charge where billed_on is not null group by 1`,
    ),
    booked: await map(sql`select m.statement_id name, sum(e.micros) n from ledger_entry e
      join meter_interval m on e.txn = 'use ' || m.source where e.account = 'unbilled' and m.statement_id is not null group by 1`),
    bookedCharges: await map(sql`select c.billed_on name, sum(e.micros) n from ledger_entry e
      join late_charge c on e.txn = c.source where e.account = 'unbilled' and c.billed_on is not null group by 1`),
    closed: await map(sql`select substr(txn, 11) name, sum(micros) n from ledger_entry
      where txn like 'statement %' and account = 'unbilled' group by 1`),
    accounts: await map(sql`select org || ' ' || account name, sum(micros) n from ledger_entry group by 1`),
    unbilled:
      await map(sql`select org name, sum(micros) n from (select org, micros from meter_interval where statement_id is null
      union all select org, micros from late_charge where billed_on is null) group by 1`),
    credits: await map(sql`select org name, sum(micros) n from credit where kind = 'credit' group by 1`),
    creditUse: await map(sql`select statement_id name, sum(micros) n from credit_use group by 1`),
  };
}
type Books = Awaited<ReturnType<typeof read>>;

/** What Stripe has of an invoice, in cents. */
async function atStripe({ stripe }: Story["lab"], id: string) {
  const invoice = stripe.find(id);
  const payments = [...stripe.payments.values()].filter((each) => each.invoice === id && each.status === "paid");
  const intents = payments.map(({ payment }) => String(payment.payment_intent));
  const refunds = stripe.refunds.filter(({ payment_intent: intent }) => intents.includes(String(intent)));
  const notes = [...stripe.notes.values()].filter((each) => each.invoice === id);
  const sum = (amounts: number[]) => amounts.reduce((total, amount) => total + amount, 0);
  return {
    total: invoice.total,
    items: sum(stripe.itemsOf(id).map(({ amount }) => amount)),
    paid: sum(payments.map(({ amount_paid: cents }) => cents ?? 0)),
    refunded: sum(refunds.map(({ amount }) => amount)),
    credited: sum(notes.map(({ amount }) => amount)),
  };
}

/** Compares a value and says what differs. */
function comparer() {
  const differences: string[] = [];
  const same = (what: string, values: Record<string, number>) => {
    const distinct = new Set(Object.values(values));
    if (distinct.size > 1)
      differences.push(
        `${what}: ${Object.entries(values)
          .map(([name, n]) => `${name} ${n}`)
          .join(", ")}`,
      );
  };
  return { differences, same };
}
type Same = ReturnType<typeof comparer>["same"];

/** What an invoice that is paid late costs, in micro-dollars: the fee, and the interest of each whole day. */
function lateMicros(of: Statement, late: Late | undefined, end: number): number {
  const over = of.due === null ? -1 : (of.paidAt ?? end) - of.due;
  if (over <= 0 || !late) return 0;
  const interest = Math.round(
    ((of.total - of.charges) * MICROS_PER_CENT * late.monthly_interest_percent * 12) / 36_500,
  );
  return late.fee_usd * 1e6 + Math.floor(over / 86_400_000) * interest;
}

async function rowOf(story: Story, books: Books, of: Statement, team: string, same: Same): Promise<YearRow> {
  const { id, month, org } = of;
  const name = `${org} ${month}`;
  const at = (map: Sums, key = id) => map.get(key) ?? 0;
  const none = { total: 0, items: 0, paid: 0, refunded: 0, credited: 0 };
  const stripe = of.invoice ? await atStripe(story.lab, of.invoice) : none;
  const row: YearRow = {
    team,
    month,
    expected: story.book.microsOf(org, month),
    used: at(books.used, name),
    billed: at(books.billed) + at(books.charges),
    ledger: at(books.booked) + at(books.bookedCharges),
    statement: of.subtotal,
    credited: of.credit,
    stripe: stripe.total,
    paid: of.paid,
    refunded: of.refunded,
    state: of.state,
  };
  const what = `${team} ${month}`;
  same(`${what}, micro-dollars used`, { script: row.expected, intervals: row.used });
  same(`${what}, micro-dollars billed`, { intervals: row.billed, ledger: row.ledger, closed: -at(books.closed) });
  same(`${what}, cents`, { statement: Math.max(0, row.statement), ledger: Math.max(0, centsOf(row.ledger)) });
  same(`${what}, cents to pay`, {
    statement: of.total,
    lessCredits: Math.max(0, of.subtotal) - of.credit,
    invoice: stripe.total,
    items: stripe.items,
  });
  same(`${what}, cents of credits`, { statement: of.credit, used: at(books.creditUse) / MICROS_PER_CENT });
  const late = lateMicros(of, books.late, story.lab.now());
  same(`${what}, micro-dollars for late payment`, { script: late, charged: at(books.lateCharges) });
  same(`${what}, cents paid`, { statement: of.paid, Stripe: stripe.paid });
  same(`${what}, cents refunded`, { statement: of.refunded, Stripe: stripe.refunded, creditNotes: stripe.credited });
  return row;
}

/** The accounts of a team against its rows. */
function compareAccounts(story: Story, books: Books, org: string, team: string, rows: YearRow[], same: Same): void {
  const account = (name: string) => books.accounts.get(`${org} ${name}`) ?? 0;
  const sum = (pick: (row: YearRow) => number) => rows.reduce((total, row) => total + pick(row), 0) * MICROS_PER_CENT;
  const unpaid = books.statements
    .filter((each) => each.org === org && ["closing", "open", "past_due"].includes(each.state))
    .reduce((total, each) => total + each.total - each.paid, 0);
  same(`${team}, unbilled`, { ledger: account("unbilled"), intervals: books.unbilled.get(org) ?? 0 });
  same(`${team}, receivable`, { ledger: account("receivable"), statements: unpaid * MICROS_PER_CENT });
  same(`${team}, cash`, { ledger: account("cash"), Stripe: sum(({ paid, refunded }) => paid - refunded) });
  same(`${team}, refunds`, { ledger: account("refunds"), Stripe: sum(({ refunded }) => refunded) });
  same(`${team}, credits given`, { script: story.book.creditsOf(org), rows: books.credits.get(org) ?? 0 });
  same(`${team}, credits used`, { ledger: account("credits"), statements: sum(({ credited }) => credited) });
  const expected = story.suspensions.get(org) ?? 0;
  for (const action of ["organization.suspend", "organization.lift"])
    same(`${team}, ${action}`, { script: expected, audit: books.holds.get(`${org} ${action}`) ?? 0 });
  const all = [...books.accounts].filter(([name]) => name.startsWith(`${org} `)).map(([, n]) => n);
  same(`${team}, all accounts`, { sum: all.reduce((total, n) => total + n, 0), expected: 0 });
}

/** Every month of every team, and what differs. */
export async function compareYear(story: Story): Promise<{ rows: YearRow[]; differences: string[] }> {
  const { same, differences } = comparer();
  const database = await openDatabase(`file:${join(story.lab.dir, "lab.db")}`, story.lab.dir);
  try {
    const books = await read(database.db);
    const rows: YearRow[] = [];
    for (const { org, name } of Object.values(story.lab.teams)) {
      const own: YearRow[] = [];
      for (const of of books.statements) if (of.org === org) own.push(await rowOf(story, books, of, name, same));
      compareAccounts(story, books, org, name, own, same);
      rows.push(...own);
    }
    const invoices = [...story.lab.stripe.invoices.values()].filter(({ status }) => status !== "void");
    same("invoices at Stripe", {
      Stripe: invoices.length,
      statements: books.statements.filter(({ invoice }) => invoice !== null).length,
    });
    for (const { name, violations } of await verifyLedger(database.db))
      differences.push(...violations.map((one) => `billing verify: ${name}: ${one}`));
    return { rows, differences };
  } finally {
    await database.close();
  }
}

const COLUMNS = [
  "team",
  "month",
  "script µ$",
  "used µ$",
  "billed µ$",
  "ledger µ$",
  "statement",
  "credits",
  "Stripe",
  "paid",
  "refunded",
  "state",
];

/** The rows as a Markdown table. */
export function tableOf(rows: readonly YearRow[]): string {
  const usd = (cents: number) => (cents / 100).toFixed(2);
  const lines = rows.map((row) => [
    row.team,
    row.month,
    ...[row.expected, row.used, row.billed, row.ledger].map(String),
    ...[row.statement, row.credited, row.stripe, row.paid, row.refunded].map(usd),
    row.state,
  ]);
  const widths = COLUMNS.map((name, n) => Math.max(name.length, ...lines.map((line) => line[n]?.length ?? 0)));
  const lineOf = (cells: readonly string[]) =>
    `| ${cells.map((cell, n) => (n < 2 || n === 11 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0))).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [lineOf(COLUMNS), rule, ...lines.map(lineOf)].join("\n");
}
