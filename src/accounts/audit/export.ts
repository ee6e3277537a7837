/** The audit log as a file: every entry that matches the filter as CSV or JSON lines, read in batches. */
import type { Actor, Ctx } from "../../ctx.ts";
import { csvField } from "../../lib/text/csv.ts";
import { type AuditRowView, auditRowView } from "./model.ts";
import { namesOf } from "./names.ts";
import { type AuditFilter, listAudit } from "./service.ts";

const BATCH = 1000;
const COLUMNS = ["time", "actor", "actor_email", "action", "target", "target_name", "detail", "id", "hash"];

function csvLine(row: AuditRowView): string {
  const fields = [
    new Date(row.created_at * 1000).toISOString(),
    row.actor,
    row.actor_email ?? "",
    row.action,
    row.target,
    row.target_name ?? "",
    JSON.stringify(row.detail),
    row.id,
    row.hash,
  ];
  return fields.map(csvField).join(",");
}

/** The entries, newest first, in pieces of at most 1,000 lines. */
export async function* exportAudit(
  ctx: Ctx,
  actor: Actor,
  format: "csv" | "jsonl",
  filter: AuditFilter,
): AsyncGenerator<string> {
  if (format === "csv") yield `${COLUMNS.join(",")}\r\n`;
  let after: string | undefined;
  for (;;) {
    const rows = await listAudit(ctx, actor, { ...filter, after, limit: BATCH });
    const names = await namesOf(ctx, rows);
    const views = rows.map((row) => auditRowView(row, names));
    if (format === "csv") yield views.map((view) => `${csvLine(view)}\r\n`).join("");
    else yield views.map((view) => `${JSON.stringify(view)}\n`).join("");
    if (rows.length < BATCH) return;
    after = rows.at(-1)?.id;
  }
}
