/** Statements as CSV: a line for each line of a statement, and one for what credits and tax change. */
import { csvField } from "../../lib/text/csv.ts";
import type { Detail } from "./service.ts";

const HEADER =
  "statement,month,team_id,team,state,kind,description,quantity,unit,unit_price_usd,cost_usd,amount_usd".split(",");

const cell = (value: string | number | null) =>
  value === null ? "" : typeof value === "number" ? String(value) : csvField(value);

/** The amounts of a statement's rows add up to its total. */
export function statementsCsv(statements: Detail[]): string {
  const rows = statements.flatMap(({ view, team }) => {
    const first = [view.number, view.month, view.organization, team, view.state];
    const extra = (kind: string, description: string, usd: number) =>
      usd === 0 ? [] : [[...first, kind, description, null, null, null, usd, usd]];
    return [
      ...view.lines.map((line) => [
        ...first,
        line.kind,
        line.description,
        line.quantity,
        line.unit,
        line.unit_price_usd,
        line.cost_usd,
        line.amount_usd,
      ]),
      ...extra("credit", "Credits", -view.credits_usd),
      ...extra("tax", "Tax", view.tax_usd),
    ];
  });
  return `${[HEADER, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}
