/** /v1/admin/sso: the identity providers of single sign-on. */
import { Elysia } from "elysia";
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
    .post("/:id/test", async ({ actor, params }) => testProvider(ctx, await getProvider(ctx, actor, params.id)), {
      detail: { tags, summary: "Ask an identity provider about itself now", responses: answers(ProviderTest) },
    });
