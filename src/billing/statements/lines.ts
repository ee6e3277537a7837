/** The lines of a statement: one kind of use at one price each, whose cents add up to the total. */
import { and, eq, gte, inArray, isNull, lte, type SQL, sql } from "drizzle-orm";
import { lateCharge, meterInterval } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { METERS, type MeterName } from "../meters/meters.ts";
import { centsOf, MICROS_PER_CENT } from "../meters/money.ts";
import { monthRange } from "../meters/months.ts";

const PRICED = Object.entries(METERS).flatMap(([meter, { priced }]) => (priced ? [meter] : []));

const KIND_NAMES: Record<string, string> = {
  train: "Training",
  evaluate: "Evaluation",
  serve: "Endpoints",
  export: "Exports",
  storage: "Storage",
  inference: "Inference",
};

/** A line before its cents are known. */
export interface Line {
  kind: string;
  meter: string | null;
  description: string;
  /** Charged units of the meter. */
  quantity: number;
  unitMicros: number;
  micros: number;
}

/** Of which team what is on a statement: uses of closed months, from the first month that is charged on. */
export interface Scope {
  org: string;
  /** The month that is closed, and the first one that is charged, as `2026-11`. */
  month: string;
  firstMonth: string;
}

/** The condition for the uses that a statement of a month contains: late ones of the months before too. */
export const unbilledOf = ({ org, month, firstMonth }: Scope): SQL | undefined =>
  and(
    eq(meterInterval.org, org),
    isNull(meterInterval.statementId),
    gte(meterInterval.from, monthRange(firstMonth).from),
    lte(meterInterval.to, monthRange(month).to),
  );

/** The same for fees and interest. */
export const unbilledCharges = ({ org, month }: Scope): SQL | undefined =>
  and(eq(lateCharge.org, org), isNull(lateCharge.billedOn), lte(lateCharge.at, monthRange(month).to - 1));

/** `Training: GPU-hours, H100, runpod`; what is free says so. */
function describe(kind: string, meter: string, label: string, free: boolean): string {
  const unit = METERS[meter as MeterName]?.priced?.unit ?? meter;
  const parts = [`${unit}${/tokens$/.test(unit) ? "" : "s"}`, ...(label ? [label] : []), ...(free ? ["free"] : [])];
  return `${KIND_NAMES[kind] ?? kind}: ${parts.join(", ")}`;
}

/** The lines of what is not on a statement yet. Uses that are measured and never charged have none. */
export async function linesOf(tx: Db, scope: Scope): Promise<Line[]> {
  const label = sql<string>`case when ${meterInterval.meter} in ('gpu_seconds', 'cpu_seconds', 'endpoint_seconds')
    then trim(coalesce(${meterInterval.gpuModel}, '') || coalesce(', ' || ${meterInterval.provider}, ''), ', ')
    else coalesce(${meterInterval.model}, '') end`;
  const { kind, meter, unitMicros } = meterInterval;
  const rows = await tx
    .select({
      kind,
      meter,
      unitMicros,
      label: label.as("label"),
      quantity: sql<number>`sum(${meterInterval.quantity} - ${meterInterval.free})`,
      free: sql<number>`sum(iif(${meterInterval.freeReason} = 'allowance', ${meterInterval.free}, 0))`,
      micros: sql<number>`sum(${meterInterval.micros})`,
    })
    .from(meterInterval)
    .where(and(unbilledOf(scope), inArray(meterInterval.meter, PRICED)))
    .groupBy(kind, meter, unitMicros, sql`label`)
    .orderBy(kind, meter, sql`label`, unitMicros);
  const uses = rows.flatMap(({ label, free, ...row }): Line[] => {
    const { kind, meter } = row;
    const charged = { ...row, description: describe(kind, meter, label, false) };
    const given = {
      ...charged,
      description: describe(kind, meter, label, true),
      quantity: free,
      unitMicros: 0,
      micros: 0,
    };
    return [...(row.quantity !== 0 || row.micros !== 0 ? [charged] : []), ...(free > 0 ? [given] : [])];
  });
  const charges = await tx.select().from(lateCharge).where(unbilledCharges(scope)).orderBy(lateCharge.at);
  return [...uses, ...byInvoice(charges)];
}

/** One line for the fee, and one for all days of interest, of each late invoice. */
function byInvoice(charges: (typeof lateCharge.$inferSelect)[]): Line[] {
  const lines = new Map<string, Line>();
  for (const { kind, statementId, micros } of charges) {
    const name = `${kind} ${statementId}`;
    const sum = (lines.get(name)?.micros ?? 0) + micros;
    const description = kind === "late_fee" ? "Late fee" : "Interest on a late invoice";
    lines.set(name, { kind, meter: null, description, quantity: 1, unitMicros: sum, micros: sum });
  }
  return [...lines.values()];
}

/**
 * Whole cents of exact amounts: rounded down each, and the missing cents go to the largest remainders, so that they add
 * up to the rounded sum.
 */
export function centsByLine(micros: readonly number[]): number[] {
  const cents = micros.map((exact) => Math.floor(exact / MICROS_PER_CENT));
  const total = centsOf(micros.reduce((sum, exact) => sum + exact, 0));
  const missing = total - cents.reduce((sum, whole) => sum + whole, 0);
  const remainder = (n: number) => (micros[n] ?? 0) - (cents[n] ?? 0) * MICROS_PER_CENT;
  const ranked = [...micros.keys()].sort((a, b) => remainder(b) - remainder(a) || a - b).slice(0, missing);
  for (const n of ranked) cents[n] = (cents[n] ?? 0) + 1;
  return cents;
}
