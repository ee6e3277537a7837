/** Page routes of deleting the own account (`/settings/delete`) and the own team (`/team/delete`). */
import { Elysia } from "elysia";
import * as v from "valibot";
import { ownOrganization } from "../../../src/accounts/organizations/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { HANDED_OVER } from "../../../src/erasure/kept.ts";
import {
  cancelOrganization,
  cancelUser,
  readDeletion,
  scheduleOrganization,
  scheduleUser,
} from "../../../src/erasure/schedule.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { Layout } from "../../layout.tsx";
import { DeletionPanels } from "./deletion.tsx";
import { SettingsLayout } from "./frame.tsx";

const Form = v.object({ confirm: v.optional(v.pipe(v.string(), v.maxLength(400)), "") });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, error?: AppError) {
  const view = await readDeletion(ctx, actor, "user");
  const props = { view, path: "/settings/delete", typed: actor.email ?? "", handedOver: HANDED_OVER };
  const page = (
    <SettingsLayout title="Delete account">
      <DeletionPanels {...props} error={error?.message} />
    </SettingsLayout>
  );
  return html(pageOf(ctx, request, actor), page, { status: error ? ERROR_TABLE[error.kind].status : 200 });
}

async function showTeam(ctx: Ctx, { request, actor }: Visit, error?: AppError) {
  const view = await readDeletion(ctx, actor, "organization");
  const typed = await ownOrganization(ctx, actor);
  const page = (
    <Layout title="Delete team" crumbs={[{ label: "Team", href: "/team" }]}>
      <div class="stack loose">
        <DeletionPanels view={view} path="/team/delete" typed={typed} handedOver="" error={error?.message} />
      </div>
    </Layout>
  );
  return html(pageOf(ctx, request, actor), page, { status: error ? ERROR_TABLE[error.kind].status : 200 });
}

/** Runs a change, and shows the page again with the reason of a refusal. */
async function change(
  run: () => Promise<void>,
  done: () => Response,
  again: (error: AppError) => Promise<Response>,
): Promise<Response> {
  try {
    await run();
    return done();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return again(error);
  }
}

export const deletionPages = (ctx: Ctx) =>
  new Elysia({ name: "deletion.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/settings/delete", (visit) => show(ctx, visit))
    .post(
      "/settings/delete",
      (visit) =>
        change(
          () => scheduleUser(ctx, visit.actor, visit.actor.userId, { confirm: visit.body.confirm, reason: "" }),
          () => redirect(visit.request, "/login", "The deletion is scheduled. Sign in to cancel it."),
          (error) => show(ctx, visit, error),
        ),
      { body: Form },
    )
    .post("/settings/delete/cancel", (visit) =>
      change(
        () => cancelUser(ctx, visit.actor, visit.actor.userId),
        () => redirect(visit.request, "/settings", "The deletion is canceled. Your API keys work again."),
        (error) => show(ctx, visit, error),
      ),
    )
    .get("/team/delete", (visit) => showTeam(ctx, visit))
    .post(
      "/team/delete",
      (visit) =>
        change(
          () => scheduleOrganization(ctx, visit.actor, visit.actor.org, { confirm: visit.body.confirm, reason: "" }),
          () => redirect(visit.request, "/team/delete", "The deletion is scheduled."),
          (error) => showTeam(ctx, visit, error),
        ),
      { body: Form },
    )
    .post("/team/delete/cancel", (visit) =>
      change(
        () => cancelOrganization(ctx, visit.actor, visit.actor.org),
        () => redirect(visit.request, "/team", "The deletion is canceled. Jobs and endpoints resume."),
        (error) => showTeam(ctx, visit, error),
      ),
    );
