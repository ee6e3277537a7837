/** Query and answer of the monthly usage summary. */
import * as v from "valibot";

const USAGE_GROUPS = ["user", "model", "key", "kind", "provider"] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

export const UsageQuery = v.strictObject({
  month: v.optional(v.pipe(v.string(), v.regex(/^\d{4}-(0[1-9]|1[0-2])$/, "must be a month such as 2026-11"))),
  group_by: v.optional(v.picklist(USAGE_GROUPS), "user"),
});

/** `group` is the id of a user, model, key and so on. Hours are wall-clock time from launch to end. */
export const UsageSummary = v.strictObject({
  object: v.literal("usage.summary"),
  month: v.string(),
  group_by: v.picklist(USAGE_GROUPS),
  work: v.array(
    v.strictObject({
      group: v.string(),
      attempts: v.number(),
      hours: v.number(),
      gpu_hours: v.number(),
      tokens: v.number(),
      cost_usd: v.number(),
    }),
  ),
  requests: v.array(
    v.strictObject({
      group: v.string(),
      requests: v.number(),
      prompt_tokens: v.number(),
      completion_tokens: v.number(),
    }),
  ),
  total_cost_usd: v.number(),
});
export type UsageSummary = v.InferOutput<typeof UsageSummary>;

/** What was compared, how many of it there were, and what is wrong; at most 100 violations of each check. */
export const LedgerVerification = v.strictObject({
  object: v.literal("ledger_verification"),
  ok: v.boolean(),
  checks: v.array(v.strictObject({ name: v.string(), checked: v.number(), violations: v.array(v.string()) })),
});
export type LedgerVerification = v.InferOutput<typeof LedgerVerification>;
