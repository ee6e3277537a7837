/** Pages of datasets: the list with the upload form, and one dataset with report, rows and versions. */

import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import { creatorName, withCreators } from "../../../src/accounts/organizations/creators.ts";
import { listRemoved, restrictionOf } from "../../../src/accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { CreateVersion, datasetView, ROW_ROLES, readingGiven, versionView } from "../../../src/data/datasets/model.ts";
import { readRows, tokenStats } from "../../../src/data/datasets/rows.ts";
import { deleteDataset, getDataset, listDatasets } from "../../../src/data/datasets/service.ts";
import { tokensOf } from "../../../src/data/datasets/token-counts.ts";
import { jobsUsing, usesOf } from "../../../src/data/datasets/usage.ts";
import { createVersion, listVersions, versionOf } from "../../../src/data/datasets/versions.ts";
import { nested, parseWith, readUpload } from "../../../src/data/files/forms.ts";
import { getFile, keepFile } from "../../../src/data/files/service.ts";
import { readPii } from "../../../src/data/privacy/findings.ts";
import { FORMATS } from "../../../src/data/validation/formats/detect.ts";
import { SPLITS, type VersionRow } from "../../../src/data/validation/model.ts";
import { AppError, ERROR_TABLE, errorBody } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { backupsSince } from "../../../src/insights/installation/backups.ts";
import { listed } from "../../../src/lib/page.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import { importsShown } from "./import-routes.tsx";
import { ImportList } from "./imports.tsx";
import { DatasetList, DatasetsPage } from "./list.tsx";
import { mappingProps } from "./mapping-routes.tsx";
import type { RowItem } from "./row-type.tsx";
import { DatasetRows } from "./rows.tsx";
import { DatasetFindings, DatasetPage, type DatasetProps, isNewest } from "./show.tsx";
import { DatasetUpdate } from "./update.tsx";

const PAGE = 25;
const ROWS = 10;
/** Backups that a message names. */
const SHOWN_BACKUPS = 5;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
/** Fields of the upload form beside the file. */
const UploadFields = v.object({ stays_local: v.optional(v.literal("true")) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ShowQuery = v.object({
  version: text(100),
  base: text(200),
  split: v.optional(v.picklist(SPLITS), "train"),
  q: text(200),
  role: v.optional(v.picklist(["", ...ROW_ROLES]), ""),
  label: text(200),
  problem: text(60),
  min: v.optional(v.pipe(v.string(), v.regex(/^\d{0,12}$/)), ""),
  max: v.optional(v.pipe(v.string(), v.regex(/^\d{0,12}$/)), ""),
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number)), "0"),
});

/** Stores an uploaded file as a dataset, and returns the path of its page. */
async function receiveDataset(ctx: Ctx, actor: Actor, request: Request): Promise<string> {
  const form = await readUpload(ctx, request, {
    field: "file",
    limit: ctx.config.max_upload_bytes,
    raw: true,
    org: actor.org,
  });
  try {
    const staysLocal = parseWith(UploadFields, form.fields).stays_local === "true";
    const file = { filename: form.filename, purpose: "fine-tune" };
    const made = await keepFile(ctx, actor, form.received, file, { staysLocal });
    return `/datasets/${made.dataset?.id ?? ""}`;
  } finally {
    await rm(form.received.path, { force: true });
  }
}

/** Token counts, or the error for their absence: the page is useful without them. */
async function countedTokens(ctx: Ctx, actor: Actor, versionId: string, baseModelId: string) {
  try {
    return await tokenStats(ctx, actor, versionId, baseModelId);
  } catch (error) {
    if (error instanceof AppError && error.kind !== "internal") return error;
    throw error;
  }
}

/** A page of rows; null when they cannot be read, because the page is useful without them. */
async function rowsShown(ctx: Ctx, actor: Actor, versionId: string, query: v.InferOutput<typeof ShowQuery>) {
  const { split, after, q, role, label, problem, min, max } = query;
  try {
    return await readRows(ctx, actor, versionId, {
      split,
      after,
      limit: ROWS,
      search: q || undefined,
      role: role || undefined,
      label: label || undefined,
      problem: problem || undefined,
      minCharacters: min ? Number(min) : undefined,
      maxCharacters: max ? Number(max) : undefined,
    });
  } catch (cause) {
    ctx.log("error", "the rows of a dataset could not be read", { version: versionId, cause });
    return null;
  }
}

