/** JSON API of the service accounts of the caller's organization, and of their keys. */
import { Elysia } from "elysia";
import { CreateKey, KeyView, keyView, NewKeyView } from "../accounts/api-keys/model.ts";
import { askedOf } from "../accounts/keys/restrictions.ts";
import {
  ChangeServiceAccount,
  CreateServiceAccount,
  ServiceAccountView,
  serviceAccountView,
} from "../accounts/service-accounts/model.ts";
import {
  changeServiceAccount,
  createServiceAccount,
  createServiceKey,
  getServiceAccount,
  listServiceAccounts,
  listServiceKeys,
  removeServiceAccount,
} from "../accounts/service-accounts/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { DAY_MS } from "../lib/clock.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { checkModelNames } from "../models/tuned/allowed.ts";

const tags = ["Service accounts"];

async function list(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listServiceAccounts(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(serviceAccountView), page.limit);
}

async function remove(ctx: Ctx, actor: Actor, id: string) {
  await removeServiceAccount(ctx, actor, id);
  return { object: "service_account" as const, id, deleted: true as const };
}

async function listKeys(ctx: Ctx, actor: Actor, id: string, page: PageQuery) {
  const rows = await listServiceKeys(ctx, actor, id, { after: page.after, limit: page.limit + 1 });
  return pageOf(
    rows.map((row) => keyView(row, ctx.clock.now())),
    page.limit,
  );
}

async function addKey(ctx: Ctx, actor: Actor, id: string, body: CreateKey): Promise<NewKeyView> {
  const { name, expires_in_days: days, scopes } = body;
  const expiresAt = days ? ctx.clock.now() + days * DAY_MS : days;
  await checkModelNames(ctx, actor, body.allowed_models);
  const { row, key } = await createServiceKey(ctx, actor, id, {
    name,
    expiresAt,
    scopes,
    restrictions: askedOf(body),
  });
  return { ...keyView(row, ctx.clock.now()), key };
}

export const serviceAccountsApi = (ctx: Ctx) =>
  new Elysia({ name: "service-accounts.api", prefix: "/service_accounts", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => list(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags,
        summary: "List the service accounts of your organization",
        responses: answers(listOf(ServiceAccountView)),
      },
    })
    .post("", async ({ actor, body }) => serviceAccountView(await createServiceAccount(ctx, actor, body)), {
      body: CreateServiceAccount,
      detail: { tags, summary: "Create a service account", responses: answers(ServiceAccountView) },
    })
    .get("/:id", async ({ actor, params }) => serviceAccountView(await getServiceAccount(ctx, actor, params.id)), {
      detail: { tags, summary: "Retrieve a service account", responses: answers(ServiceAccountView) },
    })
    .post(
      "/:id",
      async ({ actor, params, body }) => serviceAccountView(await changeServiceAccount(ctx, actor, params.id, body)),
      {
        body: ChangeServiceAccount,
        detail: {
          tags,
          summary: "Change the name or the role of a service account",
          responses: answers(ServiceAccountView),
        },
      },
    )
    .delete("/:id", ({ actor, params }) => remove(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Remove a service account; its keys end at once",
        responses: answers(deletedOf("service_account")),
      },
    })
    .get("/:id/keys", ({ actor, params, query }) => listKeys(ctx, actor, params.id, query), {
      query: PageQuery,
      detail: { tags, summary: "List the keys of a service account", responses: answers(listOf(KeyView)) },
    })
    .post("/:id/keys", ({ actor, params, body }) => addKey(ctx, actor, params.id, body), {
      body: CreateKey,
      detail: {
        tags,
        summary: "Create a key of a service account; the secret is shown only once",
        responses: answers(NewKeyView),
      },
    });
