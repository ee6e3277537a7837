/** What late invoices mean for a team now: for its pages, for the queue and for the endpoints. */
import { inArray } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { billingAccount } from "../../db/schema/billing.ts";
import { dayAt } from "../meters/months.ts";
import { billingSettings } from "../settings/service.ts";
import { moreTimeOf } from "./more-time.ts";
import { type Overdue, overdueText, readOverdue } from "./overdue.ts";
import { isWaived, type LateStep, nextText, storedPosition } from "./steps.ts";

/** A team with an overdue invoice. */
export interface LateTeam {
  step: LateStep;
  /** The oldest overdue invoice. */
  invoice: { id: string; number: string };
  title: string;
  /** What is unpaid, what comes next, and the legal text of the installation. */
  text: string;
}

const TITLES: Record<LateStep, string> = {
  notice: "An invoice is overdue",
  no_new_work: "No new paid work starts: an invoice is overdue",
  suspended: "The team is suspended: an invoice is overdue",
};

/** What a team reads about its overdue invoices; null when none is. */
export async function lateTeam(ctx: Ctx, org: string): Promise<LateTeam | null> {
  const settings = await billingSettings(ctx);
  if (settings.mode !== "stripe") return null;
  const { step, moreTimeUntil } = await storedPosition(ctx.db, org);
  if (step === null) return null;
  const [oldest] = await readOverdue(ctx.db, ctx.clock.now(), org);
  if (!oldest) return null;
  const waived = await isWaived(ctx.db, org, step);
  const more = await moreTimeOf(ctx, org);
  const given = more && `An administrator gave the team time until ${dayAt(more.until)} (${more.reason}).`;
  const next = waived ? "" : nextText(oldest, step, { late: settings.late, moreTimeUntil });
  const legal = settings.late.legal_text;
  return {
    step: waived ? "notice" : step,
    invoice: { id: oldest.id, number: oldest.number },
    title: TITLES[waived ? "notice" : step],
    text: [`${overdueText(oldest)}.`, given, next, legal].filter(Boolean).join(" "),
  };
}

/** Teams whose new work waits for a payment. */
interface LateWork {
  /** Why it waits, as a sentence without a period, by organization. */
  why: ReadonlyMap<string, string>;
  /** Whether work on own hosts starts all the same. */
  ownHosts: boolean;
}

const waitText = (invoice: Overdue): string =>
  `Waiting for a payment: ${overdueText(invoice).replace(/^I/, "i")}. Pay it under Billing (/billing)`;

/** Reads whose new work waits. */
export async function lateWork(ctx: Ctx): Promise<LateWork> {
  const { mode, own_hosts_exempt: ownHosts } = await billingSettings(ctx);
  const why = new Map<string, string>();
  if (mode !== "stripe") return { why, ownHosts };
  const rows = await ctx.db
    .select({ org: billingAccount.org, step: billingAccount.lateStep })
    .from(billingAccount)
    .where(inArray(billingAccount.lateStep, ["no_new_work", "suspended"]));
  for (const { org, step } of rows) {
    const [oldest] = await readOverdue(ctx.db, ctx.clock.now(), org);
    if (oldest && !(await isWaived(ctx.db, org, step))) why.set(org, waitText(oldest));
  }
  return { why, ownHosts };
}
