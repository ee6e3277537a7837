/** JSON API of archives: everything of a user or an organization as one file. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { ArchiveView, archiveView, CreateArchive, SCOPES } from "../custody/archives/model.ts";
import {
  createArchive,
  deleteArchive,
  downloadArchive,
  getArchive,
  listArchives,
} from "../custody/archives/service.ts";
import { answers, answersFile, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { downloadResponse } from "../http/stored-file.ts";
import { wholeList, wholeListOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.strictObject({ scope: v.optional(v.picklist(SCOPES), "user") });
const tags = ["Account"];

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

async function download(ctx: Ctx, { actor, params }: Call): Promise<Response> {
  const { from, name } = await downloadArchive(ctx, actor, params.id);
  return downloadResponse(from, name);
}

export const archivesApi = (ctx: Ctx) =>
  new Elysia({ name: "archives.api", prefix: "/v1/archives", seed: ctx.installation })
    .use(session(ctx))
    .post("", async ({ actor, body }) => archiveView(await createArchive(ctx, actor, body)), {
      body: CreateArchive,
      detail: {
        tags,
        summary: "Export everything of a user or an organization",
        description:
          "Writes one ZIP file in the background: tables as JSON lines, files, models, and a manifest with the SHA-256 of every file. `organization` needs an owner or administrator. Secrets are not part of it.",
        responses: answers(ArchiveView),
      },
    })
    .get("", async ({ actor, query }) => wholeList((await listArchives(ctx, actor, query.scope)).map(archiveView)), {
      query: Query,
      detail: { tags, summary: "List the newest archives", responses: answers(wholeListOf(ArchiveView)) },
    })
    .get("/:id", async ({ actor, params }: Call) => archiveView(await getArchive(ctx, actor, params.id)), {
      params: Id,
      detail: { tags, summary: "Retrieve an archive with its progress", responses: answers(ArchiveView) },
    })
    .get("/:id/content", (call: Call) => download(ctx, call), {
      params: Id,
      detail: {
        tags,
        summary: "Download a finished archive",
        responses: answersFile("The ZIP file."),
      },
    })
    .delete(
      "/:id",
      async ({ actor, params }: Call) => {
        await deleteArchive(ctx, actor, params.id);
        return { object: "archive" as const, id: params.id, deleted: true as const };
      },
      {
        params: Id,
        detail: {
          tags,
          summary: "Cancel an unfinished archive, or delete the file of a finished one",
          responses: answers(deletedOf("archive")),
        },
      },
    );
