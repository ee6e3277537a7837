/** Money that is not on a statement yet, and margins by provider, as the pages of billing show them. */
import { and, asc, eq, gte, isNull, lt, type SQL, sql } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { credit, meterInterval, statement } from "../../db/schema/billing.ts";
import { requirePermission } from "../../roles.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import { billingSettings } from "../settings/service.ts";
import { usableCredits } from "./credit-use.ts";

/** What a team used in a month so far, and its credits, in micro-dollars. */
export interface TeamMoney {
  month: string;
  monthMicros: number;
  creditMicros: number;
}

const left = sql<number>`coalesce(sum(${credit.micros} - ${credit.usedMicros}), 0)`;
const cost = sql<number>`coalesce(sum(${meterInterval.micros}), 0)`;
const within = ({ from, to }: { from: number; to: number }): SQL | undefined =>
  and(gte(meterInterval.from, from), lt(meterInterval.from, to));

/** The current month of the actor's organization. */
export async function teamMoney(ctx: Ctx, actor: Actor): Promise<TeamMoney> {
  requirePermission(actor, "usage.team");
  const now = ctx.clock.now();
  const month = monthAt(now);
  const [used] = await ctx.db
    .select({ micros: cost })
    .from(meterInterval)
    .where(and(eq(meterInterval.org, actor.org), within(monthRange(month))));
  const [credits] = await ctx.db.select({ micros: left }).from(credit).where(usableCredits(actor.org, now));
  return { month, monthMicros: used?.micros ?? 0, creditMicros: credits?.micros ?? 0 };
}

export interface TeamRow extends TeamMoney {
  org: string;
  name: string;
  unbilledMicros: number;
  unpaidCents: number;
}

/** The outer organization of a subquery, whose tables may have an `id` of their own. */
const ORG = sql`organization.id`;

/** Every team with its money, the largest unbilled sum first. Administrators only. */
export async function allTeams(ctx: Ctx, actor: Actor): Promise<TeamRow[]> {
  requireAdmin(actor);
  const now = ctx.clock.now();
  const month = monthAt(now);
  const { from, to } = monthRange(month);
  const { first_month: first } = await billingSettings(ctx);
  const since = first === null ? now : monthRange(first).from;
  const rows = await ctx.db
    .select({
      org: organization.id,
      name: organization.name,
      monthMicros: sql<number>`(select coalesce(sum(micros), 0) from meter_interval
        where org = ${ORG} and from_ms >= ${from} and from_ms < ${to})`,
      unbilledMicros: sql<number>`(select coalesce(sum(micros), 0) from meter_interval
        where org = ${ORG} and statement_id is null and from_ms >= ${since})
        + (select coalesce(sum(micros), 0) from late_charge where org = ${ORG} and billed_on is null)`,
      creditMicros: sql<number>`(select coalesce(sum(micros - used_micros), 0) from credit
        where org = ${ORG} and kind = 'credit' and state = 'done'
          and (expires_at is null or expires_at > ${now}))`,
      unpaidCents: sql<number>`(select coalesce(sum(total_cents - paid_cents), 0) from statement
        where org = ${ORG} and state in ('open', 'past_due'))`,
    })
    .from(organization)
    .orderBy(asc(organization.name));
  return rows.map((row) => ({ ...row, month })).sort((a, b) => b.unbilledMicros - a.unbilledMicros);
}

export interface Margin {
  provider: string;
  chargedMicros: number;
  /** What the provider charged; 0 for own machines. */
  costMicros: number;
}

/** What a month charged by provider, and what the provider charged. Administrators only. */
export async function marginsOf(ctx: Ctx, actor: Actor, month: string): Promise<Margin[]> {
  requireAdmin(actor);
  const provider = sql<string>`coalesce(${meterInterval.provider}, '')`;
  return ctx.db
    .select({
      provider: provider.as("name"),
      chargedMicros: cost,
      costMicros: sql<number>`sum(iif(${meterInterval.meter} = 'provider_micros', ${meterInterval.quantity}, 0))`,
    })
    .from(meterInterval)
    .where(within(monthRange(month)))
    .groupBy(sql`name`)
    .orderBy(sql`2 desc`);
}

export interface MonthToClose {
  month: string;
  teams: number;
  micros: number;
}

/** Months with something that is on no statement, oldest first; the current one is the last. Administrators only. */
export async function monthsToClose(ctx: Ctx, actor: Actor): Promise<MonthToClose[]> {
  requireAdmin(actor);
  const { first_month: first } = await billingSettings(ctx);
  if (first === null) return [];
  const month = sql<string>`strftime('%Y-%m', ${meterInterval.from} / 1000, 'unixepoch')`;
  return ctx.db
    .select({ month: month.as("month"), teams: sql<number>`count(distinct ${meterInterval.org})`, micros: cost })
    .from(meterInterval)
    .where(and(isNull(meterInterval.statementId), gte(meterInterval.from, monthRange(first).from)))
    .groupBy(sql`month`)
    .orderBy(sql`month`);
}

/** Statements that were kept back. Administrators only. */
export async function keptBackStatements(ctx: Ctx, actor: Actor): Promise<{ number: string; error: string | null }[]> {
  requireAdmin(actor);
  return ctx.db
    .select({ number: statement.number, error: statement.error })
    .from(statement)
    .where(eq(statement.state, "failed"));
}
