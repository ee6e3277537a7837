/** More time to pay: until a day that an administrator sets, with a reason, nothing beyond the notice follows. */
import { and, eq, gt } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { billingAccount } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { seconds, text } from "../../lib/request-fields.ts";
import { dayAt } from "../meters/months.ts";
import { billingSettings } from "../settings/service.ts";
import { notifyPayers } from "../statements/notices.ts";
import { readOverdue } from "./overdue.ts";
import { announceMove } from "./pass.ts";
import { type Moved, settleTeam } from "./steps.ts";

/** Days that can be given at once. */
const MOST_DAYS = 366;

/** `until` in Unix seconds; the team reads the reason. */
export const GiveTime = v.strictObject({
  until: v.pipe(v.number(), v.integer("must be a whole number"), v.minValue(0)),
  reason: v.pipe(text(500), v.trim(), v.minLength(1, "must not be empty")),
});
export type GiveTime = v.InferOutput<typeof GiveTime>;

/** `until` and `reason` are null without more time. */
export const MoreTimeView = v.strictObject({
  object: v.literal("billing.more_time"),
  organization: v.string(),
  until: v.nullable(v.number()),
  reason: v.nullable(v.string()),
});
export type MoreTimeView = v.InferOutput<typeof MoreTimeView>;

/** More time in force. `until` in milliseconds since 1970. */
export interface MoreTime {
  until: number;
  reason: string;
}

/** The time that a team was given and that is not over; null without it. */
export async function moreTimeOf(ctx: Ctx, org: string): Promise<MoreTime | null> {
  const [row] = await ctx.db
    .select({ until: billingAccount.moreTimeUntil, reason: billingAccount.moreTimeReason })
    .from(billingAccount)
    .where(and(eq(billingAccount.org, org), gt(billingAccount.moreTimeUntil, ctx.clock.now())))
    .limit(1);
  return row?.until ? { until: row.until, reason: row.reason ?? "" } : null;
}

/** The time that a team was given, for administrators. @throws AppError `organization_not_found` */
export async function getTime(ctx: Ctx, actor: Actor, org: string): Promise<MoreTimeView> {
  requireAdmin(actor);
  await requireTeam(ctx.db, org);
  const given = await moreTimeOf(ctx, org);
  return {
    object: "billing.more_time",
    organization: org,
    until: seconds(given?.until ?? null),
    reason: given?.reason ?? null,
  };
}

async function requireTeam(db: Db, org: string): Promise<void> {
  const [team] = await db.select({ id: organization.id }).from(organization).where(eq(organization.id, org)).limit(1);
  if (!team) throw notFound("organization", org);
}

/** Stores the time, and moves the team to the step that its invoices have reached now. */
async function store(ctx: Ctx, actor: Actor, org: string, given: MoreTime | null): Promise<MoreTimeView> {
  const settings = await billingSettings(ctx);
  const now = ctx.clock.now();
  const moved = await ctx.write(async (tx): Promise<Moved> => {
    await requireTeam(tx, org);
    const set = { moreTimeUntil: given?.until ?? null, moreTimeReason: given?.reason ?? null, updatedAt: now };
    await tx
      .insert(billingAccount)
      .values({ org, collection: settings.collection, ...set })
      .onConflictDoUpdate({ target: billingAccount.org, set });
    const detail = given ? { until: new Date(given.until).toISOString(), reason: given.reason } : {};
    await audit(tx, ctx, actor, given ? "payment_time.give" : "payment_time.end", org, detail);
    const moved = await settleTeam(tx, ctx, org, settings);
    const [oldest] = settings.mode === "stripe" ? await readOverdue(tx, now, org) : [];
    if (!given || !oldest) return moved;
    const notice = await notifyPayers(tx, ctx, org, {
      type: "billing.late",
      subject: oldest.id,
      title: `You have until ${dayAt(given.until)} to pay invoice ${oldest.number}`,
      body: `An administrator gave your team more time: ${given.reason}`,
    });
    return { ...moved, messages: [...moved.messages, notice] };
  });
  announceMove(ctx, org, moved);
  return getTime(ctx, actor, org);
}

/**
 * Gives a team time until a day. What was stopped for an unpaid invoice resumes. Administrators only.
 * @throws AppError `end_in_the_past`, `end_too_late`, `organization_not_found`
 */
export async function giveTime(
  ctx: Ctx,
  actor: Actor,
  org: string,
  { until, reason }: GiveTime,
): Promise<MoreTimeView> {
  requireAdmin(actor);
  const [at, now] = [until * 1000, ctx.clock.now()];
  const refuse = (code: string, message: string) => new AppError("invalid", code, message, { param: "until" });
  if (at <= now) throw refuse("end_in_the_past", "The end must be in the future.");
  if (at > now + MOST_DAYS * DAY_MS) throw refuse("end_too_late", `The end must be within ${MOST_DAYS} days.`);
  return store(ctx, actor, org, { until: at, reason });
}

/** Ends the time of a team early: the step that its invoices have reached follows at once. Administrators only. */
export async function endTime(ctx: Ctx, actor: Actor, org: string): Promise<MoreTimeView> {
  requireAdmin(actor);
  return store(ctx, actor, org, null);
}
