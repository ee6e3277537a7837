/** `usage`: what a month cost, by user, model, key, kind or provider. */
import type { UsageSummary } from "../../billing/ledger/model.ts";
import { formatInteger, formatMoney, formatNumber } from "../../lib/text/format.ts";
import { EXIT, type Verb } from "../command.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
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

export const usage: Verb = {
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
