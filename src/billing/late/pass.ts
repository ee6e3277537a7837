/** Late invoices in the background: due dates, steps, fees and interest, and the way back after a payment. */
import { and, eq, isNotNull, lte } from "drizzle-orm";
import { announceHold } from "../../accounts/suspension/service.ts";
import type { Ctx } from "../../ctx.ts";
import { billingAccount, statement } from "../../db/schema/billing.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { emitAll } from "../../lib/bus.ts";
import type { BillingSettings } from "../settings/model.ts";
import { billingSettings } from "../settings/service.ts";
import { chargeLate } from "./charges.ts";
import { markOverdue, type Overdue, readOverdue } from "./overdue.ts";
import { isSettled, type Moved, settleTeam } from "./steps.ts";

const EVERY_MS = 15_000;

/** Whether an open invoice has passed its due date. */
async function anyDue(ctx: Ctx): Promise<boolean> {
  const [row] = await ctx.db
    .select({ id: statement.id })
    .from(statement)
    .where(and(eq(statement.state, "open"), eq(statement.mode, "stripe"), lte(statement.dueAt, ctx.clock.now())))
    .limit(1);
  return row !== undefined;
}

/** Brings one team to the step of its oldest overdue invoice. Writes only when something changes. */
async function checkTeam(ctx: Ctx, org: string, oldest: Overdue | undefined, settings: BillingSettings) {
  if (await isSettled(ctx.db, org, oldest, ctx.clock.now(), settings.late)) return;
  announceMove(ctx, org, await ctx.write((tx) => settleTeam(tx, ctx, org, settings)));
}

/** What follows the commit of a move. */
export function announceMove(ctx: Ctx, org: string, { messages, hold }: Moved): void {
  emitAll(ctx.bus, messages);
  if (hold) announceHold(ctx, "organization", org, []);
  ctx.bus.emit("budget.changed", { org });
}

/**
 * One look at all teams. Outside of the mode `stripe` nobody is late: what was stopped resumes. A failure of one team
 * does not keep the others.
 */
export async function checkLate(ctx: Ctx): Promise<void> {
  const settings = await billingSettings(ctx);
  const charges = settings.mode === "stripe";
  if (charges && (await anyDue(ctx))) await ctx.write((tx) => markOverdue(tx, ctx.clock.now()));
  const invoices = charges ? await readOverdue(ctx.db, ctx.clock.now()) : [];
  const late = await ctx.db
    .select({ org: billingAccount.org })
    .from(billingAccount)
    .where(isNotNull(billingAccount.lateSince));
  const oldest = new Map<string, Overdue | undefined>(late.map(({ org }) => [org, undefined]));
  for (const invoice of invoices) oldest.set(invoice.org, oldest.get(invoice.org) ?? invoice);
  for (const [org, invoice] of oldest)
    try {
      await checkTeam(ctx, org, invoice, settings);
    } catch (cause) {
      ctx.log("error", "the late invoices of a team could not be checked; they are checked again", { org, cause });
    }
  if (charges) await chargeLate(ctx, invoices, settings.late);
}

/** Looks now and four times a minute. @returns the function that stops it */
export const startLate = (ctx: Ctx): (() => Promise<void>) =>
  startRounds(ctx, EVERY_MS, "late invoices could not be checked", () => checkLate(ctx));
