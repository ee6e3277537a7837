/** Which use an actor may see, and how it is filtered, grouped and measured. */
import { type SQL, sql } from "drizzle-orm";
import type { Actor } from "../../ctx.ts";
import { can } from "../../roles.ts";
import type { MeterName } from "../meters/meters.ts";

export const HOUR_MS = 3_600_000;

/** Columns of `usage_day` and `meter_interval` by the name of the group. */
const COLUMNS = {
  user: "user_id",
  model: "model",
  key: "key_id",
  kind: "kind",
  provider: "provider",
  gpu: "gpu_model",
  meter: "meter",
  job: "job_id",
} as const;
type Dimension = keyof typeof COLUMNS;

export const GROUPS = ["user", "model", "key", "kind", "provider", "gpu", "meter"] as const satisfies Dimension[];
export type Group = (typeof GROUPS)[number];

/** A group of use; null = none, such as use that no key was used for. */
export const groupColumn = (dimension: Dimension): SQL => sql`coalesce(${sql.identifier(COLUMNS[dimension])}, '')`;

/** What is added up, and in which unit. `per`: quantity of one unit. */
export const MEASURES = {
  cost: { unit: "USD", meters: null, per: 1_000_000 },
  gpu_hours: { unit: "GPU-hour", meters: ["gpu_seconds"], per: 3600 },
  cpu_hours: { unit: "core-hour", meters: ["cpu_seconds"], per: 3600 },
  endpoint_hours: { unit: "endpoint-hour", meters: ["endpoint_seconds"], per: 3600 },
  tokens: { unit: "token", meters: ["input_tokens", "output_tokens"], per: 1 },
  training_tokens: { unit: "token", meters: ["training_tokens"], per: 1 },
  storage: { unit: "GiB-month", meters: ["byte_hours"], per: 1024 ** 3 * 730 },
  energy: { unit: "kWh", meters: ["joules"], per: 3_600_000 },
} as const satisfies Record<string, { unit: string; meters: readonly MeterName[] | null; per: number }>;
export type Measure = keyof typeof MEASURES;
export const MEASURE_NAMES = Object.keys(MEASURES) as [Measure, ...Measure[]];

/** The sum of rows, in the quantity of which a measure has `per` for one unit; and the rows that count. */
export function measured(measure: Measure): { sum: SQL; rows: SQL } {
  const { meters } = MEASURES[measure];
  // What providers charge the installation is not what a team uses.
  if (!meters) return { sum: sql`sum(micros) * 1.0`, rows: sql`meter <> 'provider_micros'` };
  return { sum: sql`sum(quantity) * 1.0`, rows: sql`meter in ${[...meters]}` };
}

/** Only use with these values; an empty text selects use without one. */
export type UsageFilter = Partial<Record<Dimension, string>>;

/** Use of the actor's organization that the actor may see: their own, or that of the whole team. */
export function visible(actor: Actor, filter: UsageFilter = {}): SQL {
  const own = can(actor, "usage.team") ? sql`true` : sql`user_id = ${actor.userId}`;
  const parts = Object.entries(filter).flatMap(([name, value]) =>
    value === undefined ? [] : [sql`${groupColumn(name as Dimension)} = ${value}`],
  );
  return sql.join([sql`org = ${actor.org}`, own, ...parts], sql` and `);
}
