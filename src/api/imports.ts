/** /v1/datasets/import: datasets copied from a hub, a web address, a bucket or a directory, in the background. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { readingGiven } from "../data/datasets/model.ts";
import { CreateImport, ImportView, importView, RetryImport } from "../data/imports/model.ts";
import { cancelImport, createImport, getImport, listImports, retryImport } from "../data/imports/service.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Datasets"];
const HELP =
  '`source` is `{"type": "huggingface", "repo": …, "split": …}`, `{"type": "url", "url": …}`, `{"type": "s3", "endpoint": …, "bucket": …, "key": …}` or `{"type": "path", "path": …}`. Credentials are stored encrypted, and deleted when the import is done or canceled, or a day after it failed. `stays_local` and the settings of a version can be given as for a new dataset.';

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

export const importsApi = (ctx: Ctx) =>
  new Elysia({ name: "imports.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "/import",
      async ({ actor, body }: { actor: Actor; body: v.InferOutput<typeof CreateImport> }) =>
        importView(
          await createImport(ctx, actor, {
            source: body.source,
            options: {
              name: body.name,
              description: body.description,
              staysLocal: body.stays_local,
              mapping: body.mapping,
              holdoutFraction: body.holdout_fraction,
              seed: body.seed,
              skipBad: body.skip_bad,
              removeDuplicates: body.remove_duplicates,
              reading: readingGiven(body),
            },
          }),
        ),
      {
        body: CreateImport,
        detail: {
          tags,
          summary: "Import a dataset from where it is",
          description: HELP,
          responses: answers(ImportView),
        },
      },
    )
    .get(
      "/imports",
      async ({ actor, query }: { actor: Actor; query: v.InferOutput<typeof PageQuery> }) =>
        pageOf((await listImports(ctx, actor, query)).map(importView), query.limit),
      {
        query: PageQuery,
        detail: { tags, summary: "List imports, newest first", responses: answers(listOf(ImportView)) },
      },
    )
    .get("/imports/:id", async ({ actor, params }: Call) => importView(await getImport(ctx, actor, params.id)), {
      params: Id,
      detail: { tags, summary: "Retrieve an import", responses: answers(ImportView) },
    })
    .post(
      "/imports/:id/cancel",
      async ({ actor, params }: Call) => importView(await cancelImport(ctx, actor, params.id)),
      { params: Id, detail: { tags, summary: "Cancel an import", responses: answers(ImportView) } },
    )
    .post(
      "/imports/:id/retry",
      async ({ actor, params, body }: Call & { body?: RetryImport | null }) =>
        importView(await retryImport(ctx, actor, params.id, body ?? {})),
      {
        params: Id,
        body: v.optional(v.nullable(RetryImport)),
        detail: {
          tags,
          summary: "Run a failed import again",
          description:
            "As it was given. The body has credentials that replace those of the import; `missing_credentials` names those that were deleted and have to be given again.",
          responses: answers(ImportView),
        },
      },
    );
