/** The regular look at budgets: notices at their thresholds, which requests are refused, and holds that are renewed. */
import { sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { budget, budgetUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { recordEvent, recordForAll } from "../../notices/events/store.ts";
import { budgetMarks } from "./limits.ts";
import { isLow, renewHolds } from "./reserve.ts";
import { THRESHOLDS } from "./service.ts";
import { type BudgetState, percentUsed, readBudgets, readHolds } from "./state.ts";
import { budgetName, limitText, reachedText, sentence } from "./texts.ts";

const EVERY_MS = 2000;

const thresholdOf = (state: BudgetState): number => THRESHOLDS.findLast((each) => percentUsed(state) >= each) ?? 0;

/** Notifies who manages the team, and the user of the budget, once per threshold and period. */
async function announce(tx: Db, ctx: Ctx, state: BudgetState, threshold: number): Promise<BusMessage[]> {
  const { row, period } = state;
  const name = budgetName(row, period);
  const all = threshold === 100;
  const event = {
    type: all ? ("billing.budget.exhausted" as const) : ("billing.budget.threshold" as const),
    subject: row.id,
    title: all ? `${sentence(name)} is used up` : `${threshold}% of ${name} is used`,
    body: all
      ? `The limit is ${limitText(row)}. Running work saves a checkpoint and waits, and requests to models are refused, until the limit is raised${row.period === "month" ? " or the next month begins" : ""}.`
      : `The limit is ${limitText(row)}. When it is reached, running work saves a checkpoint and waits.`,
    path: "/usage/budgets",
  };
  const roles = ["owner", "admin"];
  const messages = [await recordForAll(tx, ctx, { kind: "some", orgs: [row.org], roles }, event)];
  const person = await personOf(tx, state);
  if (person !== null) messages.push(await recordEvent(tx, ctx, { ...event, org: row.org, userId: person }));
  await tx
    .insert(budgetUse)
    .values({ budgetId: row.id, period, notified: threshold })
    .onConflictDoUpdate({ target: [budgetUse.budgetId, budgetUse.period], set: { notified: threshold } });
  return messages;
}

/** The user whose budget it is, unless the notice reaches them as a manager of the team. */
async function personOf(tx: Db, { row }: BudgetState): Promise<string | null> {
  const sources = {
    user: sql`select ${row.scopeId} as id`,
    key: sql`select user_id as id from api_key where id = ${row.scopeId}`,
    job: sql`select created_by as id from job where id = ${row.scopeId}`,
    sweep: sql`select created_by as id from sweep where id = ${row.scopeId}`,
  };
  if (row.scope === "team" || row.scope === "installation") return null;
  const [found] = await tx.all<{ id: string }>(sql`select owner.id from (${sources[row.scope]}) owner
    join member on member.user_id = owner.id and member.organization_id = ${row.org}
    where member.role not in ('owner', 'admin')`);
  return found?.id ?? null;
}

/** Renews holds and announces thresholds where something is due, in one transaction. */
async function settle(ctx: Ctx, due: boolean, renew: boolean): Promise<void> {
  if (!due && !renew) return;
  const messages = await ctx.write(async (tx) => {
    const now = ctx.clock.now();
    if (renew) await renewHolds(tx, now);
    const found: BusMessage[] = [];
    for (const state of due ? await readBudgets(tx, now, await readHolds(tx, now)) : []) {
      const threshold = thresholdOf(state);
      if (threshold > state.notified) found.push(...(await announce(tx, ctx, state, threshold)));
    }
    return found;
  });
  emitAll(ctx.bus, messages);
}

const keyOf = ({ row }: BudgetState) => `${row.scope} ${row.scopeId}`;

/** One look at all budgets. What is exhausted is known to the gateway and the endpoints from then on. */
export async function watchBudgets(ctx: Ctx): Promise<void> {
  const now = ctx.clock.now();
  const [any] = await ctx.db.select({ id: budget.id }).from(budget).limit(1);
  const holds = await readHolds(ctx.db, now);
  const states = any ? await readBudgets(ctx.db, now, holds) : [];
  const marks = budgetMarks(ctx);
  const exhausted = new Map(
    states.filter((state) => percentUsed(state) === 100).map((state) => [keyOf(state), reachedText(state)]),
  );
  const orgs = new Set(
    states
      .filter((state) => exhausted.has(keyOf(state)) !== marks.exhausted.has(keyOf(state)))
      .map(({ row }) => row.org),
  );
  marks.exhausted = exhausted;
  for (const org of orgs) ctx.bus.emit("budget.changed", { org });
  await settle(
    ctx,
    states.some((state) => thresholdOf(state) > state.notified),
    holds.some((hold) => hold.chargedFrom !== null && isLow(hold)),
  );
}

/** Starts the regular look. @returns a function that stops it */
export const startBudgets = (ctx: Ctx): (() => Promise<void>) =>
  startRounds(ctx, EVERY_MS, "budgets could not be checked", () => watchBudgets(ctx));

/** Why a budget of an actor, or of who started something, is used up; null = none is. */
export function exhaustedFor(ctx: Ctx, { org, userId, keyId }: Pick<Actor, "org" | "userId" | "keyId">): string | null {
  const { exhausted } = budgetMarks(ctx);
  if (exhausted.size === 0) return null;
  for (const key of [`team ${org}`, `installation ${org}`, `user ${userId}`, `key ${keyId}`]) {
    const why = exhausted.get(key);
    if (why !== undefined) return why;
  }
  return null;
}

/**
 * Refuses a request to a model when a budget of the key, the user or the team is used up. Costs a look into memory.
 * @throws AppError `insufficient_quota` (429), as OpenAI answers
 */
export function requireBudget(ctx: Ctx, actor: Actor): void {
  const why = exhaustedFor(ctx, actor);
  if (why === null) return;
  throw new AppError("over_quota", "insufficient_quota", `You exceeded your current quota: ${why}.`);
}
