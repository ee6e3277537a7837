/** JSON API of users and organisations, for administrators: list, invite, change. */
import { Elysia } from "elysia";
import { PageQuery } from "../accounts/auth/model.ts";
import { createOrganisation } from "../accounts/auth/service.ts";
import { createInvitation } from "../accounts/organizations/invitations.ts";
import {
  ChangeUser,
  CreateOrganisation,
  InviteUser,
  invitationView,
  organisationView,
  userView,
} from "../accounts/organizations/model.ts";
import { listOrganisations } from "../accounts/organizations/service.ts";
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
        const rows = await listOrganisations(ctx, actor, { after: query.after, limit: query.limit + 1 });
        return pageOf(rows.map(organisationView), query.limit);
      },
      { query: PageQuery, detail: { summary: "List the organisations of this installation", tags } },
    )
    .post(
      "/orgs",
      async ({ actor, body }) => {
        const id = await createOrganisation(ctx, actor, body.name);
        return organisationView({ id, name: body.name, createdAt: ctx.clock.now() });
      },
      { body: CreateOrganisation, detail: { summary: "Make an organisation", tags } },
    );
