/**
 * Intervals as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification (https://focus.finops.org).
 * docs/billing-exports.md explains every column.
 */
import { METERS, type MeterName } from "../meters/meters.ts";
import { MICROS } from "../meters/money.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import { type Column, type Interval, unitsOf } from "./intervals.ts";

const VENDOR = "Fine-Tune Lab";

/** Name and allowed category and subcategory of each kind of use. */
const SERVICES: Record<string, [name: string, category: string, subcategory: string]> = {
  train: ["Model training", "AI and Machine Learning", "Machine Learning"],
  evaluate: ["Model evaluation", "AI and Machine Learning", "Other (AI and Machine Learning)"],
  export: ["Model export", "AI and Machine Learning", "Other (AI and Machine Learning)"],
  serve: ["Model endpoints", "AI and Machine Learning", "AI Platforms"],
  inference: ["Model inference", "AI and Machine Learning", "Generative AI"],
  storage: ["Data storage", "Storage", "Object Storage"],
};
const OTHER: [string, string, string] = ["Other use", "Other", "Other (Other)"];

/** Units as FOCUS writes them. */
const UNITS: Record<MeterName, [consumed: string, priced: string]> = {
  gpu_seconds: ["GPU-Seconds", "GPU-Hours"],
  cpu_seconds: ["Core-Seconds", "Core-Hours"],
  endpoint_seconds: ["Seconds", "Hours"],
  byte_hours: ["Byte-Hours", "GiB-Months"],
  input_tokens: ["Tokens", "1000000 Tokens"],
  output_tokens: ["Tokens", "1000000 Tokens"],
  training_tokens: ["Tokens", "1000000 Tokens"],
  provider_micros: ["Micro-Dollars", "Micro-Dollars"],
  joules: ["Joules", "Joules"],
};

const serviceOf = ({ kind }: Interval) => SERVICES[kind] ?? OTHER;
const monthOf = ({ from_ms }: Interval) => monthRange(monthAt(from_ms));
/** What is sold: the meter, and what its price can depend on. */
const skuOf = ({ meter, gpu_model, provider, model }: Interval) =>
  [meter, gpu_model, provider, model].filter((part) => part !== null).join("/");
/** Charged units of the price: without what is free. */
const pricedQuantity = ({ quantity, free, meter }: Interval) => (quantity - free) / unitsOf(meter);
const unitPrice = ({ unit_micros }: Interval) => unit_micros / MICROS;
/** Not rounded, as FOCUS wants the product of price and quantity; `BilledCost` is rounded to micro-dollars. */
const exactCost = (row: Interval) => unitPrice(row) * pricedQuantity(row);
const billed = ({ micros }: Interval) => micros / MICROS;

function resourceOf({ job_id, deployment_id, kind, model }: Interval): [id: string | null, type: string | null] {
  if (job_id) return [job_id, kind === "serve" ? "Endpoint" : "Job"];
  if (deployment_id) return [deployment_id, "Deployment"];
  if (kind === "storage" && model) return [model, "Stored data"];
  return [model, model ? "Model" : null];
}

/** Metadata of the job; null without any. */
const tagsOf = ({ metadata }: Interval) => (metadata === null || metadata === "{}" ? null : metadata);

/** Whether an interval is a charge: what has a price. */
export const isCharge = ({ meter }: Interval): boolean => METERS[meter].priced !== null;

const text = (name: string, value: (row: Interval) => string | null): Column<Interval> => ({
  name,
  type: "text",
  value,
});
const decimal = (name: string, value: (row: Interval) => number | null): Column<Interval> => ({
  name,
  type: "decimal",
  value,
});
const time = (name: string, value: (row: Interval) => number): Column<Interval> => ({ name, type: "time", value });

/** @param account name of the organization */
export const focusColumns = (account: string): readonly Column<Interval>[] => [
  decimal("BilledCost", billed),
  text("BillingAccountId", ({ org }) => org),
  text("BillingAccountName", () => account),
  text("BillingAccountType", () => "Team"),
  text("BillingCurrency", () => "USD"),
  time("BillingPeriodEnd", (row) => monthOf(row).to),
  time("BillingPeriodStart", (row) => monthOf(row).from),
  text("ChargeCategory", () => "Usage"),
  text("ChargeClass", ({ corrects }) => (corrects ? "Correction" : null)),
  text("ChargeDescription", (row) => `${METERS[row.meter].unit}s: ${skuOf(row)}`),
  text("ChargeFrequency", () => "Usage-Based"),
  time("ChargePeriodEnd", ({ to_ms }) => to_ms),
  time("ChargePeriodStart", ({ from_ms }) => from_ms),
  text("CommitmentDiscountStatus", () => null),
  decimal("ConsumedQuantity", ({ quantity }) => quantity),
  text("ConsumedUnit", ({ meter }) => UNITS[meter][0]),
  decimal("ContractedCost", exactCost),
  decimal("ContractedUnitPrice", unitPrice),
  decimal("EffectiveCost", billed),
  text("InvoiceId", ({ statement_number }) => statement_number),
  text("InvoiceIssuerName", () => VENDOR),
  decimal("ListCost", exactCost),
  decimal("ListUnitPrice", unitPrice),
  text("PricingCategory", () => "Standard"),
  text("PricingCurrency", () => "USD"),
  decimal("PricingCurrencyContractedUnitPrice", unitPrice),
  decimal("PricingCurrencyEffectiveCost", billed),
  decimal("PricingCurrencyListUnitPrice", unitPrice),
  decimal("PricingQuantity", pricedQuantity),
  text("PricingUnit", ({ meter }) => UNITS[meter][1]),
  text("ProviderName", () => VENDOR),
  text("PublisherName", () => VENDOR),
  text("ResourceId", (row) => resourceOf(row)[0]),
  text("ResourceName", (row) => resourceOf(row)[0]),
  text("ResourceType", (row) => resourceOf(row)[1]),
  text("ServiceCategory", (row) => serviceOf(row)[1]),
  text("ServiceName", (row) => serviceOf(row)[0]),
  text("ServiceSubcategory", (row) => serviceOf(row)[2]),
  text("SkuId", skuOf),
  text("SkuMeter", ({ meter }) => METERS[meter].priced?.unit ?? METERS[meter].unit),
  text("SkuPriceDetails", () => null),
  text("SkuPriceId", (row) => `${skuOf(row)}@${row.price_list_id ?? "unpriced"}`),
  text("Tags", tagsOf),
  text("x_ApiKeyId", ({ key_id }) => key_id),
  text("x_ComputeProvider", ({ provider }) => provider),
  decimal("x_FreeQuantity", ({ free }) => free),
  text("x_FreeReason", ({ free_reason }) => free_reason),
  text("x_IntervalId", ({ source }) => source),
  text("x_Model", ({ model }) => model),
  text("x_UserId", ({ user_id }) => user_id),
];
