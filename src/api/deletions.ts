/** JSON API of deletions: the own account, the own organization, and any of them for administrators. */
import { Elysia } from "elysia";
import type { Actor, Ctx, Hold } from "../ctx.ts";
import { KEPT } from "../erasure/kept.ts";
import { ConfirmDeletion, DeletionRecord, DeletionView, deletionRecord, Terminate } from "../erasure/model.ts";
import {
  cancelOrganization,
  cancelUser,
  listDeletions,
  readDeletion,
  scheduleOrganization,
  scheduleUser,
} from "../erasure/schedule.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

async function own(ctx: Ctx, actor: Actor, subject: Hold["subject"], change: Promise<void>): Promise<DeletionView> {
  await change;
  return readDeletion(ctx, actor, subject);
}

async function record(ctx: Ctx, actor: Actor, id: string, change: Promise<void>): Promise<DeletionRecord> {
  await change;
  const row = (await listDeletions(ctx, actor, { limit: 1, subjectId: id }))[0];
  if (!row) throw new Error("the deletion was not stored");
  return deletionRecord(row, KEPT);
}

async function list(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listDeletions(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(
    rows.map((row) => deletionRecord(row, KEPT)),
    page.limit,
  );
}

const account = ["Account"];
const admin = ["Administration"];

export const deletionsApi = (ctx: Ctx) =>
  new Elysia({ name: "deletions.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/account/deletion", ({ actor }) => readDeletion(ctx, actor, "user"), {
      detail: {
        tags: account,
        summary: "What a deletion of your account erases and keeps, and when it is scheduled",
        responses: answers(DeletionView),
      },
    })
    .post(
      "/account/deletion",
      ({ actor, body }) =>
        own(ctx, actor, "user", scheduleUser(ctx, actor, actor.userId, { confirm: body.confirm, reason: "" })),
      {
        body: ConfirmDeletion,
        detail: {
          tags: account,
          summary: "Delete your account after the grace period; needs a browser session",
          responses: answers(DeletionView),
        },
      },
    )
    .delete("/account/deletion", ({ actor }) => own(ctx, actor, "user", cancelUser(ctx, actor, actor.userId)), {
      detail: { tags: account, summary: "Cancel the deletion of your account", responses: answers(DeletionView) },
    })
    .get("/organization/deletion", ({ actor }) => readDeletion(ctx, actor, "organization"), {
      detail: {
        tags: account,
        summary: "What a deletion of your organization erases and keeps, and when it is scheduled",
        responses: answers(DeletionView),
      },
    })
    .post(
      "/organization/deletion",
      ({ actor, body }) => {
        const given = { confirm: body.confirm, reason: "" };
        return own(ctx, actor, "organization", scheduleOrganization(ctx, actor, actor.org, given));
      },
      {
        body: ConfirmDeletion,
        detail: {
          tags: account,
          summary: "Delete your organization after the grace period; needs a browser session of an owner",
          responses: answers(DeletionView),
        },
      },
    )
    .delete(
      "/organization/deletion",
      ({ actor }) => own(ctx, actor, "organization", cancelOrganization(ctx, actor, actor.org)),
      {
        detail: {
          tags: account,
          summary: "Cancel the deletion of your organization",
          responses: answers(DeletionView),
        },
      },
    )
    .get("/admin/deletions", ({ actor, query }) => list(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags: admin,
        summary: "Deletions of accounts and organizations with their reports",
        responses: answers(listOf(DeletionRecord)),
      },
    })
    .post(
      "/admin/users/:id/deletion",
      ({ actor, params: { id }, body }) => record(ctx, actor, id, scheduleUser(ctx, actor, id, body)),
      {
        body: Terminate,
        detail: {
          tags: admin,
          summary: "Delete an account after the grace period",
          responses: answers(DeletionRecord),
        },
      },
    )
    .delete(
      "/admin/users/:id/deletion",
      ({ actor, params: { id } }) => record(ctx, actor, id, cancelUser(ctx, actor, id)),
      { detail: { tags: admin, summary: "Cancel the deletion of an account", responses: answers(DeletionRecord) } },
    )
    .post(
      "/admin/orgs/:id/deletion",
      ({ actor, params: { id }, body }) => record(ctx, actor, id, scheduleOrganization(ctx, actor, id, body)),
      {
        body: Terminate,
        detail: {
          tags: admin,
          summary: "Terminate an organization: it is erased after the grace period",
          responses: answers(DeletionRecord),
        },
      },
    )
    .delete(
      "/admin/orgs/:id/deletion",
      ({ actor, params: { id } }) => record(ctx, actor, id, cancelOrganization(ctx, actor, id)),
      {
        detail: {
          tags: admin,
          summary: "Cancel the termination of an organization",
          responses: answers(DeletionRecord),
        },
      },
    );
