/** A team that pays with Stripe in test mode and whose invoice is overdue, with a card and a meter that fails. */
import { DEFAULT_SETTINGS } from "../src/billing/settings/model.ts";
import type { Actor, Ctx } from "../src/ctx.ts";
import { installation } from "../src/db/schema/audit.ts";
import { billingAccount, meterEvent, meterInterval, statement, statementLine } from "../src/db/schema/billing.ts";
import { DAY_MS } from "../src/lib/clock.ts";

const LINES = [
  ["train", "gpu_seconds", "Training: GPU-hours, NVIDIA H100 80GB HBM3, runpod", 1_812_600, 3_290_000],
  [
    "inference",
    "output_tokens",
    "Inference: million output tokens, ft:smollm2-135m-instruct:alpha:triage",
    41e6,
    800_000,
  ],
  ["storage", "byte_hours", "Storage: GiB-months, datasets", 9_405_978_378_240, 80_000],
  ["storage", "byte_hours", "Storage: GiB-months, datasets, free", 78_383_153_152_000, 0],
] as const;
const CENTS = [165_652, 3_280, 96, 0];

/** Stores all of it in the team of an administrator. */
export async function addOverdue(ctx: Ctx, { org, userId }: Actor): Promise<void> {
  const now = ctx.clock.now();
  const dueAt = now - 5 * DAY_MS;
  const month = new Date(dueAt - 45 * DAY_MS).toISOString().slice(0, 7);
  const total = CENTS.reduce((sum, cents) => sum + cents, 0) - 2500;
  const value = JSON.stringify({
    ...DEFAULT_SETTINGS,
    mode: "stripe",
    first_month: month,
    meter_events: true,
    late: { ...DEFAULT_SETTINGS.late, legal_text: "Interest of 1% a month is due on late payments." },
  });
  await ctx.write(async (tx) => {
    await tx
      .insert(installation)
      .values({ key: "billing", value })
      .onConflictDoUpdate({ target: installation.key, set: { value } });
    await tx.insert(billingAccount).values({
      org,
      stripeCustomerId: "cus_seed",
      cardBrand: "visa",
      cardLast4: "4242",
      cardExpires: "2031-04",
      lateSince: dueAt,
      lateStep: "notice",
      moreTimeUntil: now + 9 * DAY_MS,
      moreTimeReason: "The bank transfer is on its way",
      updatedAt: now,
    });
    await tx.insert(statement).values({
      id: "stm_overdueseed",
      number: "2026-000007",
      org,
      month,
      mode: "stripe",
      state: "past_due",
      subtotalCents: total + 2500,
      creditCents: 2500,
      totalCents: total,
      closedAt: dueAt - 14 * DAY_MS,
      dueAt,
      stripeInvoiceId: "in_seed",
      stripeUrl: "https://invoice.stripe.com/i/test/seed",
      error: "The payment method was declined.",
    });
    for (const [position, [kind, meter, description, quantity, unitMicros]] of LINES.entries())
      await tx.insert(statementLine).values({
        id: `stml_seed${position}`,
        statementId: "stm_overdueseed",
        position,
        kind,
        meter,
        description,
        quantity,
        unitMicros,
        micros: (CENTS[position] ?? 0) * 10_000,
        cents: CENTS[position] ?? 0,
      });
    const use = { org, userId, kind: "train", meter: "gpu_seconds", from: now - 3 * DAY_MS, to: now - 3 * DAY_MS + 1 };
    const [row] = await tx
      .insert(meterInterval)
      .values({ ...use, source: "seed overdue", quantity: 1, at: now })
      .returning({ n: meterInterval.n });
    if (row)
      await tx.insert(meterEvent).values({
        n: row.n,
        org,
        state: "waiting",
        tries: 4,
        notBefore: now + DAY_MS,
        error: "The key of Stripe may not do this: it needs write access to billing meters.",
      });
  });
}
