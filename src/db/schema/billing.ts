/**
 * Metered use, prices, the ledger, budgets and statements. Money is in micro-dollars (USD × 1,000,000), quantities are
 * whole units: both integers. Rows of `meter_interval` and `ledger_entry` are only ever added.
 */
import { sql } from "drizzle-orm";
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/**
 * What was used in one interval of time, and what it costs. Never changed: work that turns out to be lost is taken back
 * by a second row with a negative quantity (`reverses`).
 */
export const meterInterval = sqliteTable(
  "meter_interval",
  {
    /** Order in which rows were written. */
    n: integer("n").primaryKey(),
    /** What it measures and where it begins, in milliseconds since the start: `att_x gpu_seconds 60000`; unique. */
    source: text("source").notNull(),
    /** Empty for what the installation itself uses: machines that no job owns. */
    org: text("org").notNull(),
    /** Who started it, or who owns what is stored; null = nobody in particular. */
    userId: text("user_id"),
    keyId: text("key_id"),
    /** `train`, `evaluate`, `serve`, `export`, `storage`, `inference`, `machine`, or `grade` for graders. */
    kind: text("kind").notNull(),
    /** See METERS in src/billing/meters/meters.ts. */
    meter: text("meter").notNull(),
    jobId: text("job_id"),
    attemptId: text("attempt_id"),
    deploymentId: text("deployment_id"),
    /** The base model of a job, the model that answered, or what is stored (`datasets`, `models`, …). */
    model: text("model"),
    provider: text("provider"),
    gpuModel: text("gpu_model"),
    /** Milliseconds since 1970; `to` is exclusive. */
    from: integer("from_ms").notNull(),
    to: integer("to_ms").notNull(),
    /** In the unit of the meter. Negative in a reversal. */
    quantity: integer("quantity").notNull(),
    /** The part of `quantity` that is not charged, and why: `start_up`, `download`, `memory_test`, `allowance`, … */
    free: integer("free").notNull().default(0),
    freeReason: text("free_reason"),
    /** The price that applied, for one priced unit (`GPU-hour`, …), and the list it comes from. */
    priceListId: text("price_list_id"),
    unitMicros: integer("unit_micros").notNull().default(0),
    /** What is charged, in micro-dollars. Negative in a reversal. */
    micros: integer("micros").notNull().default(0),
    /** `source` of the row that this one takes back, in part or whole, and why (`lost`). */
    reverses: text("reverses"),
    reversedFor: text("reversed_for"),
    at: integer("at").notNull(),
    /** The statement that contains it; set once. `legacy` = of the installation, or of versions without statements. */
    statementId: text("statement_id"),
  },
  (t) => [
    uniqueIndex("meter_interval_source").on(t.source),
    index("meter_interval_org").on(t.org, t.from),
    index("meter_interval_job").on(t.jobId, t.meter, t.from),
    index("meter_interval_attempt").on(t.attemptId, t.meter, t.from),
    index("meter_interval_unbilled").on(t.org, t.to).where(sql`statement_id is null`),
    /** For what a provider charged in a month. */
    index("meter_interval_provider").on(t.provider, t.from).where(sql`meter = 'provider_micros'`),
  ],
);

/** How far a continuous measurement has come: storage by the hour, requests by their number. */
export const meterCursor = sqliteTable("meter_cursor", {
  name: text("name").primaryKey(),
  position: integer("position").notNull(),
});

/** Double entry: the entries of one transaction add up to 0. */
export const ledgerEntry = sqliteTable(
  "ledger_entry",
  {
    n: integer("n").primaryKey(),
    /** What it books, such as `use SOURCE`, `statement ID`, `payment ID`; each is booked once. */
    transaction: text("txn").notNull(),
    org: text("org").notNull(),
    /** See ACCOUNTS in src/billing/ledger/accounts.ts. */
    account: text("account").notNull(),
    /** Debit positive, credit negative; micro-dollars. */
    micros: integer("micros").notNull(),
    at: integer("at").notNull(),
  },
  (t) => [
    uniqueIndex("ledger_entry_txn").on(t.transaction, t.account),
    index("ledger_entry_account").on(t.org, t.account),
  ],
);

