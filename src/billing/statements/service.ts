/** Reads statements and credits: those of the actor's organization, and all of them for administrators. */
import { and, asc, desc, eq, lt, ne, type SQL } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { credit, statement, statementLine } from "../../db/schema/billing.ts";
import { notFound } from "../../errors.ts";
import type { PageQuery } from "../../lib/page.ts";
import { requirePermission } from "../../roles.ts";
import { type AllStatementsQuery, type StatementRow, type StatementView, statementView } from "./model.ts";

/** Statements that were kept back are for administrators only. */
const sent = (row: StatementRow) => row.state !== "failed";

async function page(ctx: Ctx, of: SQL | undefined, { limit, after }: PageQuery): Promise<StatementRow[]> {
  const [last] = after
    ? await ctx.db
        .select({ number: statement.number })
        .from(statement)
        .where(and(of, eq(statement.id, after)))
    : [];
  if (after && !last) throw notFound("statement", after);
  return ctx.db
    .select()
    .from(statement)
    .where(and(of, last ? lt(statement.number, last.number) : undefined))
    .orderBy(desc(statement.number))
    .limit(limit + 1);
}

/** The statements of the actor's organization, newest first; one more than `limit` when there are more. */
export async function listStatements(ctx: Ctx, actor: Actor, query: PageQuery): Promise<StatementRow[]> {
  requirePermission(actor, "usage.team");
  return page(ctx, and(eq(statement.org, actor.org), ne(statement.state, "failed")), query);
}

/** The statements of all organizations, newest first. Administrators only. */
export async function listAllStatements(ctx: Ctx, actor: Actor, query: AllStatementsQuery): Promise<StatementRow[]> {
  requireAdmin(actor);
  return page(ctx, query.month ? eq(statement.month, query.month) : undefined, query);
}

/** A statement with everything that a page, a CSV or a PDF shows. */
export interface Detail {
  row: StatementRow;
  view: StatementView;
  /** Name of the organization; its id when it was erased. */
  team: string;
}

/**
 * One statement of the actor's organization, or any for administrators.
 * @throws AppError `statement_not_found`
 */
export async function getStatement(ctx: Ctx, actor: Actor, id: string): Promise<Detail> {
  requirePermission(actor, "usage.team");
  const [row] = await ctx.db.select().from(statement).where(eq(statement.id, id)).limit(1);
  if (!row || (actor.role !== "admin" && (row.org !== actor.org || !sent(row)))) throw notFound("statement", id);
  const lines = await ctx.db
    .select()
    .from(statementLine)
    .where(eq(statementLine.statementId, id))
    .orderBy(asc(statementLine.position));
  const notes = await ctx.db.select().from(credit).where(eq(credit.statementId, id)).orderBy(asc(credit.createdAt));
  const [team] = await ctx.db
    .select({ name: organization.name })
    .from(organization)
    .where(eq(organization.id, row.org))
    .limit(1);
  return { row, view: statementView(row, lines, notes), team: team?.name ?? row.org };
}

/** Every closed statement of a month, by team. Administrators only. */
export async function statementsOfMonth(ctx: Ctx, actor: Actor, month: string): Promise<Detail[]> {
  requireAdmin(actor);
  const rows = await ctx.db
    .select({ id: statement.id, state: statement.state })
    .from(statement)
    .where(eq(statement.month, month))
    .orderBy(asc(statement.number));
  const found: Detail[] = [];
  for (const { id, state } of rows) if (state !== "failed") found.push(await getStatement(ctx, actor, id));
  return found;
}

/** The credits and refunds of the actor's organization, newest first. */
export async function listCredits(ctx: Ctx, actor: Actor, org = actor.org): Promise<(typeof credit.$inferSelect)[]> {
  requirePermission(actor, "usage.team");
  if (org !== actor.org) requireAdmin(actor);
  return ctx.db.select().from(credit).where(eq(credit.org, org)).orderBy(desc(credit.createdAt)).limit(100);
}
