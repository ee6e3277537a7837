/** Cases: the queue of the reviewers, one case with its history, and what owners see of those about their objects. */
import { and, asc, desc, eq, inArray } from "drizzle-orm";
import type { Actor, Ctx } from "../ctx.ts";
import { olderThan } from "../db/paging.ts";
import { organization, user } from "../db/schema/auth.ts";
import { moderationCase, moderationEntry } from "../db/schema/moderation.ts";
import type { Db } from "../db/types.ts";
import { notFound } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { requirePermission } from "../roles.ts";
import { type CaseQuery, type CaseRow, type EntryRow, type Finding, type FullCase, WAITING } from "./model.ts";
import { entersQueue } from "./review-notices.ts";

const MAX_ENTRIES = 500;

/** Stores a case in the caller's transaction. */
export async function insertCase(
  tx: Db,
  ctx: Ctx,
  given: Pick<
    CaseRow,
    "org" | "object" | "subject" | "datasetId" | "name" | "hash" | "ownerId" | "source" | "flagged"
  > & {
    findings: Finding[];
    categories?: string[];
  },
): Promise<CaseRow> {
  const row: CaseRow = {
    id: newId("moderationCase"),
    ...given,
    state: "open",
    categories: given.categories ?? [...new Set(given.findings.map(({ category }) => category))],
    decision: null,
    reason: null,
    decidedAt: null,
    erasing: false,
    createdAt: ctx.clock.now(),
  };
  await tx.insert(moderationCase).values(row);
  await entersQueue(tx);
  return row;
}

/** Adds to the history of a case in the caller's transaction. */
export async function addEntry(
  tx: Db,
  ctx: Ctx,
  actor: Pick<Actor, "userId">,
  entry: Pick<EntryRow, "caseId" | "kind" | "value" | "text">,
): Promise<string> {
  const id = newId("moderationEntry");
  await tx.insert(moderationEntry).values({ id, ...entry, userId: actor.userId, createdAt: ctx.clock.now() });
  return id;
}

/** Everything in the history of a case, oldest first. */
export const entriesOf = (db: Db, caseId: string): Promise<EntryRow[]> =>
  db
    .select()
    .from(moderationEntry)
    .where(eq(moderationEntry.caseId, caseId))
    .orderBy(asc(moderationEntry.createdAt), asc(moderationEntry.id))
    .limit(MAX_ENTRIES);

/** The row of a case, whoever asks. @throws AppError `moderation_case_not_found` */
export async function findCase(db: Db, id: string): Promise<CaseRow> {
  const [row] = await db.select().from(moderationCase).where(eq(moderationCase.id, id)).limit(1);
  if (!row) throw notFound("moderation_case", id);
  return row;
}

/** Rows with the names of organizations and people. */
async function withNames(ctx: Ctx, rows: CaseRow[], entries: EntryRow[]): Promise<FullCase[]> {
  if (rows.length === 0) return [];
  const people = [...new Set([...rows.map((row) => row.ownerId), ...entries.map((one) => one.userId)])];
  const orgs = [...new Set(rows.map((row) => row.org))];
  const users = await ctx.db.select({ id: user.id, email: user.email }).from(user).where(inArray(user.id, people));
  const names = await ctx.db
    .select({ id: organization.id, name: organization.name })
    .from(organization)
    .where(inArray(organization.id, orgs));
  const emails = new Map(users.map(({ id, email }) => [id, email]));
  return rows.map((row) => ({
    row,
    orgName: names.find(({ id }) => id === row.org)?.name ?? row.org,
    ownerEmail: emails.get(row.ownerId) ?? null,
    entries: entries
      .filter(({ caseId }) => caseId === row.id)
      .map((one) => ({ ...one, email: emails.get(one.userId) ?? null })),
  }));
}

/** Cases of all organizations, newest first; at most `limit + 1`. Reviewers only. */
export async function listCases(ctx: Ctx, actor: Actor, page: CaseQuery): Promise<FullCase[]> {
  requirePermission(actor, "review");
  const from = page.after ? await findCase(ctx.db, page.after) : null;
  const states = page.state === "waiting" ? [...WAITING] : page.state ? [page.state] : null;
  const rows = await ctx.db
    .select()
    .from(moderationCase)
    .where(and(states ? inArray(moderationCase.state, states) : undefined, olderThan(moderationCase, from)))
    .orderBy(desc(moderationCase.createdAt), desc(moderationCase.id))
    .limit(page.limit + 1);
  const ids = rows.map(({ id }) => id);
  const entries = ids.length
    ? await ctx.db
        .select()
        .from(moderationEntry)
        .where(inArray(moderationEntry.caseId, ids))
        .orderBy(asc(moderationEntry.createdAt), asc(moderationEntry.id))
    : [];
  return withNames(ctx, rows, entries);
}

/** One case with its history. Reviewers only. @throws AppError `moderation_case_not_found` */
export async function getCase(ctx: Ctx, actor: Actor, id: string): Promise<FullCase> {
  requirePermission(actor, "review");
  const row = await findCase(ctx.db, id);
  const [full] = await withNames(ctx, [row], await entriesOf(ctx.db, id));
  if (!full) throw notFound("moderation_case", id);
  return full;
}

/** Cases that a reviewer still has to look at, up to 100. */
export async function countWaiting(ctx: Ctx): Promise<number> {
  const rows = await ctx.db
    .select({ id: moderationCase.id })
    .from(moderationCase)
    .where(inArray(moderationCase.state, [...WAITING]))
    .limit(100);
  return rows.length;
}

/** What an owner may know of: what a check held, and everything that was decided. Reports alone are not shown. */
const shown = (row: CaseRow) => row.source === "check" || row.decidedAt !== null;

/** The cases about objects of the actor's organization, newest first; at most `limit + 1`. */
export async function listOwnCases(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<CaseRow[]> {
  const from = page.after ? (await ownCase(ctx, actor, page.after)).row : null;
  const rows = await ctx.db
    .select()
    .from(moderationCase)
    .where(and(eq(moderationCase.org, actor.org), olderThan(moderationCase, from)))
    .orderBy(desc(moderationCase.createdAt), desc(moderationCase.id))
    .limit(page.limit + 1);
  return rows.filter(shown);
}

/** A case about an object of the actor's organization. @throws AppError `moderation_decision_not_found` */
export async function ownCase(ctx: Ctx, actor: Actor, id: string): Promise<{ row: CaseRow; entries: EntryRow[] }> {
  const [row] = await ctx.db
    .select()
    .from(moderationCase)
    .where(and(eq(moderationCase.id, id), eq(moderationCase.org, actor.org)))
    .limit(1);
  if (!row || !shown(row)) throw notFound("moderation_decision", id);
  return { row, entries: await entriesOf(ctx.db, id) };
}
