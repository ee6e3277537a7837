/** Budgets: set, changed, deleted and listed. A new one counts what its period has used so far. */
import { and, desc, eq, type SQL, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { apiKey, member, organization } from "../../db/schema/auth.ts";
import { budget, budgetUse } from "../../db/schema/billing.ts";
import { job } from "../../db/schema/jobs.ts";
import { sweep } from "../../db/schema/sweeps.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { can, requirePermission } from "../../roles.ts";
import { microsFrom } from "../meters/money.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import { type BudgetView, budgetView, type ChangeBudget, type CreateBudget, type ListBudgets } from "./model.ts";
import type { BudgetRow, Scope } from "./scopes.ts";
import { type BudgetState, percentUsed, readBudgets, readHolds } from "./state.ts";

const HOUR_S = 3600;
/** Thresholds in percent at which people are notified. */
export const THRESHOLDS = [50, 80, 100] as const;

/** Owner of a key, job or sweep, or the user themselves. @throws AppError `…_not_found`, as for unknown ids */
async function ownerOf(db: Db, org: string, scope: Scope, id: string): Promise<string | null> {
  if (scope === "team" || scope === "installation") {
    const [found] = await db.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
    if (!found) throw notFound("organization", id).withParam("scope_id", "invalid");
    return null;
  }
  const sources: Record<typeof scope, SQL> = {
    user: sql`select user_id as owner from ${member} where user_id = ${id} and organization_id = ${org}`,
    key: sql`select user_id as owner from ${apiKey} where id = ${id} and org = ${org}`,
    job: sql`select created_by as owner from ${job} where id = ${id} and org = ${org} and deleted_at is null`,
    sweep: sql`select created_by as owner from ${sweep} where id = ${id} and org = ${org}`,
  };
  const [found] = await db.all<{ owner: string }>(sources[scope]);
  if (!found) throw notFound(scope, id).withParam("scope_id", "invalid");
  return found.owner;
}

/** Whom the work of a scope belongs to, as a condition on intervals. */
function intervalsOf({ org, scope, scopeId }: Pick<BudgetRow, "org" | "scope" | "scopeId">): SQL {
  const mine: Record<Scope, SQL> = {
    team: sql`1`,
    installation: sql`1`,
    user: sql`user_id = ${scopeId}`,
    key: sql`key_id = ${scopeId}`,
    job: sql`job_id = ${scopeId}`,
    sweep: sql`job_id in (select job_id from trial where sweep_id = ${scopeId})`,
  };
  return sql`org = ${org} and ${mine[scope]}`;
}

/** Counts what was used in the current period before the budget existed, in the transaction that creates it. */
async function countEarlier(tx: Db, row: BudgetRow, now: number): Promise<void> {
  const month = row.period === "month" ? monthRange(monthAt(now)) : { from: 0, to: Number.MAX_SAFE_INTEGER };
  const [sum] = await tx.all<{ micros: number; seconds: number }>(sql`
    select coalesce(sum(micros), 0) as micros,
      coalesce(sum(case meter when 'gpu_seconds' then quantity else 0 end), 0) as seconds
    from meter_interval where ${intervalsOf(row)} and from_ms >= ${month.from} and from_ms < ${month.to}`);
  await tx.insert(budgetUse).values({
    budgetId: row.id,
    period: row.period === "month" ? monthAt(now) : "total",
    micros: sum?.micros ?? 0,
    gpuSeconds: sum?.seconds ?? 0,
  });
}

/** The state of one budget. @throws AppError `budget_not_found` */
async function stateOf(ctx: Ctx, db: Db, id: string): Promise<BudgetState> {
  const now = ctx.clock.now();
  const [state] = await readBudgets(db, now, await readHolds(db, now), eq(budget.id, id));
  if (!state) throw notFound("budget", id);
  return state;
}

/** Thresholds that are already passed are not announced again, those ahead are. */
async function noteThresholds(tx: Db, state: BudgetState): Promise<void> {
  const percent = percentUsed(state);
  const notified = THRESHOLDS.findLast((each) => percent >= each) ?? 0;
  await tx
    .insert(budgetUse)
    .values({ budgetId: state.row.id, period: state.period, notified })
    .onConflictDoUpdate({ target: [budgetUse.budgetId, budgetUse.period], set: { notified } });
}

/** The limits of a request in the units of the database; fields that are absent stay absent. */
function limitsOf({ limit_usd, limit_gpu_hours }: ChangeBudget): Partial<BudgetRow> {
  return {
    ...(limit_usd === undefined ? {} : { limitMicros: limit_usd === null ? null : microsFrom(limit_usd) }),
    ...(limit_gpu_hours === undefined
      ? {}
      : { limitGpuSeconds: limit_gpu_hours === null ? null : Math.round(limit_gpu_hours * HOUR_S) }),
  };
}

function requireLimit({ limitMicros, limitGpuSeconds }: Pick<BudgetRow, "limitMicros" | "limitGpuSeconds">): void {
  if (limitMicros !== null || limitGpuSeconds !== null) return;
  throw new AppError("invalid", "budget_without_limit", "Set limit_usd, limit_gpu_hours, or both.", {
    param: "limit_usd",
  });
}

const facts = ({ scope, scopeId, period, limitMicros, limitGpuSeconds }: BudgetRow) => ({
  scope,
  scope_id: scopeId,
  period,
  limit_micros: limitMicros,
  limit_gpu_seconds: limitGpuSeconds,
});

/** The organization that a budget is for, and whose work. @throws AppError `scope_id_missing`, `scope_id_unexpected` */
function targetOf(actor: Actor, given: CreateBudget): { org: string; scopeId: string } {
  const wrong = (code: string, message: string) => new AppError("invalid", code, message, { param: "scope_id" });
  if (given.scope === "team") {
    if (given.scope_id && given.scope_id !== actor.org)
      throw wrong("scope_id_unexpected", "A budget of the team has no scope_id: it is for your own team.");
    return { org: actor.org, scopeId: actor.org };
  }
  if (!given.scope_id) throw wrong("scope_id_missing", `Name the ${given.scope} that the budget is for in scope_id.`);
  return { org: given.scope === "installation" ? given.scope_id : actor.org, scopeId: given.scope_id };
}

/**
 * Sets a budget in the caller's transaction. Who manages the team may set any, others one for their own keys, jobs and
 * sweeps; `installation` is for administrators of the installation.
 * @throws AppError `permission_denied`, `admin_only`, `budget_exists`, `budget_without_limit`, `…_not_found`
 */
export async function insertBudget(tx: Db, ctx: Ctx, actor: Actor, given: CreateBudget): Promise<BudgetState> {
  if (given.scope === "installation") requireAdmin(actor);
  const now = ctx.clock.now();
  const { org, scopeId } = targetOf(actor, given);
  const row: BudgetRow = {
    id: newId("budget"),
    org,
    scope: given.scope,
    scopeId,
    period: given.period,
    limitMicros: null,
    limitGpuSeconds: null,
    ...limitsOf(given),
    createdBy: actor.userId,
    createdAt: now,
    updatedAt: now,
  };
  requireLimit(row);
  const owner = await ownerOf(tx, org, row.scope, scopeId);
  const own = row.scope !== "user" && owner === actor.userId;
  if (row.scope !== "installation" && !own) requirePermission(actor, "team.manage");
  const [made] = await tx
    .insert(budget)
    .values(row)
    .onConflictDoNothing({ target: [budget.org, budget.scope, budget.scopeId, budget.period] })
    .returning({ id: budget.id });
  if (!made)
    throw new AppError("conflict", "budget_exists", "There is such a budget already. Change its limit instead.", {
      param: "scope",
    });
  await countEarlier(tx, row, now);
  const state = await stateOf(ctx, tx, row.id);
  await noteThresholds(tx, state);
  await audit(tx, ctx, { ...actor, org }, "budget.create", row.id, facts(row));
  return state;
}

/** Sets a budget; see `insertBudget`. */
export async function createBudget(ctx: Ctx, actor: Actor, given: CreateBudget): Promise<BudgetView> {
  const state = await ctx.write((tx) => insertBudget(tx, ctx, actor, given));
  ctx.bus.emit("budget.changed", { org: state.row.org });
  return budgetView(state);
}

/** SQL: the budgets that an actor sees: all of the team with `usage.team`, otherwise those that apply to them. */
function visibleTo(actor: Actor): SQL | undefined {
  const { org, userId } = actor;
  if (can(actor, "usage.team") || can(actor, "team.manage")) return eq(budget.org, org);
  return sql`${budget.org} = ${org} and (${budget.scope} in ('team', 'installation')
    or (${budget.scope} = 'user' and ${budget.scopeId} = ${userId})
    or (${budget.scope} = 'key' and ${budget.scopeId} in (select id from api_key where user_id = ${userId}))
    or (${budget.scope} = 'job' and ${budget.scopeId} in (select id from job where created_by = ${userId}))
    or (${budget.scope} = 'sweep' and ${budget.scopeId} in (select id from sweep where created_by = ${userId})))`;
}

/** A budget that the actor sees; administrators of the installation see all. @throws AppError `budget_not_found` */
async function find(db: Db, actor: Actor, id: string): Promise<BudgetRow> {
  const [row] = await db
    .select()
    .from(budget)
    .where(and(eq(budget.id, id), can(actor, "installation") ? undefined : visibleTo(actor)))
    .limit(1);
  if (!row) throw notFound("budget", id.slice(0, 100));
  return row;
}

export async function getBudget(ctx: Ctx, actor: Actor, id: string): Promise<BudgetView> {
  const { id: found } = await find(ctx.db, actor, id);
  return budgetView(await stateOf(ctx, ctx.db, found));
}

/** Budgets that the actor sees, newest first; one more than `limit` shows that there is another page. */
export async function listBudgets(ctx: Ctx, actor: Actor, query: ListBudgets): Promise<BudgetView[]> {
  const { scope, scope_id, organization: org, after, limit } = query;
  if (org !== undefined && org !== actor.org) requireAdmin(actor);
  const from = after ? await find(ctx.db, actor, after) : null;
  const now = ctx.clock.now();
  const which = and(
    org === undefined || org === actor.org ? visibleTo(actor) : eq(budget.org, org),
    scope ? eq(budget.scope, scope) : undefined,
    scope_id ? eq(budget.scopeId, scope_id) : undefined,
    olderThan(budget, from),
  );
  const rows = await ctx.db
    .select({ id: budget.id })
    .from(budget)
    .where(which)
    .orderBy(desc(budget.createdAt), desc(budget.id))
    .limit(limit + 1);
  if (rows.length === 0) return [];
  const ids = rows.map(({ id }) => id);
  const holds = await readHolds(ctx.db, now, org ?? actor.org);
  const states = await readBudgets(ctx.db, now, holds, sql`${budget.id} in ${ids}`);
  const byId = new Map(states.map((state) => [state.row.id, state]));
  return ids.flatMap((id) => byId.get(id) ?? []).map(budgetView);
}

/** Whether a change only takes away: no limit becomes higher or is removed. */
function lowers(row: BudgetRow, next: Partial<BudgetRow>): boolean {
  const not = (before: number | null, after: number | null | undefined) =>
    after === undefined || before === null || (after !== null && after <= before);
  return not(row.limitMicros, next.limitMicros) && not(row.limitGpuSeconds, next.limitGpuSeconds);
}

/**
 * Refuses a change by somebody who may not make it: budgets of the installation are for its administrators; who owns a
 * key, job or sweep may lower its budget, and change one that they set themselves.
 */
async function requireChange(tx: Db, actor: Actor, row: BudgetRow, lowered: boolean): Promise<void> {
  if (row.scope === "installation") return requireAdmin(actor);
  const owner = await ownerOf(tx, row.org, row.scope, row.scopeId).catch(() => null);
  if (row.scope !== "user" && owner === actor.userId && (lowered || row.createdBy === actor.userId)) return;
  requirePermission(actor, "team.manage");
}

/**
 * Changes the limits of a budget; an absent field stays.
 * @throws AppError `budget_without_limit`, `permission_denied`
 */
export async function changeBudget(ctx: Ctx, actor: Actor, id: string, change: ChangeBudget): Promise<BudgetView> {
  const limits = limitsOf(change);
  const state = await ctx.write(async (tx) => {
    const row = await find(tx, actor, id);
    await requireChange(tx, actor, row, lowers(row, limits));
    requireLimit({ ...row, ...limits });
    await tx
      .update(budget)
      .set({ ...limits, updatedAt: ctx.clock.now() })
      .where(eq(budget.id, id));
    const changed = await stateOf(ctx, tx, id);
    await noteThresholds(tx, changed);
    await audit(tx, ctx, { ...actor, org: row.org }, "budget.update", id, facts(changed.row));
    return changed;
  });
  ctx.bus.emit("budget.changed", { org: state.row.org });
  return budgetView(state);
}

/** Deletes a budget: nothing is limited by it any more, and what was used stays in the ledger. */
export async function deleteBudget(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const { org } = await ctx.write(async (tx) => {
    const row = await find(tx, actor, id);
    await requireChange(tx, actor, row, false);
    await tx.delete(budget).where(eq(budget.id, id));
    await audit(tx, ctx, { ...actor, org: row.org }, "budget.delete", id, facts(row));
    return row;
  });
  ctx.bus.emit("budget.changed", { org });
}