/** A version of the prices of the installation, or of what differs for one organization. Never changed. */
export const priceList = sqliteTable(
  "price_list",
  {
    id: text("id").primaryKey(),
    /** Null = the prices of the installation. */
    org: text("org"),
    /** Prices and free allowances; shape in src/billing/prices/model.ts. */
    prices: jsonText("prices").$type<unknown>().notNull(),
    note: text("note").notNull().default(""),
    effectiveAt: integer("effective_at").notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    /** When it was announced to users; a raise takes effect 30 days later at the earliest. */
    announcedAt: integer("announced_at"),
    /** When it was withdrawn, before it took effect. */
    withdrawnAt: integer("withdrawn_at"),
  },
  (t) => [index("price_list_effective").on(t.org, t.effectiveAt)],
);

/** The prices that a job was started with. They hold for all of its attempts. */
export const jobPrice = sqliteTable("job_price", {
  jobId: text("job_id").primaryKey(),
  org: text("org").notNull(),
  /** The lists of the installation and of the organization; null = none was in force. */
  priceListId: text("price_list_id"),
  orgPriceListId: text("org_price_list_id"),
  /** The largest cost that the request allows, in micro-dollars; null = no limit. */
  maxMicros: integer("max_micros"),
});

/** How much of a free allowance an organization used in a month. */
export const allowanceUse = sqliteTable(
  "allowance_use",
  {
    org: text("org").notNull(),
    /** `2026-11`, UTC. */
    month: text("month").notNull(),
    meter: text("meter").notNull(),
    quantity: integer("quantity").notNull(),
  },
  (t) => [primaryKey({ columns: [t.org, t.month, t.meter] })],
);

export const budget = sqliteTable(
  "budget",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    /** `team` is the whole organization; `installation` too, set by administrators of the installation. */
    scope: text("scope", { enum: ["team", "installation", "user", "key", "job", "sweep"] }).notNull(),
    /** Id of the organization, user, key, job or sweep. */
    scopeId: text("scope_id").notNull(),
    period: text("period", { enum: ["month", "total"] }).notNull(),
    /** At least one of both is set. */
    limitMicros: integer("limit_micros"),
    limitGpuSeconds: integer("limit_gpu_seconds"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
  },
  (t) => [uniqueIndex("budget_scope").on(t.org, t.scope, t.scopeId, t.period)],
);

/** What counts against a budget in one period; raised in the transaction that writes the interval. */
export const budgetUse = sqliteTable(
  "budget_use",
  {
    budgetId: text("budget_id")
      .notNull()
      .references(() => budget.id, { onDelete: "cascade" }),
    /** `2026-11`, or `total`. */
    period: text("period").notNull(),
    micros: integer("micros").notNull().default(0),
    gpuSeconds: integer("gpu_seconds").notNull().default(0),
    /** The highest threshold in percent that was announced. */
    notified: integer("notified").notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.budgetId, t.period] })],
);

/** What running work may still cost: counted against all budgets that apply to it until it ends. */
export const budgetHold = sqliteTable(
  "budget_hold",
  {
    jobId: text("job_id").primaryKey(),
    org: text("org").notNull(),
    userId: text("user_id").notNull(),
    keyId: text("key_id"),
    sweepId: text("sweep_id"),
    micros: integer("micros").notNull(),
    gpuSeconds: integer("gpu_seconds").notNull(),
    /** What an hour of it costs, and its GPUs: use that no interval has recorded yet is computed from both. */
    microsPerHour: integer("micros_per_hour").notNull().default(0),
    gpus: integer("gpus").notNull().default(0),
    /** Since when it is charged, in milliseconds since 1970; null = it is still starting. */
    chargedFrom: integer("charged_from"),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("budget_hold_org").on(t.org)],
);

