/** Imports of datasets: create, list and cancel them. */
import { and, desc, eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { datasetImport } from "../../db/schema/imports.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { type ImportRow, SECRETS, type Source, type StoredOptions } from "./model.ts";
import { checkSource } from "./places.ts";
import { kickImports, purposeOf, stopImport, updateImport } from "./run.ts";

/** Unfinished imports of one organization. */
const MOST_OPEN = 50;

/** A source in two parts: what may be shown, and the credentials. */
function parts(source: Source): { shown: Record<string, unknown>; secret: Record<string, unknown> } {
  const shown: Record<string, unknown> = {};
  const secret: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(source)) {
    if (value === null || value === undefined || value === "") continue;
    (SECRETS.includes(name as (typeof SECRETS)[number]) ? secret : shown)[name] = value;
  }
  return { shown, secret };
}

/** An address without its user, password and query, which can be credentials. */
function shownUrl(text: string): string {
  const url = URL.parse(text);
  return url ? `${url.origin}${url.pathname}` : text;
}

/**
 * Creates an import and starts it in the background.
 * @throws AppError `address_refused`, `path_refused`, `offline`, `hub_disabled`, `too_many_imports`
 */
export async function createImport(
  ctx: Ctx,
  actor: Actor,
  given: { source: Source; options: StoredOptions },
): Promise<ImportRow> {
  checkSource(ctx, given.source);
  const { shown, secret } = parts(given.source);
  // The whole address is kept with the credentials.
  if (given.source.type === "url" && shown.url !== shownUrl(given.source.url)) {
    secret.url = given.source.url;
    shown.url = shownUrl(given.source.url);
  }
  const row: ImportRow = {
    id: newId("datasetImport"),
    org: actor.org,
    source: shown,
    secret: Object.keys(secret).length > 0 ? seal(ctx.secret, purposeOf(actor.org), JSON.stringify(secret)) : null,
    options: given.options,
    status: "waiting",
    filename: null,
    bytesTotal: null,
    bytesDone: 0,
    error: null,
    datasetId: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
    finishedAt: null,
  };
  await ctx.write(async (tx) => {
    const open = await tx
      .select({ id: datasetImport.id })
      .from(datasetImport)
      .where(and(eq(datasetImport.org, actor.org), eq(datasetImport.status, "waiting")))
      .limit(MOST_OPEN);
    if (open.length >= MOST_OPEN)
      throw new AppError("rate_limited", "too_many_imports", `${MOST_OPEN} imports wait already. Wait until some end.`);
    await tx.insert(datasetImport).values(row);
    await audit(tx, ctx, actor, "dataset.import", row.id, { source: shown });
  });
  kickImports(ctx);
  return row;
}

export async function getImport(ctx: Ctx, actor: Actor, id: string): Promise<ImportRow> {
  const [row] = await ctx.db
    .select()
    .from(datasetImport)
    .where(and(eq(datasetImport.id, id), eq(datasetImport.org, actor.org)));
  if (!row) throw notFound("dataset_import", id);
  return row;
}

/** Imports, newest first; at most `limit + 1`. */
export async function listImports(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<ImportRow[]> {
  const from = page.after ? await getImport(ctx, actor, page.after) : undefined;
  return ctx.db
    .select()
    .from(datasetImport)
    .where(and(eq(datasetImport.org, actor.org), from && olderThan(datasetImport, from)))
    .orderBy(desc(datasetImport.createdAt), desc(datasetImport.id))
    .limit(page.limit + 1);
}

/** Cancels an unfinished import. @throws AppError `import_ended` */
export async function cancelImport(ctx: Ctx, actor: Actor, id: string): Promise<ImportRow> {
  const row = await getImport(ctx, actor, id);
  const changed = await updateImport(ctx, row, { status: "canceled", secret: null, finishedAt: ctx.clock.now() });
  if (!changed) throw new AppError("conflict", "import_ended", `The import ${id} has ended already.`);
  await ctx.write((tx) => audit(tx, ctx, actor, "dataset.import.cancel", id));
  stopImport(ctx, id);
  return getImport(ctx, actor, id);
}
