/** JSON API of users and organizations, for administrators: list, invite, change. */
import { Elysia } from "elysia";
import { PageQuery } from "../accounts/auth/model.ts";
import { createOrganization } from "../accounts/auth/service.ts";
import { createInvitation } from "../accounts/organizations/invitations.ts";
import {
  ChangeUser,
  CreateOrganization,
  InviteUser,
  invitationView,
  organizationView,
  userView,
} from "../accounts/organizations/model.ts";
import { listOrganizations } from "../accounts/organizations/service.ts";
import { changeUser, getUser, listUsers } from "../accounts/organizations/users.ts";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";

const tags = ["Administration"];

export const usersApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.users.api", prefix: "/v1/admin", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/users",
      async ({ actor, query }) => {
        const rows = await listUsers(ctx, actor, { after: query.after, limit: query.limit + 1 });
        return pageOf(rows.map(userView), query.limit);
      },
      { query: PageQuery, detail: { summary: "List the users of this installation", tags } },
    )
    .post(
      "/users",
      async ({ actor, body }) => {
        const { invitation, token } = await createInvitation(ctx, actor, {
          email: body.email,
          role: body.role,
          org: body.organization,
        });
        return invitationView(invitation, `/invite?token=${token}`);
      },
      { body: InviteUser, detail: { summary: "Invite a user; the answer holds the one-time link", tags } },
    )
    .post(
      "/users/:id",
      async ({ actor, params, body }) => {
        await changeUser(ctx, actor, params.id, body);
        return userView(await getUser(ctx, actor, params.id));
      },
      { body: ChangeUser, detail: { summary: "Change a user's role, disable or enable an account", tags } },
    )
    .get(
      "/orgs",
      async ({ actor, query }) => {
        const rows = await listOrganizations(ctx, actor, { after: query.after, limit: query.limit + 1 });
        return pageOf(rows.map(organizationView), query.limit);
      },
      { query: PageQuery, detail: { summary: "List the organizations of this installation", tags } },
    )
    .post(
      "/orgs",
      async ({ actor, body }) => {
        const id = await createOrganization(ctx, actor, body.name);
        return organizationView({ id, name: body.name, createdAt: ctx.clock.now() });
      },
      { body: CreateOrganization, detail: { summary: "Make an organization", tags } },
    );