/** Datasets that a merge is offered with. */
const MAX_OTHERS = 50;

/** Other datasets with ready rows of the same type. */
async function mergeable(ctx: Ctx, actor: Actor, { datasetId, rowType }: VersionRow) {
  const rows = await listDatasets(ctx, actor, { limit: MAX_OTHERS });
  return rows
    .filter((row) => row.version?.status === "ready" && row.version.rowType === rowType && row.dataset.id !== datasetId)
    .map((row) => ({ id: row.dataset.id, name: row.dataset.name }));
}

async function propsOf(
  ctx: Ctx,
  actor: Actor,
  id: string,
  query: v.InferOutput<typeof ShowQuery>,
): Promise<DatasetProps> {
  const dataset = await getDataset(ctx, actor, id);
  const version = await versionOf(ctx, actor, id, query.version || undefined);
  const source = version.fileId ? await getFile(ctx, actor, version.fileId).catch(() => null) : null;
  const ready = version.status === "ready";
  const installed = ready
    ? (await listModels(ctx, actor)).map(({ id }) => id).filter((id) => !id.startsWith("ft:"))
    : [];
  const bases = installed.toSorted((a, b) => Number(b === query.base) - Number(a === query.base));
  const [base] = bases;
  const counted = base ? await countedTokens(ctx, actor, version.id, base) : null;
  const found = ready ? await rowsShown(ctx, actor, version.id, query) : null;
  return {
    dataset,
    creator: await creatorName(ctx, dataset.createdBy),
    version: versionView(version, source?.bytes ?? null),
    report: version.report,
    versions: await listVersions(ctx, actor, id),
    ...(counted instanceof AppError
      ? { tokens: null, uncounted: counted.message }
      : {
          tokens: counted && base ? { stats: counted, baseModel: base, bases } : null,
          uncounted: ready && !base ? "no_base_model" : null,
        }),
    rows: found ? { items: found.rows as unknown as RowItem[], next: found.next, split: query.split } : null,
    users: await jobsUsing(ctx, actor, id),
    mapping:
      version.status === "needs_mapping" && version.report?.mapping
        ? await mappingProps(ctx, actor, id, { version: version.id })
        : null,
    pii: ready ? await readPii(ctx, actor, id, version.id) : null,
    barred: await restrictionOf(ctx, version.id),
    others: ready ? await mergeable(ctx, actor, version) : [],
  };
}

/** The form fields as settings of a version. */
function versionSettings(body: Record<string, unknown>) {
  const fields = nested(
    Object.fromEntries(Object.entries(body).filter(([, value]) => value !== "")) as Record<string, string>,
  );
  const { holdout_percent: percent, ...rest } = fields as Record<string, unknown>;
  return parseWith(
    CreateVersion,
    percent === undefined ? rest : { ...rest, holdout_fraction: String(Number(percent) / 100) },
  );
}

const ListQuery = v.object({ after: text(100), q: text(100), created_by: text(100) });
const VersionForm = v.record(v.string(), v.pipe(v.string(), v.maxLength(500)));
const DeleteForm = v.object({ confirm: text(300) });

interface Call {
  request: Request;
  actor: Actor;
}
interface Upload extends Call {
  server: { timeout(request: Request, seconds: number): void } | null;
}
interface OnDataset extends Call {
  params: v.InferOutput<typeof Id>;
}

