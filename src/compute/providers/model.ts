/** Providers as clients see them: the list, settings without secrets, and the result of a test. */
import * as v from "valibot";

export const ProviderView = v.strictObject({
  object: v.literal("provider"),
  id: v.string(),
  title: v.string(),
  kind: v.picklist(["container", "machine", "process"]),
  capabilities: v.strictObject({
    logs: v.boolean(),
    gpus: v.boolean(),
    survivesServer: v.boolean(),
    local: v.boolean(),
    priced: v.boolean(),
    spot: v.boolean(),
    vendorDeadline: v.boolean(),
    multiNode: v.boolean(),
  }),
});
export type ProviderView = v.InferOutput<typeof ProviderView>;

const field = v.strictObject({
  name: v.string(),
  label: v.string(),
  help: v.string(),
  /** Null = not set; secrets are masked. */
  value: v.nullable(v.string()),
  is_default: v.boolean(),
});
const ProviderSettings = v.strictObject({
  /** It came with this program; others are folders of the data directory. */
  bundled: v.boolean(),
  fields: v.array(field),
});
export type ProviderSettings = v.InferOutput<typeof ProviderSettings>;

/** A provider with its settings, for administrators. */
export const ProviderDetail = v.strictObject({ ...ProviderView.entries, ...ProviderSettings.entries });

/** What a vendor lets an account use; null = the vendor does not say. */
export const QuotaView = v.strictObject({
  name: v.string(),
  region: v.nullable(v.string()),
  limit: v.nullable(v.number()),
  used: v.nullable(v.number()),
});

/** The state of the account at a vendor. Amounts in US dollars; null = the vendor does not say. */
const AccountView = v.strictObject({
  checks: v.array(
    v.strictObject({ name: v.string(), outcome: v.picklist(["passed", "failed", "unknown"]), message: v.string() }),
  ),
  balance_usd: v.nullable(v.number()),
  quotas: v.array(QuotaView),
  regions: v.array(v.string()),
});
export type AccountView = v.InferOutput<typeof AccountView>;

/** Whether the settings and the connection of a provider work. */
export const ProviderTest = v.strictObject({
  object: v.literal("provider_test"),
  provider: v.string(),
  ok: v.boolean(),
  took_ms: v.number(),
  problems: v.array(v.strictObject({ field: v.string(), message: v.string(), remedy: v.string() })),
  /** Whether machines elsewhere reach this server's address; null for providers of this machine. */
  home: v.nullable(
    v.strictObject({
      url: v.nullable(v.string()),
      outcome: v.picklist(["passed", "failed", "unknown"]),
      message: v.string(),
    }),
  ),
  /** Null for providers without an account, and where the settings have problems. */
  account: v.nullable(AccountView),
});
export type ProviderTest = v.InferOutput<typeof ProviderTest>;
