/** JSON API of users and their invitations, for administrators: list, invite, change, reset, sign out. */
import { Elysia } from "elysia";
import { createReset } from "../accounts/auth/resets.ts";
import { endUserSessions } from "../accounts/auth/session-list.ts";
import {
  ChangeUser,
  EndedSessions,
  InvitationView,
  InviteUser,
  invitationView,
  PasswordResetView,
  PendingInvitationView,
  UserView,
  userView,
} from "../accounts/organizations/model.ts";
import { listInvitations } from "../accounts/organizations/pending.ts";
import { changeUser, getUser, listUsers } from "../accounts/organizations/users.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { seconds } from "../lib/request-fields.ts";
import { invite, inviteAgain, revokeAndRecall, withMails } from "../notices/security/invitation-mail.ts";

const tags = ["Administration"];

async function listUsersRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listUsers(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(userView), page.limit);
}

async function inviteUserRoute(ctx: Ctx, actor: Actor, body: InviteUser): Promise<InvitationView> {
  const { email, role, organization_role: teamRole, organization: org } = body;
  const input = { email, role, teamRole, org };
  const { invitation, token } = await invite(ctx, actor, input, body.send_mail);
  return invitationView(invitation, token);
}

async function changeUserRoute(ctx: Ctx, actor: Actor, id: string, body: ChangeUser): Promise<UserView> {
  const { organization_role: teamRole, ...rest } = body;
  await changeUser(ctx, actor, id, { ...rest, teamRole });
  return userView(await getUser(ctx, actor, id));
}

async function resetPasswordRoute(ctx: Ctx, actor: Actor, id: string): Promise<PasswordResetView> {
  const { userId, email, token, expiresAt } = await createReset(ctx, actor, id);
  return {
    object: "password_reset",
    user: userId,
    email,
    expires_at: seconds(expiresAt),
    path: `/reset?token=${token}`,
  };
}

async function endSessionsRoute(ctx: Ctx, actor: Actor, id: string) {
  return { object: "ended_sessions" as const, ended: await endUserSessions(ctx, actor, id) };
}

async function listInvitationsRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listInvitations(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(await withMails(ctx, rows), page.limit);
}

async function renewInvitationRoute(ctx: Ctx, actor: Actor, id: string, byMail: boolean): Promise<InvitationView> {
  const { invitation, token } = await inviteAgain(ctx, actor, id, byMail);
  return invitationView(invitation, token);
}

async function revokeInvitationRoute(ctx: Ctx, actor: Actor, id: string) {
  await revokeAndRecall(ctx, actor, id);
  return { object: "invitation" as const, id, deleted: true as const };
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
        summary: "Invite a user; the answer contains the one-time link, or it is mailed",
        responses: answers(InvitationView),
      },
    })
    .post("/users/:id", ({ actor, params, body }) => changeUserRoute(ctx, actor, params.id, body), {
      body: ChangeUser,
      detail: {
        tags,
        summary: "Change a user's role or organization, disable or enable an account",
        responses: answers(UserView),
      },
    })
    .post("/users/:id/password_reset", ({ actor, params }) => resetPasswordRoute(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Create a one-time link to set a new password, valid for a day",
        responses: answers(PasswordResetView),
      },
    })
    .delete("/users/:id/sessions", ({ actor, params }) => endSessionsRoute(ctx, actor, params.id), {
      detail: { tags, summary: "Sign a user out everywhere", responses: answers(EndedSessions) },
    })
    .get("/invitations", ({ actor, query }) => listInvitationsRoute(ctx, actor, query), {
      query: PageQuery,
      detail: { tags, summary: "List pending invitations", responses: answers(listOf(PendingInvitationView)) },
    })
    .post("/invitations/:id/renew", ({ actor, params }) => renewInvitationRoute(ctx, actor, params.id, false), {
      detail: {
        tags,
        summary: "Replace a pending invitation by one with a new link",
        responses: answers(InvitationView),
      },
    })
    .post("/invitations/:id/send", ({ actor, params }) => renewInvitationRoute(ctx, actor, params.id, true), {
      detail: {
        tags,
        summary: "Mail a pending invitation with a new link; the previous link stops working",
        responses: answers(InvitationView),
      },
    })
    .delete("/invitations/:id", ({ actor, params }) => revokeInvitationRoute(ctx, actor, params.id), {
      detail: { tags, summary: "Revoke a pending invitation", responses: answers(deletedOf("invitation")) },
    });
