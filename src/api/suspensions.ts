/** JSON API of suspensions, for administrators of the installation: suspend users and organizations, and lift it. */
import { Elysia } from "elysia";
import { SuspendBody } from "../accounts/holds/model.ts";
import { OrganizationView, organizationView, UserView, userView } from "../accounts/organizations/model.ts";
import { getOrganization } from "../accounts/organizations/service.ts";
import { getUser } from "../accounts/organizations/users.ts";
import { liftOrganization, liftUser, suspendOrganization, suspendUser } from "../accounts/suspension/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const tags = ["Administration"];

const suspensionOf = ({ reason, until }: SuspendBody) => ({ reason, until: until === null ? null : until * 1000 });

const userRoute = async (ctx: Ctx, actor: Actor, id: string, change: Promise<void>): Promise<UserView> => {
  await change;
  return userView(await getUser(ctx, actor, id));
};

const orgRoute = async (ctx: Ctx, actor: Actor, id: string, change: Promise<void>): Promise<OrganizationView> => {
  await change;
  return organizationView(await getOrganization(ctx, actor, id));
};

export const suspensionsApi = (ctx: Ctx) =>
  new Elysia({ name: "suspensions.api", prefix: "/v1/admin", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "/users/:id/suspend",
      ({ actor, params: { id }, body }) => userRoute(ctx, actor, id, suspendUser(ctx, actor, id, suspensionOf(body))),
      {
        body: SuspendBody,
        detail: {
          tags,
          summary: "Suspend a user",
          description:
            "Sessions end, keys answer 403 `account_suspended`, jobs and endpoints that the user created stop until the suspension is lifted. Nothing is deleted.",
          responses: answers(UserView),
        },
      },
    )
    .post("/users/:id/lift", ({ actor, params: { id } }) => userRoute(ctx, actor, id, liftUser(ctx, actor, id)), {
      detail: {
        tags,
        summary: "Lift the suspension of a user: keys work again, jobs and endpoints resume",
        responses: answers(UserView),
      },
    })
    .post(
      "/orgs/:id/suspend",
      ({ actor, params: { id }, body }) =>
        orgRoute(ctx, actor, id, suspendOrganization(ctx, actor, id, suspensionOf(body))),
      {
        body: SuspendBody,
        detail: {
          tags,
          summary: "Suspend an organization",
          description:
            "Sessions of its members end, its keys answer 403 `account_suspended`, all its jobs and endpoints stop until the suspension is lifted. Nothing is deleted.",
          responses: answers(OrganizationView),
        },
      },
    )
    .post("/orgs/:id/lift", ({ actor, params: { id } }) => orgRoute(ctx, actor, id, liftOrganization(ctx, actor, id)), {
      detail: {
        tags,
        summary: "Lift the suspension of an organization: keys work again, jobs and endpoints resume",
        responses: answers(OrganizationView),
      },
    });
