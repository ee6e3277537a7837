/** Query and answer of the usage summary. */
import * as v from "valibot";

export const USAGE_GROUPS = ["user", "model", "key", "kind", "provider"] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

export const UsageQuery = v.object({
  month: v.optional(v.pipe(v.string(), v.regex(/^\d{4}-(0[1-9]|1[0-2])$/, "must be a month such as 2026-11"))),
  group_by: v.optional(v.picklist(USAGE_GROUPS), "user"),
});

/** `group` is a user, model, key … id. Hours are of wall time from launch to end. */
export interface UsageSummary {
  object: "usage.summary";
  month: string;
  group_by: UsageGroup;
  work: { group: string; attempts: number; hours: number; gpu_hours: number; tokens: number; cost_usd: number }[];
  requests: { group: string; requests: number; prompt_tokens: number; completion_tokens: number }[];
  total_cost_usd: number;
}
