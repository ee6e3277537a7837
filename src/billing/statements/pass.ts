/** Closes months in the background: one transaction for each organization and month, oldest first. */
import { and, asc, eq, gte, isNull, lte, min, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { lateCharge, meterInterval, statement } from "../../db/schema/billing.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { emitAll } from "../../lib/bus.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import { billingSettings } from "../settings/service.ts";
import { giveSignUpCredits } from "./automatic-credits.ts";
import { closeMonth } from "./close.ts";

const EVERY_MS = 60_000;
const HOUR_MS = 3_600_000;

/** The last month that is over, with the grace for late intervals. */
const lastClosable = (now: number, graceHours: number): string =>
  monthAt(monthRange(monthAt(now - graceHours * HOUR_MS)).from - 1);

const nextMonth = (month: string): string => monthAt(monthRange(month).to);

/** Organizations with something to close up to a month, and the first month of it. */
async function waiting(ctx: Ctx, firstMonth: string, last: string): Promise<{ org: string; first: string }[]> {
  const { from } = monthRange(firstMonth);
  const { to } = monthRange(last);
  const uses = await ctx.db
    .select({ org: meterInterval.org, at: min(meterInterval.from) })
    .from(meterInterval)
    .where(and(isNull(meterInterval.statementId), gte(meterInterval.from, from), lte(meterInterval.to, to)))
    .groupBy(meterInterval.org)
    .orderBy(asc(meterInterval.org));
  const charges = await ctx.db
    .select({ org: lateCharge.org, at: min(lateCharge.at) })
    .from(lateCharge)
    .where(and(isNull(lateCharge.billedOn), sql`${lateCharge.at} < ${to}`))
    .groupBy(lateCharge.org);
  const first = new Map<string, number>();
  for (const { org, at } of [...uses, ...charges]) first.set(org, Math.min(first.get(org) ?? Infinity, at ?? from));
  return [...first].map(([org, at]) => ({ org, first: monthAt(Math.max(at, from)) }));
}

/** Whether a month of an organization was kept back, and its next try is still ahead. */
async function keptBack(ctx: Ctx, org: string, month: string): Promise<boolean> {
  const [row] = await ctx.db
    .select({ notBefore: statement.notBefore })
    .from(statement)
    .where(and(eq(statement.org, org), eq(statement.month, month), eq(statement.state, "failed")))
    .limit(1);
  return row !== undefined && row.notBefore > ctx.clock.now();
}

/**
 * Closes every month that is over, of all organizations. Does nothing while the mode is off. A failure of one
 * organization does not keep the others.
 * @param again also those that were kept back, before their time
 * @returns how many months were closed or kept back
 */
export async function closeMonths(ctx: Ctx, { again = false } = {}): Promise<number> {
  const settings = await billingSettings(ctx);
  const { mode, first_month: firstMonth } = settings;
  if (mode === "off" || firstMonth === null) return 0;
  const last = lastClosable(ctx.clock.now(), settings.grace_hours);
  let closed = 0;
  for (const { org, first } of await waiting(ctx, firstMonth, last))
    for (let month = first; month <= last && !ctx.signal.aborted; month = nextMonth(month)) {
      // The months after one that was kept back wait for it.
      if (!again && (await keptBack(ctx, org, month))) break;
      try {
        const messages = await ctx.write((tx) =>
          closeMonth(tx, ctx, { org, month, firstMonth }, { ...settings, mode }),
        );
        if (!messages) continue;
        ctx.failPoint("statement.closed");
        emitAll(ctx.bus, messages);
        closed++;
      } catch (cause) {
        ctx.log("error", "a month could not be closed; it will be tried again", { org, month, cause });
        break;
      }
    }
  return closed;
}

/** Gives credits of sign-ups and closes months, now and every minute. @returns the function that stops it */
export const startClosing = (ctx: Ctx): (() => Promise<void>) =>
  startRounds(ctx, EVERY_MS, "months could not be closed", async () => {
    await giveSignUpCredits(ctx);
    await closeMonths(ctx);
  });