/** A closed month of one organization: an invoice with Stripe, a statement without. */
export const statement = sqliteTable(
  "statement",
  {
    id: text("id").primaryKey(),
    /** `2026-000042`, without gaps. */
    number: text("number").notNull(),
    org: text("org").notNull(),
    month: text("month").notNull(),
    /** The mode in which it was closed. */
    mode: text("mode", { enum: ["chargeback", "stripe"] }).notNull(),
    state: text("state", {
      enum: ["closing", "final", "open", "paid", "past_due", "void", "uncollectible", "failed"],
    }).notNull(),
    currency: text("currency").notNull().default("usd"),
    /** Sum of the lines, and what is to be paid after credits, in cents. */
    subtotalCents: integer("subtotal_cents").notNull(),
    creditCents: integer("credit_cents").notNull().default(0),
    taxCents: integer("tax_cents").notNull().default(0),
    totalCents: integer("total_cents").notNull(),
    paidCents: integer("paid_cents").notNull().default(0),
    refundedCents: integer("refunded_cents").notNull().default(0),
    closedAt: integer("closed_at").notNull(),
    dueAt: integer("due_at"),
    paidAt: integer("paid_at"),
    stripeInvoiceId: text("stripe_invoice_id"),
    stripeUrl: text("stripe_url"),
    /** Why it could not be sent; it is tried again. */
    error: text("error"),
    tries: integer("tries").notNull().default(0),
    notBefore: integer("not_before").notNull().default(0),
  },
  (t) => [
    uniqueIndex("statement_number").on(t.number),
    uniqueIndex("statement_month").on(t.org, t.month),
    uniqueIndex("statement_stripe").on(t.stripeInvoiceId),
    index("statement_state").on(t.state, t.notBefore),
  ],
);

/** A line of a statement: one kind of use at one price. */
export const statementLine = sqliteTable(
  "statement_line",
  {
    id: text("id").primaryKey(),
    statementId: text("statement_id")
      .notNull()
      .references(() => statement.id),
    position: integer("position").notNull(),
    kind: text("kind").notNull(),
    meter: text("meter"),
    description: text("description").notNull(),
    quantity: integer("quantity").notNull(),
    unitMicros: integer("unit_micros").notNull(),
    /** Exact, and as charged. */
    micros: integer("micros").notNull(),
    cents: integer("cents").notNull(),
  },
  (t) => [uniqueIndex("statement_line_position").on(t.statementId, t.position)],
);

