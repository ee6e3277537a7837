/** Imports of datasets: create, list, retry and cancel them. */

import { and, desc, eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { datasetImport } from "../../db/schema/imports.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { requireOwner } from "../../roles.ts";
import type { DatasetOptions } from "../validation/records.ts";
import {
  type ImportRow,
  missingCredentials,
  type RetryImport,
  SECRETS,
  SECRETS_OF,
  type Source,
  type StoredOptions,
} from "./model.ts";
import { checkSource } from "./places.ts";
import { announceImport, importQueue, sourceOf, updateImport } from "./run.ts";

/** Unfinished imports of one organization. */
const MOST_OPEN = 50;

/** A source in two parts: what may be shown, and the credentials, which include an address with some in it. */
function parts(source: Source): { shown: Record<string, unknown>; secret: Record<string, unknown> } {
  const shown: Record<string, unknown> = {};
  const secret: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(source)) {
    if (value === null || value === undefined || value === "") continue;
    (SECRETS.includes(name as (typeof SECRETS)[number]) ? secret : shown)[name] = value;
  }
  if (source.type === "url" && shown.url !== shownUrl(source.url)) {
    secret.url = source.url;
    shown.url = shownUrl(source.url);
  }
  return { shown, secret };
}

/** Credentials as they are stored; null when there are none. */
const sealed = (ctx: Ctx, id: string, secret: Record<string, unknown>) =>
  Object.keys(secret).length > 0 ? seal(ctx.secret, sealedIn("import", id), JSON.stringify(secret)) : null;

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
  given: { source: Source; options: DatasetOptions },
): Promise<ImportRow> {
  checkSource(ctx, given.source);
  const { shown, secret } = parts(given.source);
  const credentials = Object.keys(secret);
  const id = newId("datasetImport");
  const row: ImportRow = {
    id,
    org: actor.org,
    source: shown,
    secret: sealed(ctx, id, secret),
    options: credentials.length > 0 ? { ...given.options, credentials } : given.options,
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
    await requireTurn(tx, actor.org);
    await tx.insert(datasetImport).values(row);
    await audit(tx, ctx, actor, "dataset.import", row.id, { source: shown });
  });
  importQueue(ctx).kick();
  return row;
}

/** @throws AppError `too_many_imports` */
async function requireTurn(tx: Db, org: string): Promise<void> {
  const open = await tx
    .select({ id: datasetImport.id })
    .from(datasetImport)
    .where(and(eq(datasetImport.org, org), eq(datasetImport.status, "waiting")))
    .limit(MOST_OPEN);
  if (open.length >= MOST_OPEN)
    throw new AppError("rate_limited", "too_many_imports", `${MOST_OPEN} imports wait already. Wait until some end.`);
}

/** The source of a failed import with the credentials that it has and those given. @throws AppError naming a field */
function sourceToRetry(ctx: Ctx, row: ImportRow, given: RetryImport): Source {
  const stored = sourceOf(ctx, row);
  const names = SECRETS_OF[stored.type];
  const added: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    if (!value) continue;
    if (!names.includes(name))
      throw new AppError("invalid", "invalid_value", `'${name}' does not belong to an import of this kind.`, {
        param: name,
      });
    added[name] = value;
  }
  const missing = missingCredentials(row).filter((name) => added[name] === undefined);
  if (missing[0])
    throw new AppError(
      "invalid",
      "credentials_needed",
      `The credentials of this import were deleted. Give them again: ${missing.join(", ")}.`,
      { param: missing[0] },
    );
  const shown = (row.source as { url?: string }).url;
  if (added.url !== undefined && shownUrl(added.url) !== shown)
    throw new AppError("invalid", "invalid_value", `'url' must be the address of this import, ${shown}.`, {
      param: "url",
    });
  return { ...stored, ...added };
}

/**
 * Runs a failed import again, as it was given.
 * @param given credentials in place of those of the import; needed when they were deleted
 * @throws AppError `import_not_failed`, `credentials_needed`, and those of a new import
 */
export async function retryImport(ctx: Ctx, actor: Actor, id: string, given: RetryImport = {}): Promise<ImportRow> {
  const row = await getImport(ctx, actor, id);
  if (row.status !== "failed")
    throw new AppError("conflict", "import_not_failed", `The import ${id} has not failed: it is ${row.status}.`);
  const source = sourceToRetry(ctx, row, given);
  checkSource(ctx, source);
  const { secret } = parts(source);
  const credentials = Object.keys(secret);
  const again: Partial<ImportRow> = {
    secret: sealed(ctx, id, secret),
    options: { ...(row.options as StoredOptions), ...(credentials.length > 0 ? { credentials } : {}) },
    status: "waiting",
    filename: null,
    bytesTotal: null,
    bytesDone: 0,
    error: null,
    finishedAt: null,
  };
  await ctx.write(async (tx) => {
    await requireTurn(tx, actor.org);
    const failed = and(eq(datasetImport.id, id), eq(datasetImport.status, "failed"));
    const changed = await tx.update(datasetImport).set(again).where(failed).returning({ id: datasetImport.id });
    // Another request was faster; the import runs already.
    if (changed.length > 0) await audit(tx, ctx, actor, "dataset.import.retry", id);
  });
  announceImport(ctx, row);
  importQueue(ctx).kick();
  return getImport(ctx, actor, id);
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
  requireOwner(actor, row.createdBy);
  const changed = await updateImport(ctx, row, { status: "canceled", secret: null, finishedAt: ctx.clock.now() });
  if (!changed) throw new AppError("conflict", "import_ended", `The import ${id} has ended already.`);
  await ctx.write((tx) => audit(tx, ctx, actor, "dataset.import.cancel", id));
  importQueue(ctx).stop(id);
  return getImport(ctx, actor, id);
}
