/** Requests and answers of statements, credits and refunds. Amounts in US dollars. */
import * as v from "valibot";
import type { credit, statement, statementLine } from "../../db/schema/billing.ts";
import { PageQuery } from "../../lib/page.ts";
import { id, seconds, text } from "../../lib/request-fields.ts";
import { METERS, type MeterName } from "../meters/meters.ts";
import { usdOf } from "../meters/money.ts";
import { amountUpTo } from "../meters/usd.ts";

const Month = v.pipe(v.string(), v.regex(/^\d{4}-(0[1-9]|1[0-2])$/, "must be a month such as 2026-11"));
const STATES = ["closing", "final", "open", "paid", "past_due", "void", "uncollectible", "failed"] as const;
const REASONS = ["outage", "billing_error", "goodwill", "sign_up", "failed_work"] as const;

const StatementFields = {
  object: v.literal("billing.statement"),
  id: v.string(),
  number: v.string(),
  organization: v.string(),
  month: v.string(),
  mode: v.picklist(["chargeback", "stripe"]),
  state: v.picklist(STATES),
  currency: v.string(),
  subtotal_usd: v.number(),
  credits_usd: v.number(),
  tax_usd: v.number(),
  total_usd: v.number(),
  paid_usd: v.number(),
  refunded_usd: v.number(),
  closed_at: v.number(),
  due_at: v.nullable(v.number()),
  paid_at: v.nullable(v.number()),
  /** Where the invoice can be paid. */
  payment_url: v.nullable(v.string()),
};
export const StatementSummary = v.strictObject(StatementFields);

const LineView = v.strictObject({
  kind: v.string(),
  description: v.string(),
  /** In `unit`, such as GPU-hours. */
  quantity: v.nullable(v.number()),
  unit: v.nullable(v.string()),
  unit_price_usd: v.number(),
  /** Exact, and in whole cents. */
  cost_usd: v.number(),
  amount_usd: v.number(),
});

export const CreditView = v.strictObject({
  object: v.literal("billing.credit"),
  id: v.string(),
  organization: v.string(),
  kind: v.picklist(["credit", "refund"]),
  reason: v.picklist(REASONS),
  note: v.string(),
  amount_usd: v.number(),
  /** What statements have used; 0 for a refund. */
  used_usd: v.number(),
  statement: v.nullable(v.string()),
  state: v.picklist(["pending", "done", "failed"]),
  error: v.nullable(v.string()),
  created_at: v.number(),
  expires_at: v.nullable(v.number()),
});
export type CreditView = v.InferOutput<typeof CreditView>;

/** `credit_notes`: credits and refunds that were given for this statement after it was closed. */
export const StatementView = v.strictObject({
  ...StatementFields,
  lines: v.array(LineView),
  credit_notes: v.array(CreditView),
});
export type StatementView = v.InferOutput<typeof StatementView>;
export type StatementSummary = v.InferOutput<typeof StatementSummary>;

export const AllStatementsQuery = v.strictObject({ ...PageQuery.entries, month: v.optional(Month) });
export type AllStatementsQuery = v.InferOutput<typeof AllStatementsQuery>;
export const MonthQuery = v.strictObject({ month: Month });

const amount = v.pipe(amountUpTo(1_000_000), v.minValue(0.01, "must be at least 0.01"));

export const GiveCredit = v.strictObject({
  organization: id,
  amount_usd: amount,
  reason: v.picklist(["outage", "billing_error", "goodwill"], "must be outage, billing_error or goodwill"),
  note: v.optional(v.pipe(text(500), v.trim()), ""),
  /** Unix seconds; absent or null = it does not expire. */
  expires_at: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0))), null),
  /** A closed statement that shows it. */
  statement: v.optional(v.nullable(id), null),
});
export type GiveCredit = v.InferOutput<typeof GiveCredit>;

export const GiveRefund = v.strictObject({
  /** Absent = all that is left. */
  amount_usd: v.optional(
    v.pipe(
      amount,
      v.check((usd) => Math.round(usd * 100) / 100 === usd, "must be whole cents"),
    ),
  ),
  reason: v.picklist(["outage", "billing_error", "goodwill"], "must be outage, billing_error or goodwill"),
  note: v.optional(v.pipe(text(500), v.trim()), ""),
  /** Also for GPU time that was used; needs a note. */
  include_used_gpu_time: v.optional(v.boolean(), false),
});
export type GiveRefund = v.InferOutput<typeof GiveRefund>;

export const ClosedView = v.strictObject({ object: v.literal("billing.closing"), statements: v.number() });

export type StatementRow = typeof statement.$inferSelect;
type LineRow = typeof statementLine.$inferSelect;
type CreditRow = typeof credit.$inferSelect;

export function statementSummary(row: StatementRow): StatementSummary {
  return {
    object: "billing.statement",
    id: row.id,
    number: row.number,
    organization: row.org,
    month: row.month,
    mode: row.mode,
    state: row.state,
    currency: row.currency,
    subtotal_usd: row.subtotalCents / 100,
    credits_usd: row.creditCents / 100,
    tax_usd: row.taxCents / 100,
    total_usd: row.totalCents / 100,
    paid_usd: row.paidCents / 100,
    refunded_usd: row.refundedCents / 100,
    closed_at: seconds(row.closedAt),
    due_at: seconds(row.dueAt),
    paid_at: seconds(row.paidAt),
    payment_url: row.stripeUrl,
  };
}

function lineView(line: LineRow): v.InferOutput<typeof LineView> {
  const priced = line.meter ? METERS[line.meter as MeterName]?.priced : null;
  return {
    kind: line.kind,
    description: line.description,
    quantity: priced ? line.quantity / priced.per : null,
    unit: priced?.unit ?? null,
    unit_price_usd: usdOf(line.unitMicros),
    cost_usd: usdOf(line.micros),
    amount_usd: line.cents / 100,
  };
}

export const creditView = (row: CreditRow): CreditView => ({
  object: "billing.credit",
  id: row.id,
  organization: row.org,
  kind: row.kind,
  reason: row.reason,
  note: row.note,
  amount_usd: usdOf(row.micros),
  used_usd: usdOf(row.usedMicros),
  statement: row.statementId,
  state: row.state,
  error: row.error,
  created_at: seconds(row.createdAt),
  expires_at: seconds(row.expiresAt),
});

export const statementView = (row: StatementRow, lines: LineRow[], notes: CreditRow[]): StatementView => ({
  ...statementSummary(row),
  lines: lines.map(lineView),
  credit_notes: notes.map(creditView),
});
