/** Metered intervals of a period, read in pages, and their columns in exports. */
import { sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { METERS, type MeterName } from "../meters/meters.ts";
import { MICROS } from "../meters/money.ts";
import { visible } from "./scope.ts";
import type { Period } from "./series.ts";

const PAGE = 2000;

/** A column of an export. Times are in milliseconds since 1970. */
export interface Column<Row> {
  name: string;
  /** A decimal has a point in text formats even where it is whole. */
  type: "text" | "number" | "decimal" | "time";
  value: (row: Row) => string | number | null;
}

export interface Interval {
  n: number;
  source: string;
  org: string;
  user_id: string | null;
  key_id: string | null;
  kind: string;
  meter: MeterName;
  job_id: string | null;
  attempt_id: string | null;
  deployment_id: string | null;
  model: string | null;
  provider: string | null;
  gpu_model: string | null;
  from_ms: number;
  to_ms: number;
  quantity: number;
  free: number;
  free_reason: string | null;
  price_list_id: string | null;
  unit_micros: number;
  micros: number;
  reverses: string | null;
  reversed_for: string | null;
  statement_id: string | null;
  /** `2026-000042`; null until a statement contains it. */
  statement_number: string | null;
  /** 1 when it takes back what an earlier statement contains. */
  corrects: number;
  /** Of the job, as JSON; null without a job. */
  metadata: string | null;
}

/** Pages of the intervals that begin in a period and that the actor may see, oldest first. */
export async function* intervalPages(ctx: Ctx, actor: Actor, { from, to }: Period): AsyncGenerator<Interval[]> {
  let after = { from_ms: from, n: 0 };
  for (;;) {
    const rows: Interval[] = await ctx.db.all<Interval>(
      sql`select i.*, s.number statement_number, j.metadata metadata,
          i.reverses is not null and exists (select 1 from meter_interval r where r.source = i.reverses
            and r.statement_id is not null and r.statement_id is not i.statement_id) corrects
        from (select * from meter_interval where ${visible(actor)} and meter <> 'provider_micros' and from_ms < ${to}
          and (from_ms > ${after.from_ms} or from_ms = ${after.from_ms} and n > ${after.n})
          and from_ms >= ${after.from_ms} order by from_ms, n limit ${PAGE}) i
        left join statement s on s.id = i.statement_id left join job j on j.id = i.job_id order by i.from_ms, i.n`,
    );
    const last = rows.at(-1);
    if (last) yield rows;
    if (!last || rows.length < PAGE) return;
    after = last;
  }
}

/** Units of a price, such as seconds of a GPU-hour; 1 for what has no price. */
export const unitsOf = (meter: MeterName): number => METERS[meter].priced?.per ?? 1;

const text = (name: keyof Interval): Column<Interval> => ({ name, type: "text", value: (row) => row[name] });

/** One line for each interval, with everything that its price depends on. */
export const INTERVAL_COLUMNS: readonly Column<Interval>[] = [
  { name: "id", type: "text", value: ({ source }) => source },
  { name: "from", type: "time", value: ({ from_ms }) => from_ms },
  { name: "to", type: "time", value: ({ to_ms }) => to_ms },
  text("kind"),
  text("meter"),
  { name: "quantity", type: "number", value: ({ quantity }) => quantity },
  { name: "unit", type: "text", value: ({ meter }) => METERS[meter].unit },
  { name: "free_quantity", type: "number", value: ({ free }) => free },
  text("free_reason"),
  { name: "unit_price_usd", type: "number", value: ({ unit_micros }) => unit_micros / MICROS },
  { name: "price_unit", type: "text", value: ({ meter }) => METERS[meter].priced?.unit ?? null },
  { name: "cost_usd", type: "number", value: ({ micros }) => micros / MICROS },
  text("user_id"),
  text("key_id"),
  text("job_id"),
  text("attempt_id"),
  text("deployment_id"),
  text("model"),
  text("provider"),
  text("gpu_model"),
  text("price_list_id"),
  text("reverses"),
  text("reversed_for"),
  { name: "statement", type: "text", value: ({ statement_number }) => statement_number },
];
