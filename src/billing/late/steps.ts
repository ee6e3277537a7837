/**
 * What follows when an invoice stays unpaid: a notice, no new paid work, a suspension. A team is at the step that its
 * oldest overdue invoice has reached; payment leads back.
 */
import { eq } from "drizzle-orm";
import { activeHold } from "../../accounts/holds/service.ts";
import { endUnpaid, holdUnpaid } from "../../accounts/suspension/unpaid.ts";
import type { Ctx } from "../../ctx.ts";
import { billingAccount } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { dayAt } from "../meters/months.ts";
import type { BillingSettings } from "../settings/model.ts";
import { notifyPayers } from "../statements/notices.ts";
import { type Overdue, overdueText, readOverdue, reasonText } from "./overdue.ts";

const STEPS = ["notice", "no_new_work", "suspended"] as const;
export type LateStep = (typeof STEPS)[number];

const daysOf = (late: BillingSettings["late"]): Record<LateStep, number> => ({
  notice: late.notice_days,
  no_new_work: late.no_new_work_days,
  suspended: late.suspend_days,
});

const rankOf = (step: LateStep | null): number => (step === null ? -1 : STEPS.indexOf(step));

/** The days of the installation, and until when an administrator gave the team more time; 0 without it. */
interface LateRules {
  late: BillingSettings["late"];
  moreTimeUntil: number;
}

/** When a step follows, in milliseconds since 1970. */
const startOf = (step: LateStep, { dueAt }: Overdue, { late, moreTimeUntil }: LateRules): number =>
  Math.max(dueAt + daysOf(late)[step] * DAY_MS, step === "notice" ? 0 : moreTimeUntil);

/** The step that an invoice has reached; null before the first one. */
const stepOf = (invoice: Overdue, now: number, rules: LateRules): LateStep | null =>
  STEPS.findLast((step) => now >= startOf(step, invoice, rules)) ?? null;

/** What comes next, with the days, as sentences; empty after the last step. */
export function nextText(invoice: Overdue, at: LateStep | null, rules: LateRules): string {
  const on = (step: LateStep) => dayAt(startOf(step, invoice, rules));
  const next: string[] = [];
  if (rankOf(at) < rankOf("no_new_work") && on("no_new_work") !== on("suspended"))
    next.push(`From ${on("no_new_work")} on no new paid work starts.`);
  if (rankOf(at) < rankOf("suspended"))
    next.push(`On ${on("suspended")} the team is suspended: training saves a checkpoint, and jobs and endpoints stop.`);
  return next.join(" ");
}

const HOW = "Pay it, or change the payment method, under Billing.";

/** Stores the notice of a step. */
function noticeOf(tx: Db, ctx: Ctx, step: LateStep, invoice: Overdue, rules: LateRules) {
  const { id, org, number } = invoice;
  const { late } = rules;
  const said = `${overdueText(invoice)}.`;
  const legal = late.legal_text ? ` ${late.legal_text}` : "";
  const notices = {
    notice: {
      type: "billing.late" as const,
      title: `Invoice ${number} is overdue`,
      body: `${said} ${HOW} ${nextText(invoice, step, rules)}${legal}`,
    },
    no_new_work: {
      type: "billing.late" as const,
      title: `No new paid work starts: invoice ${number} is unpaid`,
      body: `${said} What runs continues, and jobs wait in the queue. ${HOW} ${nextText(invoice, step, rules)}${legal}`,
    },
    suspended: {
      type: "billing.suspended" as const,
      title: `Your team is suspended: invoice ${number} is unpaid`,
      body: `${said} Training saves a checkpoint, jobs and endpoints stop, and API keys are refused. Nothing is deleted. ${HOW} Work resumes within a minute of the payment.${legal}`,
    },
  };
  return notifyPayers(tx, ctx, org, { subject: id, ...notices[step] });
}

/** Stores the notice of an invoice that is overdue besides an older one. */
export const noticeOfAnother = (tx: Db, ctx: Ctx, invoice: Overdue): Promise<BusMessage> =>
  notifyPayers(tx, ctx, invoice.org, {
    type: "billing.late",
    subject: invoice.id,
    title: `Invoice ${invoice.number} is overdue too`,
    body: `${overdueText(invoice)}. ${HOW}`,
  });

/** Where a team is, and where its invoices lead. */
interface Position {
  since: number | null;
  step: LateStep | null;
}

/** The position that the overdue invoices of a team lead to. */
function positionFor(oldest: Overdue | undefined, now: number, rules: LateRules): Position {
  return oldest ? { since: oldest.dueAt, step: stepOf(oldest, now, rules) } : { since: null, step: null };
}

