/** The records of acceptance, for administrators: a list, and all of them as CSV or JSON lines. */
import { and, desc, eq } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { termsAcceptance } from "../../db/schema/terms.ts";
import { notFound } from "../../errors.ts";
import { csvField } from "../../lib/text/csv.ts";
import { type AcceptanceRow, acceptanceView, type DocumentName } from "./model.ts";

const BATCH = 1000;
const COLUMNS = [
  "time",
  "user",
  "email",
  "document",
  "version",
  "how",
  "adult",
  "address",
  "user_agent",
  "version_id",
  "id",
];

/** Acceptances, newest first. */
export async function listAcceptances(
  ctx: Ctx,
  actor: Actor,
  page: { document?: DocumentName; after?: string; limit: number },
): Promise<AcceptanceRow[]> {
  requireAdmin(actor);
  const [from] = page.after
    ? await ctx.db.select().from(termsAcceptance).where(eq(termsAcceptance.id, page.after))
    : [];
  if (page.after && !from) throw notFound("terms_acceptance", page.after);
  return ctx.db
    .select()
    .from(termsAcceptance)
    .where(and(page.document && eq(termsAcceptance.document, page.document), olderThan(termsAcceptance, from)))
    .orderBy(desc(termsAcceptance.createdAt), desc(termsAcceptance.id))
    .limit(page.limit);
}

function csvLine(row: AcceptanceRow): string {
  const { userId, email, document, number, how, adult, address, userAgent, versionId, id } = row;
  const time = new Date(row.createdAt).toISOString();
  return [time, userId, email, document, String(number), how, String(adult), address, userAgent, versionId, id]
    .map(csvField)
    .join(",");
}

/** All acceptances, newest first, in pieces of at most 1,000 lines. */
export async function* exportAcceptances(
  ctx: Ctx,
  actor: Actor,
  format: "csv" | "jsonl",
  document?: DocumentName,
): AsyncGenerator<string> {
  if (format === "csv") yield `${COLUMNS.join(",")}\r\n`;
  let after: string | undefined;
  for (;;) {
    const rows = await listAcceptances(ctx, actor, { document, after, limit: BATCH });
    if (format === "csv") yield rows.map((row) => `${csvLine(row)}\r\n`).join("");
    else yield rows.map((row) => `${JSON.stringify(acceptanceView(row))}\n`).join("");
    if (rows.length < BATCH) return;
    after = rows.at(-1)?.id;
  }
}
