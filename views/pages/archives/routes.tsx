/** Page routes of archives: of the viewer below /settings, of their organization below /team. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { readOwnOrganization } from "../../../src/accounts/organizations/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { type ArchiveView, archiveView } from "../../../src/custody/archives/model.ts";
import { createArchive, deleteArchive, downloadArchive, listArchives } from "../../../src/custody/archives/service.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { downloadResponse } from "../../../src/http/stored-file.ts";
import { ArchiveList, ArchivesPage, type ArchivesProps } from "./page.tsx";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Form = v.object({ checkpoints: v.optional(v.picklist(["on"])) });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

function handlers(ctx: Ctx, scope: ArchiveView["scope"], path: string) {
  const show = async ({ request, actor }: Visit, error?: AppError) => {
    const props: ArchivesProps = {
      scope,
      path,
      name: scope === "organization" ? (await readOwnOrganization(ctx, actor)).name : (actor.email ?? ""),
      archives: (await listArchives(ctx, actor, scope)).map(archiveView),
      error: error?.message,
    };
    return html(pageOf(ctx, request, actor), <ArchivesPage {...props} />, {
      status: error ? ERROR_TABLE[error.kind].status : 200,
      fragments: { "archive-list": () => <ArchiveList {...props} /> },
    });
  };
  const create = async (visit: Visit & { body: v.InferOutput<typeof Form> }) => {
    try {
      await createArchive(ctx, visit.actor, { scope, checkpoints: visit.body.checkpoints === "on" });
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "conflict") throw error;
      return show(visit, error);
    }
    return redirect(visit.request, path, "The archive is being written.");
  };
  const remove = async ({ request, actor, params }: OnOne) => {
    await deleteArchive(ctx, actor, params.id);
    return redirect(request, path, "The archive was deleted.");
  };
  const download = async ({ actor, params }: OnOne) => {
    const { from, name } = await downloadArchive(ctx, actor, params.id);
    return downloadResponse(from, name);
  };
  return { show, create, remove, download };
}

export const archivesPages = (ctx: Ctx) => {
  const app = new Elysia({ name: "archives.pages", seed: ctx.installation, detail: { hide: true } }).use(session(ctx));
  const own = handlers(ctx, "user", "/settings/data");
  const team = handlers(ctx, "organization", "/team/data");
  return app
    .get("/settings/data", (visit: Visit) => own.show(visit))
    .post("/settings/data", own.create, { body: Form })
    .get("/settings/data/:id/download", own.download, { params: Id })
    .post("/settings/data/:id/delete", own.remove, { params: Id })
    .get("/team/data", (visit: Visit) => team.show(visit))
    .post("/team/data", team.create, { body: Form })
    .get("/team/data/:id/download", team.download, { params: Id })
    .post("/team/data/:id/delete", team.remove, { params: Id });
};
