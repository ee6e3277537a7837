/** Pages of datasets: the list with its drop zone, and one dataset with report, rows and versions. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import { assetPath } from "../../../src/assets.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { CreateVersion, datasetView, versionView } from "../../../src/data/datasets/model.ts";
import { readRows, tokenStats } from "../../../src/data/datasets/rows.ts";
import { deleteDataset, getDataset, listDatasets } from "../../../src/data/datasets/service.ts";
import { resolveTrainingData } from "../../../src/data/datasets/training-data.ts";
import { jobsUsing } from "../../../src/data/datasets/usage.ts";
import { createVersion, listVersions, versionOf } from "../../../src/data/datasets/versions.ts";
import { nested, parseWith, readUpload } from "../../../src/data/files/forms.ts";
import { createFile, getFile, keepFile } from "../../../src/data/files/service.ts";
import { FORMATS } from "../../../src/data/validation/formats/detect.ts";
import { SPLITS } from "../../../src/data/validation/model.ts";
import { AppError, ERROR_TABLE, errorBody } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import { DatasetList, DatasetsPage } from "./list.tsx";
import type { RowItem } from "./row-type.tsx";
import { DatasetRows } from "./rows.tsx";
import { DatasetBadge, DatasetFindings, DatasetNext, DatasetPage, type DatasetProps, DatasetState } from "./show.tsx";

const PAGE = 25;
const ROWS = 10;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ShowQuery = v.object({
  version: text(100),
  split: v.optional(v.picklist(SPLITS), "train"),
  q: text(200),
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number)), "0"),
});

/** Takes an uploaded file in and returns the page of the dataset it became. */
async function take(ctx: Ctx, actor: Actor, request: Request): Promise<string> {
  const form = await readUpload(ctx, request, {
    field: "file",
    limit: ctx.config.max_upload_bytes,
    raw: true,
    org: actor.org,
  });
  try {
    const made = await keepFile(ctx, actor, form.received, { filename: form.filename, purpose: "fine-tune" });
    return `/datasets/${made.dataset?.id ?? ""}`;
  } finally {
    await rm(form.received.path, { force: true });
  }
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
  const [base] = ready ? (await listModels(ctx, actor)).filter((model) => !model.id.startsWith("ft:")) : [];
  const counted = base
    ? await tokenStats(ctx, actor, version.id, base.id).catch((error: unknown) => {
        // The rest of the page is worth showing without token counts, and says why there are none.
        if (error instanceof AppError && error.kind !== "internal") return error;
        throw error;
      })
    : null;
  const found = ready
    ? await readRows(ctx, actor, version.id, {
        split: query.split,
        after: query.after,
        limit: ROWS,
        search: query.q || undefined,
      }).catch((cause) => {
        // The rest of the page is worth showing when the rows cannot be read.
        ctx.log("error", "the rows of a dataset could not be read", { version: version.id, cause });
        return null;
      })
    : null;
  return {
    dataset,
    version: versionView(version, source?.bytes ?? null),
    report: version.report,
    versions: await listVersions(ctx, actor, id),
    ...(counted instanceof AppError
      ? { tokens: null, uncounted: counted.message }
      : {
          tokens: counted && base ? { stats: counted, baseModel: base.id } : null,
          uncounted: ready && !base ? "no_base_model" : null,
        }),
    rows: found ? { items: found.rows as unknown as RowItem[], next: found.next, split: query.split } : null,
    users: await jobsUsing(ctx, actor, id),
  };
}

/** The fields of the page's forms as settings of a version. */
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

export const datasetsPages = (ctx: Ctx) =>
  new Elysia({ name: "datasets.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/datasets",
      async ({ request, actor, query }) => {
        const page = { after: query.after || undefined, search: query.q, limit: PAGE };
        const rows = await listDatasets(ctx, actor, page);
        const of = listed(
          rows.map((row) => datasetView(row.dataset, row.version)),
          PAGE,
        );
        return html(pageOf(ctx, request, actor), <DatasetsPage {...of} formats={FORMATS} />, {
          fragments: { datasets: () => <DatasetList {...of} /> },
        });
      },
      { query: v.object({ after: text(100), q: text(100) }) },
    )
    .put(
      "/datasets/upload",
      async ({ request, actor, server }) => {
        server?.timeout(request, 0);
        try {
          return Response.json({ url: await take(ctx, actor, request) });
        } catch (error) {
          // The script shows the message beside the file: always JSON here, never an error page.
          if (!(error instanceof AppError)) throw error;
          return Response.json(errorBody(error), { status: ERROR_TABLE[error.kind].status });
        }
      },
      { parse: "none" },
    )
    .post(
      "/datasets/upload",
      async ({ request, actor, server }) => {
        server?.timeout(request, 0);
        return redirect(request, await take(ctx, actor, request));
      },
      { parse: "none" },
    )
    .post("/datasets/sample", async ({ request, actor }) => {
      const file = await createFile(ctx, actor, {
        filename: "support-messages.jsonl",
        purpose: "fine-tune",
        body: Bun.file(assetPath("examples/support-messages.jsonl")).stream(),
      });
      const version = await resolveTrainingData(ctx, actor, file.id, "file");
      return redirect(request, `/datasets/${version.datasetId}`, "The sample dataset is here.");
    })
    .get(
      "/datasets/:id",
      async ({ request, actor, params, query }) => {
        const of = await propsOf(ctx, actor, params.id, query);
        return html(pageOf(ctx, request, actor), <DatasetPage {...of} />, {
          fragments: {
            state: () => <DatasetState {...of} />,
            rows: () => <DatasetRows {...of} />,
            badge: () => <DatasetBadge {...of} />,
            next: () => <DatasetNext {...of} />,
            findings: () => <DatasetFindings {...of} />,
          },
        });
      },
      { params: Id, query: ShowQuery },
    )
    .post(
      "/datasets/:id/versions",
      async ({ request, actor, params, body }) => {
        try {
          const given = versionSettings(body as Record<string, unknown>);
          await createVersion(ctx, actor, params.id, {
            mapping: given.mapping,
            holdoutFraction: given.holdout_fraction,
            seed: given.seed,
            skipBad: given.skip_bad,
          });
          return redirect(request, `/datasets/${params.id}`);
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal") throw error;
          return redirect(request, `/datasets/${params.id}`, { kind: "bad", text: error.message });
        }
      },
      { params: Id, body: v.record(v.string(), v.pipe(v.string(), v.maxLength(500))) },
    )
    .post(
      "/datasets/:id/delete",
      async ({ request, actor, params, body }) => {
        const row = await getDataset(ctx, actor, params.id);
        if (body.confirm !== row.name)
          throw new AppError("invalid", "not_confirmed", "Type the dataset's name to delete it.", { param: "confirm" });
        await deleteDataset(ctx, actor, params.id);
        return redirect(request, "/datasets", "The dataset is deleted.");
      },
      { params: Id, body: v.object({ confirm: text(300) }) },
    );
