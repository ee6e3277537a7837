/** Budgets in words: their names, amounts, and why work waits for one. */
import { formatMoney, formatNumber } from "../../lib/text/format.ts";
import { MICROS } from "../meters/money.ts";
import type { BudgetRow, Scope } from "./scopes.ts";
import type { BudgetState } from "./state.ts";

const HOUR_S = 3600;

const WHOSE: Record<Scope, string> = {
  team: "the team's",
  installation: "the installation's",
  user: "the user's",
  key: "the API key's",
  job: "the job's",
  sweep: "the sweep's",
};

/** `2026-11` as `November`. */
const monthName = (month: string) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en-US", { month: "long", timeZone: "UTC" });

export const moneyText = (micros: number) => formatMoney(micros / MICROS);
const hoursText = (seconds: number) => `${formatNumber(seconds / HOUR_S)} GPU-hours`;

/** `the team's budget of November`, `the job's total budget`. */
export const budgetName = ({ scope }: Pick<BudgetRow, "scope">, period: string): string =>
  period === "total" ? `${WHOSE[scope]} total budget` : `${WHOSE[scope]} budget of ${monthName(period)}`;

/** Where and by whom it is raised, as a sentence without a period. */
const adviceOf = ({ scope }: Pick<BudgetRow, "scope">): string =>
  scope === "installation" ? "Ask an administrator of this installation to raise it" : "Raise it under Usage, Budgets";

/** Why work waits for a budget. @param needed and left in micro-dollars or GPU-seconds */
export function shortText(state: BudgetState, unit: "micros" | "gpuSeconds", needed: number, left: number): string {
  const text = unit === "micros" ? moneyText : hoursText;
  const rest = left > 0 ? `${text(left)} left` : "nothing left";
  return `${budgetName(state.row, state.period)}: ${text(needed)} needed, ${rest}. ${adviceOf(state.row)}`;
}

/** The limits of a budget, such as `$10.00 and 40 GPU-hours`. */
export function limitText({
  limitMicros,
  limitGpuSeconds,
}: Pick<BudgetRow, "limitMicros" | "limitGpuSeconds">): string {
  const parts = [
    limitMicros === null ? [] : moneyText(limitMicros),
    limitGpuSeconds === null ? [] : hoursText(limitGpuSeconds),
  ];
  return parts.flat().join(" and ");
}

/** Why running work stops, or requests are refused. */
export const reachedText = ({ row, period }: BudgetState): string =>
  `the limit of ${budgetName(row, period)} (${limitText(row)}) is reached. ${adviceOf(row)}`;

/** The text with a capital letter first. */
export const sentence = (text: string): string => text.replace(/^./, (first) => first.toUpperCase());
