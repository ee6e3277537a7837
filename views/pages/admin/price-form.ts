/** The form of a price list: its rows as typed, and the request that they are. */
import * as v from "valibot";
import { METERS } from "../../../src/billing/meters/meters.ts";
import { CreatePriceList, PRICED, type PriceListView } from "../../../src/billing/prices/model.ts";
import { AppError } from "../../../src/errors.ts";

type Priced = (typeof PRICED)[number];

/** A price as typed: a price, or a percentage on top of the provider's. */
export interface PriceRow {
  meter: string;
  gpu_model: string;
  provider: string;
  model: string;
  price: string;
  percent: string;
}

export interface PriceForm {
  rows: PriceRow[];
  free: Record<Priced, string>;
  note: string;
  /** As `2026-12-31`. */
  date: string;
}

const FIELDS = ["meter", "gpu_model", "provider", "model", "price", "percent"] as const;
const EMPTY: PriceRow = { meter: "gpu_seconds", gpu_model: "", provider: "", model: "", price: "", percent: "" };
const MAX_ROWS = 110;
/** Empty rows below those that are filled in. */
const SPARE = 2;

/** Fields of a row have its number behind them: `price_3`. */
export const PriceBody = v.record(v.pipe(v.string(), v.maxLength(40)), v.pipe(v.string(), v.maxLength(1000)));

const isFilled = ({ price, percent }: PriceRow) => price.trim() !== "" || percent.trim() !== "";

/** Names of meters for people: what a row is a price of. */
export const METER_LABELS: Record<Priced, string> = {
  gpu_seconds: "GPUs",
  cpu_seconds: "Processors",
  endpoint_seconds: "Endpoints",
  input_tokens: "Input tokens",
  output_tokens: "Output tokens",
  training_tokens: "Training tokens",
  byte_hours: "Storage",
};

export const unitOf = (meter: Priced): string => METERS[meter].priced.unit;

const freeOf = (read: (meter: Priced) => string) =>
  Object.fromEntries(PRICED.map((meter) => [meter, read(meter)])) as Record<Priced, string>;

/** What was typed, without rows that have no price. */
export function typedPrices(body: Record<string, string>): PriceForm {
  const rows: PriceRow[] = [];
  for (let n = 0; n < MAX_ROWS && `meter_${n}` in body; n++) {
    const row = { ...EMPTY };
    for (const field of FIELDS) row[field] = (body[`${field}_${n}`] ?? "").trim();
    if (isFilled(row)) rows.push(row);
  }
  const { note = "", date = "" } = body;
  return { rows, free: freeOf((meter) => (body[`free_${meter}`] ?? "").trim()), note, date };
}

const text = (value: string | number | null) => (value === null ? "" : String(value));

/** The form of the next version after a list; without one an empty form. */
export const formAfter = (list: PriceListView | null, date: string): PriceForm => ({
  rows: (list?.items ?? []).map((item) => ({
    meter: item.meter,
    gpu_model: text(item.gpu_model),
    provider: text(item.provider),
    model: text(item.model),
    price: item.price_usd === null ? "" : item.price_usd.toLocaleString("en-US", PLAIN),
    percent: text(item.cost_plus_percent),
  })),
  free: freeOf((meter) => text(list?.free.find((one) => one.meter === meter)?.amount ?? null)),
  note: "",
  date,
});
const PLAIN = { useGrouping: false, maximumFractionDigits: 6 } as const;

/** The rows to show: what is filled in, and some empty ones. */
export const shownRows = ({ rows }: PriceForm, more: number): PriceRow[] => [
  ...rows,
  ...Array.from({ length: Math.max(0, Math.min(SPARE + more, MAX_ROWS - rows.length)) }, () => EMPTY),
];

/** A typed number; text when it is none, which the schema refuses. */
const numberOf = (typed: string) => (typed !== "" && Number.isFinite(Number(typed)) ? Number(typed) : typed);
const orNull = (typed: string) => (typed === "" ? null : typed);

/** The request of a form. @throws AppError `invalid_value` with a sentence that names the row */
export function requestOf(form: PriceForm, organization: string | null): CreatePriceList {
  const parsed = v.safeParse(CreatePriceList, {
    organization,
    items: form.rows.map((row) => ({
      meter: row.meter,
      gpu_model: orNull(row.gpu_model),
      provider: orNull(row.provider),
      model: orNull(row.model),
      price_usd: row.price === "" ? null : numberOf(row.price),
      cost_plus_percent: row.percent === "" ? null : numberOf(row.percent),
    })),
    free: PRICED.flatMap((meter) => {
      const typed = form.free[meter];
      return typed === "" ? [] : [{ meter, amount: numberOf(typed) }];
    }),
    note: form.note,
    effective_date: orNull(form.date),
  });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const [list, n] = (v.getDotPath(issue) ?? "").split(".");
  const given = PRICED.filter((meter) => form.free[meter] !== "");
  const what =
    list === "items" && n
      ? `Price ${Number(n) + 1}: the value`
      : list === "free" && n
        ? `What is free of ${METER_LABELS[given[Number(n)] ?? "gpu_seconds"].toLowerCase()}`
        : list === "effective_date"
          ? "The day"
          : "The form";
  throw new AppError("unprocessable", "invalid_value", `${what} ${issue.message}.`, { param: list ?? "form" });
}