const handlers = (ctx: Ctx) => ({
  async list({ request, actor, query }: Call & { query: v.InferOutput<typeof ListQuery> }) {
    const page = { after: query.after || undefined, search: query.q, createdBy: query.created_by, limit: PAGE };
    const rows = await listDatasets(ctx, actor, page);
    const tokens = await tokensOf(
      ctx,
      rows.flatMap((row) => row.version?.id ?? []),
    );
    const uses = await usesOf(
      ctx,
      actor,
      rows.map((row) => row.dataset.id),
    );
    const views = rows.map((row) => ({
      ...datasetView(row.dataset, row.version),
      tokens: tokens.get(row.version?.id ?? "") ?? null,
      jobs: uses.get(row.dataset.id) ?? 0,
    }));
    const of = listed(await withCreators(ctx, views, (row) => row.created_by), PAGE);
    const imports = await importsShown(ctx, actor);
    const removed = await listRemoved(ctx, actor.org, "dataset");
    const all = { ...of, imports, removed, formats: FORMATS };
    return html(pageOf(ctx, request, actor), <DatasetsPage {...all} />, {
      fragments: { datasets: () => <DatasetList {...of} />, imports: () => <ImportList imports={imports} /> },
    });
  },
  /** Answers the upload script with JSON, also on errors, because it shows the message next to the file. */
  async uploadByScript({ request, actor, server }: Upload) {
    server?.timeout(request, 0);
    try {
      return Response.json({ url: await receiveDataset(ctx, actor, request) });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return Response.json(errorBody(error), { status: ERROR_TABLE[error.kind].status });
    }
  },
  async upload({ request, actor, server }: Upload) {
    server?.timeout(request, 0);
    return redirect(request, await receiveDataset(ctx, actor, request));
  },
  async show({ request, actor, params, query }: OnDataset & { query: v.InferOutput<typeof ShowQuery> }) {
    const gone = await restrictionOf(ctx, params.id);
    if (gone?.kind === "removed" && gone.org === actor.org && gone.caseId)
      return redirect(request, `/moderation/${gone.caseId}`);
    const of = await propsOf(ctx, actor, params.id, query);
    return html(pageOf(ctx, request, actor), <DatasetPage {...of} />, {
      fragments: {
        state: () => <DatasetUpdate {...of} />,
        rows: () => <DatasetRows {...of} editable={isNewest(of)} />,
        findings: () => <DatasetFindings {...of} />,
      },
    });
  },
  async createVersion({ request, actor, params, body }: OnDataset & { body: v.InferOutput<typeof VersionForm> }) {
    try {
      const given = versionSettings(body);
      await createVersion(ctx, actor, params.id, {
        mapping: given.mapping,
        holdoutFraction: given.holdout_fraction,
        seed: given.seed,
        skipBad: given.skip_bad,
        removeDuplicates: given.remove_duplicates,
        reading: readingGiven(given),
      });
      return redirect(request, `/datasets/${params.id}`);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      return redirect(request, `/datasets/${params.id}`, { kind: "bad", text: error.message });
    }
  },
  async delete({ request, actor, params, body }: OnDataset & { body: v.InferOutput<typeof DeleteForm> }) {
    const row = await getDataset(ctx, actor, params.id);
    if (body.confirm !== row.name)
      throw new AppError("invalid", "not_confirmed", "Type the dataset's name to delete it.", { param: "confirm" });
    const { createdAt } = await deleteDataset(ctx, actor, params.id);
    const backups = await backupsSince(ctx, createdAt);
    const more = backups.length > SHOWN_BACKUPS ? ` and ${backups.length - SHOWN_BACKUPS} more` : "";
    const shown = backups.slice(0, SHOWN_BACKUPS).join(", ");
    const left = shown ? ` These backups still have its rows: ${shown}${more}.` : "";
    return redirect(request, "/datasets", `The dataset was deleted.${left}`);
  },
});

export const datasetsPages = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "datasets.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/datasets", route.list, { query: ListQuery })
    .put("/datasets/upload", route.uploadByScript, { parse: "none" })
    .post("/datasets/upload", route.upload, { parse: "none" })
    .get("/datasets/:id", route.show, { params: Id, query: ShowQuery })
    .post("/datasets/:id/versions", route.createVersion, { params: Id, body: VersionForm })
    .post("/datasets/:id/delete", route.delete, { params: Id, body: DeleteForm });
};
