/** What budgets can be for, and which of them apply to a piece of work. */
import { and, eq, or, type SQL } from "drizzle-orm";
import { budget } from "../../db/schema/billing.ts";

export type BudgetRow = typeof budget.$inferSelect;
export type Scope = BudgetRow["scope"];

/** Whom a use belongs to. */
export interface BudgetScopes {
  org: string;
  userId: string | null;
  keyId: string | null;
  jobId: string | null;
  sweepId: string | null;
}

/** The id that a budget of each scope has when it applies to this work; null = none does. */
const idsOf = ({ org, userId, keyId, jobId, sweepId }: BudgetScopes): Record<Scope, string | null> => ({
  team: org,
  installation: org,
  user: userId,
  key: keyId,
  job: jobId,
  sweep: sweepId,
});

/** Whether a budget applies to work of these scopes. */
export const appliesTo = ({ org, scope, scopeId }: BudgetRow, of: BudgetScopes): boolean =>
  org === of.org && idsOf(of)[scope] === scopeId;

/** SQL: the budgets that apply to work of these scopes. */
export function whereApplies(of: BudgetScopes): SQL | undefined {
  const each = Object.entries(idsOf(of)) as [Scope, string | null][];
  return and(
    eq(budget.org, of.org),
    or(...each.map(([scope, id]) => (id === null ? undefined : and(eq(budget.scope, scope), eq(budget.scopeId, id))))),
  );
}
