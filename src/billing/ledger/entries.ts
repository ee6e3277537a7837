/** Books money: double entry, each transaction once, and its entries add up to 0. */
import { eq } from "drizzle-orm";
import { ledgerEntry } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";

/** The accounts of an organization. Assets and expenses grow by debit (positive), income by credit (negative). */
const ACCOUNTS = {
  unbilled: "used and not on a statement yet",
  receivable: "on a statement and not paid",
  cash: "paid",
  revenue: "income from use",
  credits: "credits given and used",
  refunds: "paid back",
  fees: "late fees and interest",
  tax: "tax collected",
  rounding: "difference between exact sums and whole cents",
  written_off: "given up",
} as const;
type Account = keyof typeof ACCOUNTS;

/**
 * Books a transaction. One that was booked before changes nothing.
 * @param name what it books, such as `statement stm_…`
 * @param entries micro-dollars by account, debit positive; must add up to 0
 * @returns false when it had been booked
 */
export async function book(
  tx: Db,
  { name, org, at }: { name: string; org: string; at: number },
  entries: Partial<Record<Account, number>>,
): Promise<boolean> {
  const rows = Object.entries(entries).filter(([, micros]) => micros !== 0);
  const sum = rows.reduce((total, [, micros]) => total + micros, 0);
  if (sum !== 0) throw new Error(`the entries of ${name} add up to ${sum}`);
  const [known] = await tx
    .select({ n: ledgerEntry.n })
    .from(ledgerEntry)
    .where(eq(ledgerEntry.transaction, name))
    .limit(1);
  if (known || rows.length === 0) return !known;
  await tx
    .insert(ledgerEntry)
    .values(rows.map(([account, micros]) => ({ transaction: name, org, account, micros, at })));
  return true;
}
