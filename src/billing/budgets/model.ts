/** Requests and answers of budgets. Dollars and hours here, micro-dollars and seconds in the database. */
import * as v from "valibot";
import { PageQuery } from "../../lib/page.ts";
import { id, seconds } from "../../lib/request-fields.ts";
import { MICROS } from "../meters/money.ts";
import { monthRange } from "../meters/months.ts";
import { amountUpTo } from "../meters/usd.ts";
import { type BudgetState, leftOf, percentUsed } from "./state.ts";

const SCOPES = ["team", "installation", "user", "key", "job", "sweep"] as const;
const PERIODS = ["month", "total"] as const;
const HOUR_S = 3600;

const limitUsd = v.optional(v.nullable(amountUpTo(1_000_000_000)));
const limitHours = v.optional(
  v.nullable(
    v.pipe(
      v.number("must be a number"),
      v.finite("must be a finite number"),
      v.minValue(0, "must be at least 0"),
      v.maxValue(1_000_000_000, "must be at most 1000000000"),
    ),
  ),
);

export const CreateBudget = v.strictObject({
  scope: v.pipe(
    v.picklist(SCOPES, `must be one of ${SCOPES.join(", ")}`),
    v.description("`installation` is the whole team too, set by an administrator of the installation."),
  ),
  scope_id: v.pipe(
    v.optional(v.nullable(id)),
    v.description("Id of the user, key, job or sweep; with `installation` that of the organization. Not for `team`."),
  ),
  period: v.optional(v.picklist(PERIODS, "must be month or total"), "month"),
  limit_usd: limitUsd,
  limit_gpu_hours: limitHours,
});
export type CreateBudget = v.InferOutput<typeof CreateBudget>;

export const ChangeBudget = v.strictObject({ limit_usd: limitUsd, limit_gpu_hours: limitHours });
export type ChangeBudget = v.InferOutput<typeof ChangeBudget>;

export const ListBudgets = v.strictObject({
  scope: v.optional(v.picklist(SCOPES)),
  scope_id: v.optional(id),
  /** Another organization, for administrators of the installation. */
  organization: v.optional(id),
  ...PageQuery.entries,
});
export type ListBudgets = v.InferOutput<typeof ListBudgets>;

const amount = v.nullable(v.number());

/** Amounts of the current period. `left` is what neither is used nor reserved by running work; null without a limit. */
export const BudgetView = v.strictObject({
  object: v.literal("budget"),
  id: v.string(),
  organization: v.string(),
  scope: v.picklist(SCOPES),
  scope_id: v.string(),
  period: v.picklist(PERIODS),
  limit_usd: amount,
  limit_gpu_hours: amount,
  /** The month that the amounts are of, such as `2026-11`, or `total`; and when the next one begins. */
  current_period: v.string(),
  resets_at: v.nullable(v.number()),
  used_usd: v.number(),
  used_gpu_hours: v.number(),
  reserved_usd: v.number(),
  reserved_gpu_hours: v.number(),
  left_usd: amount,
  left_gpu_hours: amount,
  used_percent: v.number(),
  created_by: v.string(),
  created_at: v.number(),
  updated_at: v.number(),
});
export type BudgetView = v.InferOutput<typeof BudgetView>;

const usd = (micros: number) => micros / MICROS;
const hours = (gpuSeconds: number) => gpuSeconds / HOUR_S;
const orNull = (value: number | null, of: (value: number) => number) => (value === null ? null : of(value));

export function budgetView(state: BudgetState): BudgetView {
  const { row, period, used, reserved } = state;
  const left = leftOf(state);
  return {
    object: "budget",
    id: row.id,
    organization: row.org,
    scope: row.scope,
    scope_id: row.scopeId,
    period: row.period,
    limit_usd: orNull(row.limitMicros, usd),
    limit_gpu_hours: orNull(row.limitGpuSeconds, hours),
    current_period: period,
    resets_at: period === "total" ? null : seconds(monthRange(period).to),
    used_usd: usd(used.micros),
    used_gpu_hours: hours(used.gpuSeconds),
    reserved_usd: usd(reserved.micros),
    reserved_gpu_hours: hours(reserved.gpuSeconds),
    left_usd: orNull(left.micros, usd),
    left_gpu_hours: orNull(left.gpuSeconds, hours),
    used_percent: percentUsed(state),
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    updated_at: seconds(row.updatedAt),
  };
}