/** Money given to an organization (credit) or back for a statement (refund), each with its reason. */
export const credit = sqliteTable(
  "credit",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    kind: text("kind", { enum: ["credit", "refund"] }).notNull(),
    reason: text("reason", { enum: ["outage", "billing_error", "goodwill", "sign_up", "failed_work"] }).notNull(),
    note: text("note").notNull().default(""),
    micros: integer("micros").notNull(),
    /** What statements have used of a credit. */
    usedMicros: integer("used_micros").notNull().default(0),
    /** The statement that a refund belongs to. */
    statementId: text("statement_id"),
    /** The work that a credit is for: a second one for it is refused. */
    source: text("source"),
    stripeRefundId: text("stripe_refund_id"),
    stripeCreditNoteId: text("stripe_credit_note_id"),
    state: text("state", { enum: ["pending", "done", "failed"] }).notNull(),
    error: text("error"),
    expiresAt: integer("expires_at"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [uniqueIndex("credit_source").on(t.source), index("credit_org").on(t.org, t.kind)],
);

/** How much of a credit a statement used. */
export const creditUse = sqliteTable(
  "credit_use",
  {
    creditId: text("credit_id").notNull(),
    statementId: text("statement_id").notNull(),
    org: text("org").notNull(),
    micros: integer("micros").notNull(),
  },
  (t) => [primaryKey({ columns: [t.creditId, t.statementId] }), index("credit_use_statement").on(t.statementId)],
);

/** A fee or interest for a late invoice; a line of the next one. */
export const lateCharge = sqliteTable(
  "late_charge",
  {
    /** `late_fee STATEMENT`, or `interest STATEMENT DAY`: each is charged once. */
    source: text("source").primaryKey(),
    org: text("org").notNull(),
    /** The invoice that is late. */
    statementId: text("statement_id").notNull(),
    kind: text("kind", { enum: ["late_fee", "interest"] }).notNull(),
    micros: integer("micros").notNull(),
    at: integer("at").notNull(),
    /** The statement that contains it; set once. */
    billedOn: text("billed_on"),
  },
  (t) => [index("late_charge_unbilled").on(t.org, t.at).where(sql`billed_on is null`)],
);

/** How an organization pays. Never card data: only what a person recognizes a card by. */
export const billingAccount = sqliteTable(
  "billing_account",
  {
    org: text("org").primaryKey(),
    stripeCustomerId: text("stripe_customer_id"),
    /** `visa`, `4242`, `2028-04`; null without a payment method. */
    cardBrand: text("card_brand"),
    cardLast4: text("card_last4"),
    cardExpires: text("card_expires"),
    /** Charged automatically, or sent an invoice with payment terms. */
    collection: text("collection", { enum: ["charge", "send"] })
      .notNull()
      .default("charge"),
    taxExempt: integer("tax_exempt", { mode: "boolean" }).notNull().default(false),
    /** Where invoices go; null = the owners of the organization. */
    email: text("email"),
    /** Since when an invoice is unpaid after its due date, and the last step that followed; see src/billing/late. */
    lateSince: integer("late_since"),
    lateStep: text("late_step", { enum: ["notice", "no_new_work", "suspended"] }),
    /** More time that an administrator gave: until then nothing beyond the notice follows. The team reads why. */
    moreTimeUntil: integer("more_time_until"),
    moreTimeReason: text("more_time_reason"),
    updatedAt: integer("updated_at").notNull(),
  },
  (t) => [uniqueIndex("billing_account_stripe").on(t.stripeCustomerId)],
);

/**
 * Uses that Stripe's meters are not known to have yet, by the number of their interval; a row goes when its event is
 * accepted, and stays with its error when it never will be. Sending is in src/billing/stripe/meter-events.ts.
 */
export const meterEvent = sqliteTable(
  "meter_event",
  {
    n: integer("n").primaryKey(),
    org: text("org").notNull(),
    state: text("state", { enum: ["waiting", "failed"] }).notNull(),
    tries: integer("tries").notNull().default(0),
    notBefore: integer("not_before").notNull().default(0),
    /** The first try whose end is not known: Stripe knows an identifier again for a day only. */
    unsureSince: integer("unsure_since"),
    error: text("error"),
  },
  (t) => [index("meter_event_state").on(t.state, t.notBefore)],
);

/** Events that Stripe sent, once each; carried out in the background by reading the object again. */
export const stripeEvent = sqliteTable(
  "stripe_event",
  {
    id: text("id").primaryKey(),
    type: text("type").notNull(),
    /** Id of the object that it is about. */
    objectId: text("object_id").notNull(),
    state: text("state", { enum: ["waiting", "done", "ignored", "failed"] }).notNull(),
    tries: integer("tries").notNull().default(0),
    notBefore: integer("not_before").notNull().default(0),
    error: text("error"),
    createdAt: integer("created_at").notNull(),
    receivedAt: integer("received_at").notNull(),
    handledAt: integer("handled_at"),
  },
  (t) => [
    index("stripe_event_waiting").on(t.notBefore).where(sql`state = 'waiting'`),
    index("stripe_event_received").on(t.receivedAt),
  ],
);
