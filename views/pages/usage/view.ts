/** What the usage page shows for its address: the period, and words for groups and measures. */
import * as v from "valibot";
import {
  GROUPS,
  type Group,
  MEASURE_NAMES,
  type Measure,
  type UsageFilter,
} from "../../../src/billing/exports/scope.ts";
import type { Period } from "../../../src/billing/exports/series.ts";
import { monthAt, monthRange } from "../../../src/billing/meters/months.ts";
import { DAY_MS } from "../../../src/lib/clock.ts";
import { formatCount, formatMoney, formatNumber } from "../../../src/lib/text/format.ts";

const MONTH = /^\d{4}-(0[1-9]|1[0-2])$/;
const LAST = { "1d": 1, "7d": 7, "30d": 30, "90d": 90 } as const;

const filter = v.optional(v.pipe(v.string(), v.maxLength(200)));

/** `month` is the address of older versions. */
export const UsageView = v.strictObject({
  month: v.optional(v.pipe(v.string(), v.regex(MONTH))),
  period: v.optional(v.union([v.pipe(v.string(), v.regex(MONTH)), v.picklist(["", "1d", "7d", "30d", "90d"])])),
  group_by: v.optional(v.picklist(GROUPS), "user"),
  measure: v.optional(v.picklist(MEASURE_NAMES), "cost"),
  user: filter,
  model: filter,
  key: filter,
  kind: filter,
  provider: filter,
  gpu: filter,
  meter: filter,
});
export type UsageView = v.InferOutput<typeof UsageView>;

export const filterOf = ({ user, model, key, kind, provider, gpu, meter }: UsageView): UsageFilter => ({
  user,
  model,
  key,
  kind,
  provider,
  gpu,
  meter,
});

/** The period of an address; the current month by default. */
export function shownPeriod(view: UsageView, now: number): Period & { month: string | null; width: "1d" | "1h" } {
  const named = view.period || view.month || monthAt(now);
  if (named in LAST) {
    const days = LAST[named as keyof typeof LAST];
    const to = (Math.floor(now / DAY_MS) + 1) * DAY_MS;
    return { from: to - days * DAY_MS, to, month: null, width: days === 1 ? "1h" : "1d" };
  }
  return { ...monthRange(named), month: named, width: "1d" };
}

function shiftMonth(month: string, by: number): string {
  const [year = 0, number = 1] = month.split("-").map(Number);
  return new Date(Date.UTC(year, number - 1 + by, 1)).toISOString().slice(0, 7);
}

/** `2026-11` as `November 2026`. */
export const monthName = (month: string) =>
  new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

/** The options of the period: this month, the twelve before it, and the last days. */
export function periods(now: number, shown: string | null): [string, string][] {
  const months = Array.from({ length: 13 }, (_, n) => shiftMonth(monthAt(now), -n));
  if (shown && !months.includes(shown)) months.push(shown);
  return [
    ["1d", "Today, by hour"],
    ["7d", "Last 7 days"],
    ["30d", "Last 30 days"],
    ["90d", "Last 90 days"],
    ...months.map((month): [string, string] => [month, monthName(month)]),
  ];
}

interface GroupWords {
  label: string;
  word: string;
  /** Name of use without one. */
  none: string;
}

export const GROUP_WORDS: Record<Group, GroupWords> = {
  user: { label: "Member", word: "member", none: "No member" },
  model: { label: "Model", word: "model", none: "No model" },
  key: { label: "API key", word: "API key", none: "No API key" },
  kind: { label: "Kind", word: "kind", none: "No kind" },
  provider: { label: "Provider", word: "provider", none: "No provider" },
  gpu: { label: "GPU model", word: "GPU model", none: "No GPU" },
  meter: { label: "Meter", word: "meter", none: "No meter" },
};

/** Words for values that are no names of their own. */
export const VALUE_WORDS: Partial<Record<Group, Record<string, string>>> = {
  kind: {
    train: "Training",
    evaluate: "Evaluation",
    serve: "Endpoints",
    export: "Exports",
    storage: "Storage",
    inference: "Requests",
    grade: "Grading",
  },
  meter: {
    gpu_seconds: "GPU time",
    cpu_seconds: "CPU time",
    endpoint_seconds: "Endpoint time",
    byte_hours: "Storage",
    input_tokens: "Input tokens",
    output_tokens: "Output tokens",
    training_tokens: "Training tokens",
    joules: "Energy",
  },
};

interface MeasureWords {
  label: string;
  /** Format of chart-format.js. */
  unit: string;
  format: (value: number) => string;
}

const hours = (value: number) => `${formatNumber(value)} h`;
export const MEASURE_WORDS: Record<Measure, MeasureWords> = {
  cost: { label: "Cost", unit: "money", format: formatMoney },
  gpu_hours: { label: "GPU hours", unit: "number", format: hours },
  cpu_hours: { label: "CPU core hours", unit: "number", format: hours },
  endpoint_hours: { label: "Endpoint hours", unit: "number", format: hours },
  tokens: { label: "Request tokens", unit: "number", format: formatCount },
  training_tokens: { label: "Training tokens", unit: "number", format: formatCount },
  storage: { label: "Storage, GiB-months", unit: "number", format: (value) => formatNumber(value) },
  energy: { label: "Energy", unit: "number", format: (value) => `${formatNumber(value)} kWh` },
};
