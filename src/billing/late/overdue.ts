/** Unpaid invoices past their due date, and the sentences about them. */
import { and, asc, eq, gt, lte, sql } from "drizzle-orm";
import { organization } from "../../db/schema/auth.ts";
import { statement } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { dollars } from "../meters/money.ts";
import { dayAt } from "../meters/months.ts";

/** An unpaid invoice past its due date. Amounts in cents. */
export interface Overdue {
  id: string;
  org: string;
  number: string;
  dueAt: number;
  unpaidCents: number;
}

/** Every open invoice whose due date has passed becomes `past_due`. */
export async function markOverdue(tx: Db, now: number): Promise<void> {
  await tx
    .update(statement)
    .set({ state: "past_due" })
    .where(and(eq(statement.state, "open"), eq(statement.mode, "stripe"), lte(statement.dueAt, now)));
}

/**
 * The overdue invoices of organizations that exist, the oldest first.
 * @param org only of this one
 */
export async function readOverdue(db: Db, now: number, org?: string): Promise<Overdue[]> {
  const unpaidCents = sql<number>`${statement.totalCents} - ${statement.paidCents}`;
  return db
    .select({
      id: statement.id,
      org: statement.org,
      number: statement.number,
      dueAt: sql<number>`${statement.dueAt}`,
      unpaidCents,
    })
    .from(statement)
    .innerJoin(organization, eq(organization.id, statement.org))
    .where(
      and(
        eq(statement.state, "past_due"),
        eq(statement.mode, "stripe"),
        lte(statement.dueAt, now),
        gt(unpaidCents, 0),
        org === undefined ? undefined : eq(statement.org, org),
      ),
    )
    .orderBy(asc(statement.dueAt), asc(statement.number));
}

/** Why a team is suspended; without the amount, which payments in part change. */
export const reasonText = ({ number, dueAt }: Overdue): string =>
  `Invoice ${number} was due on ${dayAt(dueAt)} and is unpaid.`;

/** `Invoice 2026-000042 was due on 2026-12-17, and $12.34 of it is unpaid`. */
export const overdueText = ({ number, dueAt, unpaidCents }: Overdue): string =>
  `Invoice ${number} was due on ${dayAt(dueAt)}, and ${dollars(unpaidCents)} of it is unpaid`;
