/** Exports of metered use: intervals or FOCUS rows of a period, in one of several formats. */
import { eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { focusColumns, isCharge } from "./focus.ts";
import { INTERVAL_COLUMNS, type Interval, intervalPages } from "./intervals.ts";
import type { ExportFormat } from "./model.ts";

import type { Period } from "./series.ts";
import { asCsv, asJsonLines, asParquet } from "./write.ts";

const MAX_DAYS = 400;

const TYPES: Record<ExportFormat, { type: string; ending: string }> = {
  csv: { type: "text/csv; charset=utf-8", ending: "csv" },
  jsonl: { type: "application/jsonl", ending: "jsonl" },
  parquet: { type: "application/vnd.apache.parquet", ending: "parquet" },
  focus_csv: { type: "text/csv; charset=utf-8", ending: "focus.csv" },
  focus_parquet: { type: "application/vnd.apache.parquet", ending: "focus.parquet" },
};

/** Only rows that are charges; pages without any are left out. */
async function* charges(pages: AsyncIterable<Interval[]>): AsyncGenerator<Interval[]> {
  for await (const rows of pages) {
    const kept = rows.filter(isCharge);
    if (kept.length) yield kept;
  }
}

async function accountName(ctx: Ctx, org: string): Promise<string> {
  const [row] = await ctx.db.select({ name: organization.name }).from(organization).where(eq(organization.id, org));
  return row?.name ?? org;
}

async function piecesOf(
  ctx: Ctx,
  actor: Actor,
  period: Period,
  format: ExportFormat,
): Promise<AsyncGenerator<string | Uint8Array>> {
  const pages = intervalPages(ctx, actor, period);
  if (format === "csv") return asCsv(INTERVAL_COLUMNS, pages);
  if (format === "jsonl") return asJsonLines(INTERVAL_COLUMNS, pages);
  if (format === "parquet") return asParquet(INTERVAL_COLUMNS, pages);
  const columns = focusColumns(await accountName(ctx, actor.org));
  return format === "focus_csv" ? asCsv(columns, charges(pages)) : asParquet(columns, charges(pages));
}

/**
 * The intervals that begin in a period, as a file. Members get their own, other roles those of the team.
 * @throws AppError `invalid_period` when it ends before it begins, or has more than 400 days
 */
export async function exportUsage(
  ctx: Ctx,
  actor: Actor,
  { from, to, format }: Period & { format: ExportFormat },
): Promise<{ source: AsyncGenerator<string | Uint8Array>; type: string; filename: string }> {
  if (to <= from) throw new AppError("invalid", "invalid_period", "'to' must be later than 'from'.", { param: "to" });
  if (to - from > MAX_DAYS * DAY_MS)
    throw new AppError("invalid", "invalid_period", `An export has at most ${MAX_DAYS} days: use a shorter period.`, {
      param: "from",
    });
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  const { type, ending } = TYPES[format];
  const source = await piecesOf(ctx, actor, { from, to }, format);
  return { source, type, filename: `usage-${day(from)}-${day(to - 1)}.${ending}` };
}
