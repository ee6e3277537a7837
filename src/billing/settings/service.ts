/** How the installation bills: read once and kept until an administrator changes it. */
import { eq, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, keptRead, requireAdmin } from "../../ctx.ts";
import { installation } from "../../db/schema/audit.ts";
import { meterCursor } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { monthAt } from "../meters/months.ts";
import { type BillingSettings, type ChangeBillingSettings, DEFAULT_SETTINGS } from "./model.ts";

const KEY = "billing";
/** How far the intervals are taken over for the meters of Stripe. */
export const METER_EVENTS = "meter_events";
const HOUR_MS = 3_600_000;

async function stored(db: Db): Promise<BillingSettings> {
  const [row] = await db.select().from(installation).where(eq(installation.key, KEY)).limit(1);
  const { late, ...rest } = (row ? JSON.parse(row.value) : {}) as Partial<BillingSettings>;
  return { ...DEFAULT_SETTINGS, ...rest, late: { ...DEFAULT_SETTINGS.late, ...late } };
}

const kept = keptRead((ctx) => stored(ctx.db));

/** The settings in force. */
export const billingSettings = (ctx: Ctx): Promise<BillingSettings> => kept.get(ctx);

/** @throws AppError `invalid_value` unless each step of late payment follows the one before it */
function requireOrder({ late }: BillingSettings): void {
  if (late.notice_days <= late.no_new_work_days && late.no_new_work_days <= late.suspend_days) return;
  throw new AppError(
    "invalid",
    "invalid_value",
    "The notice comes first, then no new paid work, then the suspension: the days must not decrease.",
    { param: "late" },
  );
}

/** @throws AppError `stripe_not_set` when the mode becomes `stripe` without a key */
function requireKey(ctx: Ctx, before: BillingSettings, after: BillingSettings): void {
  if (after.mode !== "stripe" || before.mode === "stripe" || ctx.config.stripe_secret_key) return;
  throw new AppError(
    "conflict",
    "stripe_not_set",
    "The mode stripe needs the secret key of Stripe. Enter it under Administration, Payments first.",
    { param: "mode" },
  );
}

/** The first month whose closing is still ahead. */
function nextToClose(now: number, graceHours: number): string {
  return monthAt(now - graceHours * HOUR_MS);
}

/**
 * When the mode is switched on, the first month to close is the first one whose closing is still ahead, or a later one
 * that is given.
 * @throws AppError `invalid_value` for an earlier one: nobody is charged for what was used while nobody was charged
 */
function withFirstMonth(before: BillingSettings, after: BillingSettings, now: number): BillingSettings {
  if (after.mode === "off") return { ...after, first_month: null };
  const earliest = before.first_month ?? nextToClose(now, after.grace_hours);
  const first = after.first_month ?? earliest;
  if (first >= earliest) return { ...after, first_month: first };
  throw new AppError(
    "invalid",
    "invalid_value",
    `The first month to close must be ${earliest} or later: what was used before is not charged.`,
    { param: "first_month" },
  );
}

/** What was used before the meters of Stripe are switched on is not sent to them. */
async function sendFromNow(tx: Db): Promise<void> {
  const position = sql`(select coalesce(max(n), 0) from meter_interval)`;
  await tx
    .insert(meterCursor)
    .values({ name: METER_EVENTS, position })
    .onConflictDoUpdate({ target: meterCursor.name, set: { position } });
}

/**
 * Changes the settings that are given. What is closed already stays as it is. Administrators only.
 * @throws AppError `invalid_value`, `stripe_not_set`
 */
export async function changeBillingSettings(
  ctx: Ctx,
  actor: Actor,
  { late, ...given }: ChangeBillingSettings,
): Promise<BillingSettings> {
  requireAdmin(actor);
  const after = await ctx.write(async (tx) => {
    const before = await stored(tx);
    const merged: BillingSettings = { ...before, ...given, late: { ...before.late, ...late } };
    requireOrder(merged);
    requireKey(ctx, before, merged);
    const after = withFirstMonth(before, merged, ctx.clock.now());
    if (after.meter_events && !before.meter_events) await sendFromNow(tx);
    const value = JSON.stringify(after);
    await tx
      .insert(installation)
      .values({ key: KEY, value })
      .onConflictDoUpdate({ target: installation.key, set: { value } });
    await audit(tx, ctx, actor, "billing_settings.change", KEY, { ...given, ...(late ? { late } : {}) });
    return after;
  });
  kept.set(ctx, after);
  return after;
}
