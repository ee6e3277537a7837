/** The billing settings of the installation: defaults, what a change may contain, and the answer of the API. */
import * as v from "valibot";
import { amountUpTo } from "../meters/usd.ts";

const MODES = ["off", "chargeback", "stripe"] as const;
const COLLECTIONS = ["charge", "send"] as const;
const MAX_USD = 1_000_000;

const dollars = amountUpTo(MAX_USD);
const count = (max: number) => v.pipe(v.number(), v.integer("must be a whole number"), v.minValue(0), v.maxValue(max));
const decimal = (max: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(0, "must not be negative"), v.maxValue(max, `must be at most ${max}`));

/** Days count from the due date of an unpaid invoice. */
const LateSettings = v.strictObject({
  notice_days: count(365),
  /** From this day on no new paid work starts. */
  no_new_work_days: count(365),
  /** From this day on the team is suspended: work is stopped after a checkpoint, and data is kept. */
  suspend_days: count(365),
  /** Once for each late invoice. */
  fee_usd: dollars,
  /** Of the unpaid amount, by the day. */
  monthly_interest_percent: decimal(10),
  /** Shown on invoices and on the page of a late team. */
  legal_text: v.pipe(v.string(), v.trim(), v.maxLength(4000)),
});

const FIELDS = {
  /** `off`: costs are shown and nobody is charged; `chargeback`: statements without payment; `stripe`. */
  mode: v.picklist(MODES, "must be off, chargeback or stripe"),
  /**
   * The first month that is closed, such as `2026-12`; null while the mode is off. Set when the mode is switched on:
   * what was used in a month whose closing passed before is never charged.
   */
  first_month: v.nullable(v.pipe(v.string(), v.regex(/^\d{4}-(0[1-9]|1[0-2])$/, "must be a month such as 2026-12"))),
  /** Hours after the end of a month before it is closed, for uses that are recorded late. */
  grace_hours: count(720),
  /** Days from the closing of a month to the due date of its invoice. */
  payment_terms_days: count(365),
  /** How teams pay unless their own account says otherwise: charged automatically, or sent an invoice. */
  collection: v.picklist(COLLECTIONS, "must be charge or send"),
  late: LateSettings,
  /** Work on own hosts starts although an invoice is late. */
  own_hosts_exempt: v.boolean(),
  /** Whether prices are shown without sign-in. */
  public_prices: v.boolean(),
  /** Credit of a new team; 0 = none. */
  sign_up_credit_usd: dollars,
  /** Whether the charged part of a failed job is credited by itself. */
  credit_failed_work: v.boolean(),
  /** Estimate of the power of one CPU core. */
  cpu_watts_per_core: decimal(1000),
  /** Carbon of one kilowatt-hour, in grams of CO2. */
  grams_per_kwh: decimal(5000),
  automatic_tax: v.boolean(),
  /** In the mode stripe: whether each metered use is sent to a meter of Stripe, from when it is switched on. */
  meter_events: v.boolean(),
} as const;

export const BillingSettingsView = v.strictObject({ object: v.literal("billing_settings"), ...FIELDS });
const Stored = v.strictObject(FIELDS);
export type BillingSettings = v.InferOutput<typeof Stored>;

export const ChangeLateSettings = v.partial(LateSettings);
/** Only what is given changes; of `late` too. */
export const ChangeBillingSettings = v.partial(v.strictObject({ ...FIELDS, late: ChangeLateSettings }));
export type ChangeBillingSettings = v.InferOutput<typeof ChangeBillingSettings>;

export const DEFAULT_SETTINGS: BillingSettings = {
  mode: "off",
  first_month: null,
  grace_hours: 48,
  payment_terms_days: 14,
  collection: "charge",
  late: {
    notice_days: 0,
    no_new_work_days: 3,
    suspend_days: 14,
    fee_usd: 0,
    monthly_interest_percent: 0,
    legal_text: "",
  },
  own_hosts_exempt: true,
  public_prices: false,
  sign_up_credit_usd: 0,
  credit_failed_work: false,
  cpu_watts_per_core: 10,
  grams_per_kwh: 400,
  automatic_tax: false,
  meter_events: false,
};
