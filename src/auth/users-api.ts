/** JSON API of users, for administrators: list, invite, change. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";
import { createInvitation } from "./invitations.ts";
import { ChangeUser, InviteUser, invitationView, PageQuery, userView } from "./model.ts";
import { changeUser, getUser, listUsers } from "./users.ts";

const tags = ["Administration"];

export const usersApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.users.api", prefix: "/v1/admin/users", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "",
      async ({ actor, query }) => {
        const rows = await listUsers(ctx, actor, { after: query.after, limit: query.limit + 1 });
        return pageOf(rows.map(userView), query.limit);
      },
      { query: PageQuery, detail: { summary: "List the users of this installation", tags } },
    )
    .post(
      "",
      async ({ actor, body }) => {
        const { invitation, token } = await createInvitation(ctx, actor, body);
        return invitationView(invitation, `/invite?token=${token}`);
      },
      { body: InviteUser, detail: { summary: "Invite a user; the answer holds the one-time link", tags } },
    )
    .post(
      "/:id",
      async ({ actor, params, body }) => {
        await changeUser(ctx, actor, params.id, body);
        return userView(await getUser(ctx, actor, params.id));
      },
      { body: ChangeUser, detail: { summary: "Change a user's role, disable or enable an account", tags } },
    );
