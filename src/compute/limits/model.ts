/** Limits of a provider as clients read and change them. */
import * as v from "valibot";
import { whole } from "../../lib/number-fields.ts";
import { QuotaView } from "../providers/model.ts";

const names = v.pipe(
  v.array(v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(100))),
  v.maxLength(200),
);
const dollars = v.nullable(v.pipe(v.number("must be a number"), v.minValue(0, "must be 0 or more"), v.maxValue(1e9)));

/** A change of limits: fields that are absent stay as they are, null removes a limit. */
export const LimitsChange = v.pipe(
  v.strictObject({
    /** The vendor's names of regions and machine types; an empty list allows all. */
    regions: v.optional(names),
    machine_types: v.optional(names),
    /** US dollars for a whole machine. */
    max_price_per_hour: v.optional(dollars),
    max_machines: v.optional(v.nullable(whole(0, 100_000))),
    /** US dollars in a calendar month (UTC). */
    month_usd: v.optional(dollars),
    /** Own machines only: US dollars that an hour of a GPU costs the installation; offers are compared with it. */
    cost_per_gpu_hour: v.optional(dollars),
    /** Whether its machines may download base models from the hub; null = as the setting `models_from_hub` says. */
    models_from_hub: v.optional(v.nullable(v.boolean("must be true, false or null"))),
  }),
  v.check((change) => Object.keys(change).length > 0, "must have at least one limit"),
);
export type LimitsChange = v.InferOutput<typeof LimitsChange>;

/** Why everything at a provider is stopped; people whose work it stops read it. */
export const StopProvider = v.strictObject({
  reason: v.optional(
    v.pipe(v.string("must be text"), v.trim(), v.maxLength(500, "must have at most 500 characters")),
    "",
  ),
});
export type StopProvider = v.InferOutput<typeof StopProvider>;

export const LimitsView = v.strictObject({
  object: v.literal("provider_limits"),
  provider: v.string(),
  regions: v.array(v.string()),
  machine_types: v.array(v.string()),
  max_price_per_hour: v.nullable(v.number()),
  max_machines: v.nullable(v.number()),
  month_usd: v.nullable(v.number()),
  /** What an hour of a GPU of own machines costs the installation, in US dollars; null = it is compared as $0. */
  cost_per_gpu_hour: v.nullable(v.number()),
  models_from_hub: v.nullable(v.boolean()),
  /** Nothing runs or starts there, since this time (milliseconds since 1970). */
  stopped_at: v.nullable(v.number()),
  /** Why, as the administrator said; null = not said. */
  stop_reason: v.nullable(v.string()),
});
export type LimitsView = v.InferOutput<typeof LimitsView>;

/** Milliseconds since 1970. */
const moment = v.number();

/** What a provider last said about its account. Amounts in US dollars; null = the vendor does not say. */
const AccountState = v.strictObject({
  /** When it was asked, in milliseconds since 1970. */
  checked_at: v.number(),
  /** Why it did not answer; then balance and quotas are those of the last answer. */
  error: v.nullable(v.string()),
  balance_usd: v.nullable(v.number()),
  /** The balance is below the setting `low_balance_usd`. */
  low: v.boolean(),
  quotas: v.array(QuotaView),
});
export type AccountState = v.InferOutput<typeof AccountState>;

/** A provider as administrators watch it. Amounts in US dollars. */
export const ProviderState = v.strictObject({
  object: v.literal("provider_state"),
  id: v.string(),
  title: v.string(),
  /** Its machines cost money by the hour. */
  priced: v.boolean(),
  /** `stopped` by an administrator; `paused`: it refused a request and is not asked for now. */
  health: v.picklist(["active", "paused", "stopped"]),
  pause: v.nullable(
    v.strictObject({
      kind: v.string(),
      message: v.string(),
      vendor_code: v.nullable(v.string()),
      since: moment,
      until: moment,
    }),
  ),
  limits: LimitsView,
  /**
   * Its machines elsewhere may download base models from the hub, by its own choice or by the setting; null where
   * nothing runs on other machines.
   */
  uses_hub: v.nullable(v.boolean()),
  /** What the vendor last said about the account; null for providers that cannot say, and before the first check. */
  account: v.nullable(AccountState),
  machines: v.array(
    v.strictObject({
      attempt: v.string(),
      job: v.string(),
      name: v.string(),
      kind: v.string(),
      location: v.string(),
      region: v.nullable(v.string()),
      zone: v.nullable(v.string()),
      machine_type: v.nullable(v.string()),
      market: v.picklist(["own", "on_demand", "spot"]),
      price_per_hour: v.number(),
      since: moment,
      /** Its work is over, and it is being terminated. */
      ending: v.boolean(),
      cost_usd: v.number(),
    }),
  ),
  cost_today_usd: v.number(),
  cost_month_usd: v.number(),
  errors: v.array(
    v.strictObject({
      request: v.string(),
      kind: v.string(),
      message: v.string(),
      vendor_code: v.nullable(v.string()),
      times: v.number(),
      at: moment,
    }),
  ),
  /** What was at the vendor without a live attempt; `removed_at` null = it is still listed. */
  orphans: v.array(
    v.strictObject({
      resource: v.string(),
      key: v.string(),
      found_at: moment,
      tries: v.number(),
      removed_at: v.nullable(moment),
      error: v.nullable(v.string()),
    }),
  ),
});
export type ProviderState = v.InferOutput<typeof ProviderState>;
