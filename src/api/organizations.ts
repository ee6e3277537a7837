/** JSON API of organizations, for administrators: list, create, rename, limits, Weights & Biases. */
import { Elysia } from "elysia";
import { createOrganization } from "../accounts/auth/service.ts";
import {
  ChangeOrganization,
  CreateOrganization,
  OrganizationView,
  organizationView,
} from "../accounts/organizations/model.ts";
import {
  getOrganization,
  listOrganizations,
  renameOrganization,
  requireTwoFactor,
} from "../accounts/organizations/service.ts";
import { LimitChange, LimitsView } from "../accounts/quotas/model.ts";
import { limitsOfOrganization, setLimits } from "../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { ChangeWandb, readWandb, removeWandb, setWandb, WandbView } from "../training/results/wandb-settings.ts";

const tags = ["Administration"];

async function list(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listOrganizations(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(organizationView), page.limit);
}

async function create(ctx: Ctx, actor: Actor, { name }: CreateOrganization): Promise<OrganizationView> {
  const id = await createOrganization(ctx, actor, name);
  return organizationView(await getOrganization(ctx, actor, id));
}

async function change(ctx: Ctx, actor: Actor, id: string, body: ChangeOrganization): Promise<OrganizationView> {
  if (body.name !== undefined) await renameOrganization(ctx, actor, id, body.name);
  if (body.require_two_factor !== undefined) await requireTwoFactor(ctx, actor, id, body.require_two_factor);
  return organizationView(await getOrganization(ctx, actor, id));
}

async function limits(ctx: Ctx, actor: Actor, id: string): Promise<LimitsView> {
  await getOrganization(ctx, actor, id);
  return (await limitsOfOrganization(ctx, actor, id)).limits;
}

async function changeLimits(ctx: Ctx, actor: Actor, id: string, change: LimitChange): Promise<LimitsView> {
  await setLimits(ctx, actor, id, change);
  return limits(ctx, actor, id);
}

async function forgetWandb(ctx: Ctx, actor: Actor, id: string): Promise<WandbView> {
  await removeWandb(ctx, actor, id);
  return readWandb(ctx, actor, id);
}

export const organizationsApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.organizations.api", prefix: "/v1/admin/orgs", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => list(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags,
        summary: "List the organizations of this installation",
        responses: answers(listOf(OrganizationView)),
      },
    })
    .post("", ({ actor, body }) => create(ctx, actor, body), {
      body: CreateOrganization,
      detail: { tags, summary: "Create an organization", responses: answers(OrganizationView) },
    })
    .post("/:id", ({ actor, params, body }) => change(ctx, actor, params.id, body), {
      body: ChangeOrganization,
      detail: {
        tags,
        summary: "Rename an organization, or require two-factor authentication",
        responses: answers(OrganizationView),
      },
    })
    .get("/:id/limits", ({ actor, params }) => limits(ctx, actor, params.id), {
      detail: { tags, summary: "Limits of an organization and their use", responses: answers(LimitsView) },
    })
    .post("/:id/limits", ({ actor, params, body }) => changeLimits(ctx, actor, params.id, body), {
      body: LimitChange,
      detail: {
        tags,
        summary: "Set limits of an organization: a number, 0 = no limit, null = as in the settings",
        responses: answers(LimitsView),
      },
    })
    .get("/:id/wandb", ({ actor, params }) => readWandb(ctx, actor, params.id), {
      detail: { tags, summary: "The Weights & Biases server of an organization", responses: answers(WandbView) },
    })
    .post("/:id/wandb", ({ actor, params, body }) => setWandb(ctx, actor, params.id, body), {
      body: ChangeWandb,
      detail: {
        tags,
        summary: "Set the Weights & Biases server of an organization",
        description: "The server is asked whether it knows the key. Jobs with the integration send their runs to it.",
        responses: answers(WandbView),
      },
    })
    .delete("/:id/wandb", ({ actor, params }) => forgetWandb(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Remove the Weights & Biases server of an organization and its key",
        responses: answers(WandbView),
      },
    });
