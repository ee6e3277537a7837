/** `usage` and `usage export`: what a month cost, by user, model, key, kind or provider; and its use as a file. */
import { EXPORT_FORMATS, type ExportFormat } from "../../billing/exports/model.ts";
import type { UsageSummary } from "../../billing/ledger/model.ts";
import { monthAt, monthRange } from "../../billing/meters/months.ts";
import { formatInteger, formatMoney, formatNumber } from "../../lib/text/format.ts";
import { EXIT, UsageError, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { downloadTo } from "./download.ts";
import { print, printJson, table } from "./output.ts";

function usageText({ month, group_by, work, requests, total_cost_usd }: UsageSummary): string {
  const by = group_by.toUpperCase();
  const done = table(
    [
      { title: by, value: (row) => row.group, flexible: true },
      { title: "ATTEMPTS", value: (row) => formatInteger(row.attempts), end: true },
      { title: "HOURS", value: (row) => formatNumber(row.hours), end: true },
      { title: "GPU-HOURS", value: (row) => formatNumber(row.gpu_hours), end: true },
      { title: "TOKENS", value: (row) => formatInteger(row.tokens), end: true },
      { title: "COST", value: (row) => formatMoney(row.cost_usd), end: true },
    ],
    work,
  );
  const asked = table(
    [
      { title: by, value: (row) => row.group, flexible: true },
      { title: "REQUESTS", value: (row) => formatInteger(row.requests), end: true },
      { title: "PROMPT TOKENS", value: (row) => formatInteger(row.prompt_tokens), end: true },
      { title: "COMPLETION TOKENS", value: (row) => formatInteger(row.completion_tokens), end: true },
    ],
    requests,
  );
  return [
    `${month}, total ${formatMoney(total_cost_usd)}\n`,
    work.length > 0 ? `\n${done}` : "",
    requests.length > 0 ? `\n${asked}` : "",
  ].join("");
}

const usage: Verb = {
  name: "usage",
  summary: "Shows the usage and cost of a month.",
  options: {
    month: { value: "YYYY-MM", help: "which month (default: the current one)" },
    by: { value: "user|model|key|kind|provider", help: "grouped by (default user)" },
    ...SERVER_OPTIONS,
  },
  async run(args) {
    const query = new URLSearchParams({ group_by: args.text("by") ?? "user" });
    const month = args.text("month");
    if (month) query.set("month", month);
    const summary = await connect(args).call<UsageSummary>("GET", `/v1/usage?${query}`);
    if (args.on("json")) printJson(summary);
    else print(usageText(summary));
    return EXIT.ok;
  },
};

/** The names of the files as the server would give them. */
const ENDINGS: Record<ExportFormat, string> = {
  csv: "csv",
  jsonl: "jsonl",
  parquet: "parquet",
  focus_csv: "focus.csv",
  focus_parquet: "focus.parquet",
};

const usageExport: Verb = {
  name: "usage export",
  summary: "Downloads the metered use of a month, as intervals or as FOCUS rows for finance tools.",
  options: {
    month: { value: "YYYY-MM", help: "which month, UTC (default: the current one)" },
    format: { value: EXPORT_FORMATS.join("|"), help: "format of the file (default csv)" },
    output: { value: "FILE", short: "o", help: "where to write (default usage-MONTH.FORMAT)" },
    ...SERVER_OPTIONS,
  },
  async run(args) {
    const month = args.text("month") ?? monthAt(Date.now());
    if (!/^\d{4}-(0[1-9]|1[0-2])$/.test(month)) throw new UsageError("--month must be a month such as 2026-11.");
    const format = EXPORT_FORMATS.find((known) => known === (args.text("format") ?? "csv"));
    if (!format) throw new UsageError(`--format must be one of ${EXPORT_FORMATS.join(", ")}.`);
    const { from, to } = monthRange(month);
    const query = new URLSearchParams({ format, from: String(from / 1000), to: String(to / 1000) });
    const target = args.text("output") ?? `usage-${month}.${ENDINGS[format]}`;
    await downloadTo(connect(args), `/v1/usage/export?${query}`, target);
    if (args.on("json")) printJson({ file: target });
    else print(`${target}\n`);
    return EXIT.ok;
  },
};

export const USAGE_VERBS: readonly Verb[] = [usage, usageExport];
