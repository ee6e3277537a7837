/** The forms of budgets: typed texts as requests. */
import * as v from "valibot";
import { ChangeBudget, CreateBudget } from "../../../src/billing/budgets/model.ts";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const LIMITS = { limit_usd: text(20), limit_gpu_hours: text(20) };

export const LimitForm = v.strictObject(LIMITS);
/** `target` is a scope and, but for the team, an id: `user user-…`. */
export const NewBudgetForm = v.strictObject({ target: text(150), period: text(10), ...LIMITS });
export type BudgetForm = v.InferOutput<typeof NewBudgetForm>;

/** A typed number; null when empty. Many locales use a decimal comma. */
const numberOf = (typed: string) => (typed.trim() === "" ? null : Number(typed.trim().replace(",", ".")));

const FIELDS: Record<string, string> = { limit_usd: "The limit in USD", limit_gpu_hours: "The limit in GPU-hours" };

function read<const S extends v.GenericSchema>(
  schema: S,
  given: unknown,
): { request: v.InferOutput<S> } | { error: string } {
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return { request: parsed.output };
  const [issue] = parsed.issues;
  return { error: `${FIELDS[v.getDotPath(issue) ?? ""] ?? "The form"} ${issue.message}.` };
}

const limitsOf = (form: Pick<BudgetForm, "limit_usd" | "limit_gpu_hours">) => ({
  limit_usd: numberOf(form.limit_usd),
  limit_gpu_hours: numberOf(form.limit_gpu_hours),
});

/** The request of the form of a new budget, or what is wrong with it. */
export function newBudgetOf(form: BudgetForm): { request: CreateBudget } | { error: string } {
  const [scope, id] = form.target.split(" ");
  return read(CreateBudget, { scope, scope_id: id ?? null, period: form.period, ...limitsOf(form) });
}

/** The request of the form of other limits, or what is wrong with it. */
export const limitChangeOf = (form: Pick<BudgetForm, "limit_usd" | "limit_gpu_hours">) =>
  read(ChangeBudget, limitsOf(form));
