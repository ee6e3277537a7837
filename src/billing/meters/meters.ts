/** What is measured, in which whole units, and the unit that people know a price by. */

interface Meter {
  /** Of one unit of the quantity. */
  unit: string;
  /** What a price is for, and how many units that is. Null = measured and never charged. */
  priced: { unit: string; per: number } | null;
}

/** Hours of a month for storage: 365 days in 12 months. */
const MONTH_HOURS = 730;

export const METERS = {
  gpu_seconds: { unit: "GPU-second", priced: { unit: "GPU-hour", per: 3600 } },
  /** Of work without GPUs: the price of a GPU includes its host. */
  cpu_seconds: { unit: "core-second", priced: { unit: "core-hour", per: 3600 } },
  endpoint_seconds: { unit: "second", priced: { unit: "endpoint-hour", per: 3600 } },
  byte_hours: { unit: "byte-hour", priced: { unit: "GiB-month", per: 1024 ** 3 * MONTH_HOURS } },
  input_tokens: { unit: "token", priced: { unit: "million input tokens", per: 1_000_000 } },
  output_tokens: { unit: "token", priced: { unit: "million output tokens", per: 1_000_000 } },
  training_tokens: { unit: "token", priced: { unit: "million training tokens", per: 1_000_000 } },
  /** What a provider charges this installation, in micro-dollars. */
  provider_micros: { unit: "micro-dollar", priced: null },
  /** Watt-seconds: sampled on GPUs, estimated for CPUs. */
  joules: { unit: "joule", priced: null },
} as const satisfies Record<string, Meter>;

export type MeterName = keyof typeof METERS;
