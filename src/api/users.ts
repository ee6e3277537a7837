/** JSON API of users and organizations, for administrators: list, invite, change. */
import { Elysia } from "elysia";
import { createOrganization } from "../accounts/auth/service.ts";
import { createInvitation } from "../accounts/organizations/invitations.ts";
import {
  ChangeUser,
  CreateOrganization,
  InvitationView,
  InviteUser,
  invitationView,
  OrganizationView,
  organizationView,
  UserView,
  userView,
} from "../accounts/organizations/model.ts";
import { listOrganizations } from "../accounts/organizations/service.ts";
import { changeUser, getUser, listUsers } from "../accounts/organizations/users.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

const tags = ["Administration"];

async function listUsersRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listUsers(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(userView), page.limit);
}

async function inviteUserRoute(ctx: Ctx, actor: Actor, body: InviteUser): Promise<InvitationView> {
  const { email, role, organization: org } = body;
  const { invitation, token } = await createInvitation(ctx, actor, { email, role, org });
  return invitationView(invitation, `/invite?token=${token}`);
}

async function changeUserRoute(ctx: Ctx, actor: Actor, id: string, body: ChangeUser): Promise<UserView> {
  await changeUser(ctx, actor, id, body);
  return userView(await getUser(ctx, actor, id));
}

async function listOrganizationsRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listOrganizations(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(organizationView), page.limit);
}

async function createOrganizationRoute(ctx: Ctx, actor: Actor, { name }: CreateOrganization) {
  const id = await createOrganization(ctx, actor, name);
  return organizationView({ id, name, createdAt: ctx.clock.now() });
}

export const usersApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.users.api", prefix: "/v1/admin", seed: ctx.installation })
    .use(session(ctx))
    .get("/users", ({ actor, query }) => listUsersRoute(ctx, actor, query), {
      query: PageQuery,
      detail: { tags, summary: "List the users of this installation", responses: answers(listOf(UserView)) },
    })
    .post("/users", ({ actor, body }) => inviteUserRoute(ctx, actor, body), {
      body: InviteUser,
      detail: {
        tags,
        summary: "Invite a user; the answer contains the one-time link",
        responses: answers(InvitationView),
      },
    })
    .post("/users/:id", ({ actor, params, body }) => changeUserRoute(ctx, actor, params.id, body), {
      body: ChangeUser,
      detail: { tags, summary: "Change a user's role, disable or enable an account", responses: answers(UserView) },
    })
    .get("/orgs", ({ actor, query }) => listOrganizationsRoute(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags,
        summary: "List the organizations of this installation",
        responses: answers(listOf(OrganizationView)),
      },
    })
    .post("/orgs", ({ actor, body }) => createOrganizationRoute(ctx, actor, body), {
      body: CreateOrganization,
      detail: { tags, summary: "Create an organization", responses: answers(OrganizationView) },
    });
