/** /v1/admin/sso: the identity providers of single sign-on. */
import { Elysia } from "elysia";
import { createToken, getConnection, removeConnection } from "../accounts/scim/connection.ts";
import { ConnectionView, connectionView, NewConnectionView } from "../accounts/scim/model.ts";
import { ChangeProvider, CreateProvider, ProviderTest, ProviderView, providerView } from "../accounts/sso/model.ts";
import {
  changeProvider,
  createProvider,
  getProvider,
  listProviders,
  removeProvider,
} from "../accounts/sso/providers.ts";
import { testProvider } from "../accounts/sso/sign-in.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { notFound } from "../errors.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";

const tags = ["Administration"];
const MAX = 100;

async function list(ctx: Ctx, actor: Actor) {
  return pageOf((await listProviders(ctx, actor)).map(providerView), MAX);
}

async function remove(ctx: Ctx, actor: Actor, id: string) {
  await removeProvider(ctx, actor, id);
  return { object: "sso_provider" as const, id, deleted: true as const };
}

async function connection(ctx: Ctx, actor: Actor, id: string) {
  const row = await getConnection(ctx, actor, id);
  if (!row) throw notFound("scim_connection", id);
  return connectionView(row);
}

async function newToken(ctx: Ctx, actor: Actor, id: string) {
  const { token, row } = await createToken(ctx, actor, id);
  return { ...connectionView(row), token };
}

async function endProvisioning(ctx: Ctx, actor: Actor, id: string) {
  await removeConnection(ctx, actor, id);
  return { object: "scim_connection" as const, id, deleted: true as const };
}

export const ssoApi = (ctx: Ctx) =>
  new Elysia({ name: "sso.api", prefix: "/v1/admin/sso", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor }) => list(ctx, actor), {
      detail: {
        tags,
        summary: "List the identity providers of single sign-on",
        responses: answers(listOf(ProviderView)),
      },
    })
    .post("", async ({ actor, body }) => providerView(await createProvider(ctx, actor, body)), {
      body: CreateProvider,
      detail: { tags, summary: "Add an identity provider", responses: answers(ProviderView) },
    })
    .get("/:id", async ({ actor, params }) => providerView(await getProvider(ctx, actor, params.id)), {
      detail: { tags, summary: "Retrieve an identity provider", responses: answers(ProviderView) },
    })
    .post("/:id", async ({ actor, params, body }) => providerView(await changeProvider(ctx, actor, params.id, body)), {
      body: ChangeProvider,
      detail: {
        tags,
        summary: "Change an identity provider; absent fields stay, and so does the stored secret",
        responses: answers(ProviderView),
      },
    })
    .delete("/:id", ({ actor, params }) => remove(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Remove an identity provider; its accounts stay",
        responses: answers(deletedOf("sso_provider")),
      },
    })
    .get("/:id/scim", ({ actor, params }) => connection(ctx, actor, params.id), {
      detail: { tags, summary: "Retrieve the provisioning of a provider (SCIM)", responses: answers(ConnectionView) },
    })
    .post("/:id/scim", ({ actor, params }) => newToken(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Create or replace the token with which a provider provisions users (SCIM); it is shown once",
        responses: answers(NewConnectionView),
      },
    })
    .delete("/:id/scim", ({ actor, params }) => endProvisioning(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "End provisioning: the token stops working, accounts stay",
        responses: answers(deletedOf("scim_connection")),
      },
    })
    .post("/:id/test", async ({ actor, params }) => testProvider(ctx, await getProvider(ctx, actor, params.id)), {
      detail: { tags, summary: "Ask an identity provider about itself now", responses: answers(ProviderTest) },
    });
