/**
 * Holds that are in force: who is suspended or about to be deleted. The refusals of requests, the queue and the
 * endpoints read them, so nothing is lost when the server stops between a suspension and its effects.
 */
import { and, eq, inArray, isNull, or, type SQL, sql } from "drizzle-orm";
import type { SQLiteColumn } from "drizzle-orm/sqlite-core";
import type { Ctx, Hold } from "../../ctx.ts";
import { hold } from "../../db/schema/holds.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { formatDate } from "../../lib/text/format.ts";

type HoldRow = typeof hold.$inferSelect;

/** The hold that says most first: a suspension before a deletion, the account before the organization. */
const KINDS: Hold["kind"][] = ["suspended", "deactivated", "unpaid", "deletion"];
const rank = (one: Pick<Hold, "kind" | "subject">) => KINDS.indexOf(one.kind) * 2 + (one.subject === "user" ? 0 : 1);

const shown = ({ kind, subject, reason, until }: HoldRow): Hold => ({ kind, subject, reason, until });

/** The hold on an account in an organization; null without one. */
export async function holdOn(db: Db, account: { userId: string; org: string }): Promise<Hold | null> {
  const rows = await db
    .select()
    .from(hold)
    .where(
      and(
        isNull(hold.endedAt),
        or(
          and(eq(hold.subject, "user"), eq(hold.subjectId, account.userId)),
          and(eq(hold.subject, "organization"), eq(hold.subjectId, account.org)),
        ),
      ),
    )
    .limit(8);
  const [first] = rows.sort((a, b) => rank(a) - rank(b));
  return first ? shown(first) : null;
}

/** The row of a hold that is in force; null without one. */
export async function activeHold(
  db: Db,
  kind: Hold["kind"],
  subject: Hold["subject"],
  id: string,
): Promise<HoldRow | null> {
  const [row] = await db
    .select()
    .from(hold)
    .where(and(eq(hold.kind, kind), eq(hold.subject, subject), eq(hold.subjectId, id), isNull(hold.endedAt)))
    .limit(1);
  return row ?? null;
}

/** The holds in force on several users or organizations, by their id. */
export async function holdsOf(db: Db, subject: Hold["subject"], ids: string[]): Promise<Map<string, Hold[]>> {
  if (ids.length === 0) return new Map();
  const rows = await db
    .select()
    .from(hold)
    .where(and(eq(hold.subject, subject), inArray(hold.subjectId, ids), isNull(hold.endedAt)));
  const found = new Map<string, Hold[]>();
  for (const row of rows) found.set(row.subjectId, [...(found.get(row.subjectId) ?? []), shown(row)]);
  return found;
}

/** The refusal of a suspended or deactivated user who proved to be the owner of the account. */
export async function suspendedError(ctx: Ctx, userId: string): Promise<AppError> {
  const row =
    (await activeHold(ctx.db, "suspended", "user", userId)) ??
    (await activeHold(ctx.db, "deactivated", "user", userId));
  return heldError(ctx, row ? shown(row) : { kind: "suspended", subject: "user", reason: "", until: null });
}

/** Everything that is held, for loops that look at many objects at once. */
export interface Held {
  /** The hold on what `userId` created in `org`; null without one. */
  of(userId: string, org: string): Hold | null;
}

export async function readHeld(db: Db): Promise<Held> {
  const rows = await db.select().from(hold).where(isNull(hold.endedAt));
  const held = new Map<string, Hold>();
  for (const row of rows.sort((a, b) => rank(b) - rank(a))) held.set(row.subjectId, shown(row));
  return { of: (userId, org) => held.get(userId) ?? held.get(org) ?? null };
}

/** The condition that neither who created a row nor its organization is held. */
export function notHeld(columns: { createdBy: SQLiteColumn; org: SQLiteColumn }): SQL {
  return sql`not exists (select 1 from ${hold} where ${hold.endedAt} is null and (
    (${hold.subject} = 'user' and ${hold.subjectId} = ${columns.createdBy})
    or (${hold.subject} = 'organization' and ${hold.subjectId} = ${columns.org})))`;
}

/** Why work waits or endpoints are stopped, as a sentence. */
export function heldMessage({ kind, subject }: Pick<Hold, "kind" | "subject">): string {
  const who = subject === "user" ? "The account that created it" : "Its organization";
  if (kind === "deletion") return `${who} is about to be deleted`;
  if (kind === "unpaid") return `${who} is suspended for an unpaid invoice`;
  return `${who} is ${kind}`;
}

const sentence = (text: string) => (text === "" ? "" : ` Reason: ${text}${/[.!?]$/.test(text) ? "" : "."}`);

/** The refusal of a request because of a hold, with the address to write to. */
export function heldError(ctx: Ctx, { kind, subject, reason, until }: Hold): AppError {
  const who = subject === "user" ? "This account" : "This organization";
  const contact = ctx.config.contact_address;
  const ask = contact ? ` Contact ${contact}.` : " Contact an administrator of this installation.";
  if (kind === "unpaid")
    return new AppError(
      "forbidden",
      "account_suspended",
      `${who} is suspended.${sentence(reason)} Nothing is deleted. Pay it under Billing (/billing): work resumes within a minute.`,
    );
  if (kind !== "deletion") {
    const end = until === null ? "" : ` until ${formatDate(until)}`;
    return new AppError(
      "forbidden",
      "account_suspended",
      `${who} is ${kind}${end}.${sentence(reason)} Nothing is deleted.${ask}`,
    );
  }
  return new AppError(
    "forbidden",
    "deletion_scheduled",
    `${who} is scheduled for deletion on ${formatDate(until ?? 0)}: data can be read and exported, and no new work starts.${ask}`,
  );
}
