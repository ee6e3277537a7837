/** The plan of a training job as text. */
import { formatBytes, formatDuration, formatInteger, formatMoney } from "../../lib/text/format.ts";
import type { PlanView } from "../../training/plan/plan.ts";
import { resolvedOf } from "../../training/plan/resolved-text.ts";
import { fields, oneLine, table } from "./output.ts";

const MB = 1024 ** 2;

const between = (range: [number, number] | null, format: (value: number) => string) =>
  range === null ? null : range[0] === range[1] ? format(range[0]) : `${format(range[0])} to ${format(range[1])}`;

/** Settings that were `auto`, with the reason for each value. */
function settings({ spec, reasons }: PlanView): string {
  const values = resolvedOf(spec);
  const rows = Object.entries(reasons).map(([name, why]) => ({ name, value: values[name], why }));
  if (rows.length === 0) return "";
  return `\n${table(
    [
      { title: "SETTING", value: (row) => row.name },
      { title: "VALUE", value: (row) => row.value ?? null },
      { title: "WHY", value: (row) => row.why, flexible: true },
    ],
    rows,
  )}`;
}

/** What the job would do and need, its resolved settings, and the warnings. */
export function planText(plan: PlanView): string {
  const { spec, offers, suggestion, warnings } = plan;
  const best = offers?.find((one) => one.fits) ?? null;
  const { train_rows: rows, holdout_rows: held } = spec.dataset;
  const machine =
    best === null
      ? offers === null
        ? null
        : "no machine fits"
      : `${best.provider} in ${best.location}${best.gpu ? `, ${best.gpus} x ${best.gpu}` : ", CPU"}`;
  return [
    fields([
      ["Base model", spec.base_model.id],
      ["Method", spec.method.type],
      ["Rows", plan.ready ? `${formatInteger(rows)}, and ${formatInteger(held)} for validation` : "being validated"],
      ["Steps", plan.ready ? formatInteger(plan.steps) : null],
      ["Tokens", plan.tokens === null ? null : formatInteger(plan.tokens)],
      ["Time", between(plan.seconds_range, formatDuration)],
      ["Memory", formatBytes(plan.memory_mb * MB)],
      ["Machine", machine],
      ["Cost", between(plan.cost_usd, formatMoney)],
      ["Maximum cost", plan.max_cost_usd === null ? null : formatMoney(plan.max_cost_usd)],
    ]),
    settings(plan),
    ...warnings.map((text) => `\nwarning: ${oneLine(text)}\n`),
    suggestion ? `\nIt would fit with: ${oneLine(suggestion.words)}\n` : "",
  ].join("");
}
