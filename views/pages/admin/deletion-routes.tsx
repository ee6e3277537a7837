/** Page routes of deletions, for administrators: the list, and scheduling and canceling them. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { KEPT } from "../../../src/erasure/kept.ts";
import { deletionRecord, Terminate } from "../../../src/erasure/model.ts";
import {
  cancelOrganization,
  cancelUser,
  listDeletions,
  scheduleOrganization,
  scheduleUser,
} from "../../../src/erasure/schedule.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { listed } from "../../../src/lib/page.ts";
import { DeletionsPage } from "./deletions.tsx";

const PAGE = 50;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: v.optional(v.pipe(v.string(), v.maxLength(100)), "") });
const Form = v.strictObject({ reason: v.optional(v.pipe(v.string(), v.maxLength(2000)), "") });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, after: string) {
  const rows = await listDeletions(ctx, actor, { limit: PAGE + 1, after: after || undefined });
  const records = listed(
    rows.map((row) => deletionRecord(row, KEPT)),
    PAGE,
  );
  return html(pageOf(ctx, request, actor), <DeletionsPage records={records} />);
}

/** Runs a change and returns to the page of the user or team, which shows a refusal as a message. */
async function change(request: Request, path: string, done: string, run: () => Promise<void>) {
  try {
    await run();
    return redirect(request, path, done);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return redirect(request, path, { kind: "bad", text: error.message });
  }
}

/** @throws AppError `invalid_value` */
const reasonOf = (form: v.InferOutput<typeof Form>): string => parseForm(Terminate, form).reason;

const userPath = (id: string) => `/admin/users/${encodeURIComponent(id)}`;
const teamPath = (id: string) => `/admin/teams/${encodeURIComponent(id)}`;
const SCHEDULED = "The deletion is scheduled. It can be canceled until then.";
const CANCELED = "The deletion is canceled. Jobs and endpoints resume.";

export const deletionAdminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.deletion.pages", prefix: "/admin", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/deletions", (visit) => show(ctx, visit, visit.query.after), { query: Query })
    .post(
      "/users/:id/deletion",
      ({ request, actor, params: { id }, body }) =>
        change(request, userPath(id), SCHEDULED, async () =>
          scheduleUser(ctx, actor, id, { reason: reasonOf(body), confirm: actor.email ?? "" }),
        ),
      { params: Id, body: Form },
    )
    .post(
      "/users/:id/deletion/cancel",
      ({ request, actor, params: { id } }) => change(request, userPath(id), CANCELED, () => cancelUser(ctx, actor, id)),
      { params: Id },
    )
    .post(
      "/teams/:id/deletion",
      ({ request, actor, params: { id }, body }) =>
        change(request, teamPath(id), SCHEDULED, async () =>
          scheduleOrganization(ctx, actor, id, { reason: reasonOf(body) }),
        ),
      { params: Id, body: Form },
    )
    .post(
      "/teams/:id/deletion/cancel",
      ({ request, actor, params: { id } }) =>
        change(request, teamPath(id), CANCELED, () => cancelOrganization(ctx, actor, id)),
      { params: Id },
    );