/** Where a team is as stored, and the time that it was given, which may be over. */
export async function storedPosition(db: Db, org: string): Promise<Position & { moreTimeUntil: number }> {
  const [row] = await db
    .select({ since: billingAccount.lateSince, step: billingAccount.lateStep, until: billingAccount.moreTimeUntil })
    .from(billingAccount)
    .where(eq(billingAccount.org, org))
    .limit(1);
  return { since: row?.since ?? null, step: row?.step ?? null, moreTimeUntil: row?.until ?? 0 };
}

/** What changed for the work of a team. */
export interface Moved {
  messages: BusMessage[];
  /** The suspension began or ended. */
  hold: boolean;
}

/** Takes each step between two positions, once each and with its notice. */
async function goOn(
  tx: Db,
  ctx: Ctx,
  from: LateStep | null,
  to: LateStep,
  oldest: Overdue,
  rules: LateRules,
): Promise<BusMessage[]> {
  const messages: BusMessage[] = [];
  for (const step of STEPS.slice(rankOf(from) + 1, rankOf(to) + 1)) {
    if (step === "suspended") await holdUnpaid(tx, ctx, oldest.org, reasonText(oldest));
    messages.push(await noticeOf(tx, ctx, step, oldest, rules));
  }
  return messages;
}

/** Leads back after a payment, or when the team gets more time. A notice stopped nothing, so its end has no notice. */
async function goBack(
  tx: Db,
  ctx: Ctx,
  org: string,
  { from, to, rest }: { from: LateStep; to: LateStep | null; rest: string },
): Promise<Moved> {
  const held = await endUnpaid(tx, ctx, org);
  if (from === "notice") return { messages: [], hold: held };
  const starts =
    to === "no_new_work"
      ? "New paid work still waits, and so does what was stopped."
      : "Jobs start or resume from their checkpoints, and endpoints start.";
  const keys = held ? "API keys work again. " : "";
  const message = await notifyPayers(tx, ctx, org, {
    type: "billing.restored",
    subject: org,
    title: held ? "The suspension of your team is lifted" : "New work starts again",
    body: `${keys}${starts}${rest}`,
  });
  return { messages: [message], hold: held };
}

/** Moves a team to the position that its overdue invoices lead to, in the caller's transaction. */
export async function settleTeam(tx: Db, ctx: Ctx, org: string, settings: BillingSettings): Promise<Moved> {
  const now = ctx.clock.now();
  const [oldest] = settings.mode === "stripe" ? await readOverdue(tx, now, org) : [];
  const before = await storedPosition(tx, org);
  const rules = { late: settings.late, moreTimeUntil: before.moreTimeUntil };
  const after = positionFor(oldest, now, rules);
  const set = { lateSince: after.since, lateStep: after.step, updatedAt: now };
  await tx
    .insert(billingAccount)
    .values({ org, collection: settings.collection, ...set })
    .onConflictDoUpdate({ target: billingAccount.org, set });
  if (oldest && after.step !== null && rankOf(after.step) > rankOf(before.step)) {
    const messages = await goOn(tx, ctx, before.step, after.step, oldest, rules);
    return { messages, hold: after.step === "suspended" };
  }
  if (before.step !== null && rankOf(after.step) < rankOf(before.step))
    return goBack(tx, ctx, org, {
      from: before.step,
      to: after.step,
      rest: oldest ? ` ${overdueText(oldest)}. ${nextText(oldest, after.step, rules)}`.trimEnd() : "",
    });
  // The invoice that it was suspended for is paid, and the next one suspends it too.
  const stays = oldest !== undefined && after.step === "suspended" && !(await isWaived(tx, org, after.step));
  if (stays) await holdUnpaid(tx, ctx, org, reasonText(oldest));
  return { messages: [], hold: stays };
}

/** Whether a team is where its overdue invoices lead to, and its suspension names the oldest of them. */
export async function isSettled(
  db: Db,
  org: string,
  oldest: Overdue | undefined,
  now: number,
  late: BillingSettings["late"],
): Promise<boolean> {
  const before = await storedPosition(db, org);
  const after = positionFor(oldest, now, { late, moreTimeUntil: before.moreTimeUntil });
  if (before.since !== after.since || before.step !== after.step) return false;
  if (!oldest || after.step !== "suspended") return true;
  const hold = await activeHold(db, "unpaid", "organization", org);
  return hold === null || hold.reason === reasonText(oldest);
}

/** Whether an administrator lifted the suspension of a team although its invoice is unpaid: it gets time. */
export const isWaived = async (db: Db, org: string, step: LateStep | null): Promise<boolean> =>
  step === "suspended" && (await activeHold(db, "unpaid", "organization", org)) === null;
