/** Page routes of users and invitations. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { createReset } from "../../../src/accounts/auth/resets.ts";
import { endUserSessions } from "../../../src/accounts/auth/session-list.ts";
import { resetTwoFactor } from "../../../src/accounts/factors/two-factor.ts";
import { listInvitations } from "../../../src/accounts/organizations/pending.ts";
import { listOrganizations } from "../../../src/accounts/organizations/service.ts";
import { changeUser, getUser, listUsers } from "../../../src/accounts/organizations/users.ts";
import { liftUser, suspendUser } from "../../../src/accounts/suspension/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { plural } from "../../../src/lib/text/format.ts";
import {
  canMail,
  invite,
  inviteAgain,
  mailsOf,
  revokeAndRecall,
} from "../../../src/notices/security/invitation-mail.ts";
import { INSTALLATION_ROLES, TEAM_ROLES } from "../../../src/roles.ts";
import { SuspendForm, suspensionOf } from "./suspension-form.ts";
import { UserPage, type UserProps } from "./user.tsx";
import { UserList, UsersPage, type UsersProps } from "./users.tsx";

const PAGE = 50;
const MAX = 100;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Role = v.picklist(INSTALLATION_ROLES);
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100), q: text(200) });
const Invite = v.object({
  email: v.pipe(v.string(), v.email("must be an e-mail address")),
  role: Role,
  team_role: v.optional(v.picklist(TEAM_ROLES)),
  organization: text(100),
  send: text(3),
});
const Change = v.object({
  role: v.optional(Role),
  team_role: v.optional(v.picklist(TEAM_ROLES)),
  organization: v.optional(v.pipe(v.string(), v.maxLength(100))),
});
const EMPTY = { after: "", q: "" };

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

/** A link of this server to pass on. */
function linkOf(ctx: Ctx, request: Request, path: string): string {
  return (ctx.config.public_url?.replace(/\/$/, "") ?? new URL(request.url).origin) + path;
}

async function usersProps(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof Query>): Promise<UsersProps> {
  const page = { limit: PAGE + 1, after: query.after || undefined, search: query.q };
  const invitations = await listInvitations(ctx, actor, { limit: MAX });
  return {
    users: listed(await listUsers(ctx, actor, page), PAGE),
    invitations,
    canMail: await canMail(ctx),
    mails: await mailsOf(ctx, invitations),
    teams: await listOrganizations(ctx, actor, { limit: MAX }),
    org: actor.org,
  };
}

/** Shows a page again with the reason of a refusal; internal errors continue to the error page. */
function refused(error: unknown): { error: string; status: number } {
  if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
  return { error: error.message, status: ERROR_TABLE[error.kind].status };
}

async function showUsers(ctx: Ctx, { request, actor }: Visit, query: v.InferOutput<typeof Query>) {
  const props = await usersProps(ctx, actor, query);
  return html(pageOf(ctx, request, actor), <UsersPage {...props} />, {
    fragments: { users: () => <UserList {...props} /> },
  });
}

/** Runs `make`, and shows the page with the link that it created, or says that it was mailed. */
async function showInvited(ctx: Ctx, { request, actor }: Visit, make: () => ReturnType<typeof invite>, typed?: string) {
  const page = pageOf(ctx, request, actor);
  try {
    const { invitation, token } = await make();
    if (token === null) return redirect(request, "/admin/users", `The invitation is mailed to ${invitation.email}.`);
    const invited = { email: invitation.email, link: linkOf(ctx, request, `/invite?token=${token}`) };
    return html(page, <UsersPage {...(await usersProps(ctx, actor, EMPTY))} invited={invited} />);
  } catch (thrown) {
    const { error, status } = refused(thrown);
    return html(page, <UsersPage {...(await usersProps(ctx, actor, EMPTY))} error={error} typed={typed} />, { status });
  }
}

async function userProps(ctx: Ctx, actor: Actor, id: string): Promise<UserProps> {
  return {
    user: await getUser(ctx, actor, id),
    teams: await listOrganizations(ctx, actor, { limit: MAX }),
    self: id === actor.userId,
  };
}

async function showUser(ctx: Ctx, { request, actor, params }: OnOne) {
  return html(pageOf(ctx, request, actor), <UserPage {...(await userProps(ctx, actor, params.id))} />);
}

/** Runs a change of a user and shows their page again, with the reason when it was refused. */
async function onUser(ctx: Ctx, visit: OnOne, change: () => Promise<Response>) {
  const { request, actor, params } = visit;
  try {
    return await change();
  } catch (thrown) {
    const { error, status } = refused(thrown);
    const props = await userProps(ctx, actor, params.id);
    return html(pageOf(ctx, request, actor), <UserPage {...props} error={error} />, { status });
  }
}

function saveUser(ctx: Ctx, visit: OnOne, body: v.InferOutput<typeof Change>) {
  const { request, actor, params } = visit;
  const { role, team_role: teamRole, organization } = body;
  return onUser(ctx, visit, async () => {
    await changeUser(ctx, actor, params.id, { role, teamRole, organization });
    return redirect(request, `/admin/users/${params.id}`, "Saved.");
  });
}

function suspend(ctx: Ctx, visit: OnOne, form: SuspendForm) {
  return onUser(ctx, visit, async () => {
    await suspendUser(ctx, visit.actor, visit.params.id, suspensionOf(form));
    return redirect(visit.request, `/admin/users/${visit.params.id}`, "The account is suspended.");
  });
}

async function lift(ctx: Ctx, { request, actor, params }: OnOne) {
  await liftUser(ctx, actor, params.id);
  return redirect(request, `/admin/users/${params.id}`, "The suspension is lifted. Jobs and endpoints resume.");
}

function resetPassword(ctx: Ctx, visit: OnOne) {
  const { request, actor, params } = visit;
  return onUser(ctx, visit, async () => {
    const { token } = await createReset(ctx, actor, params.id);
    // Shown in this answer and not after a redirect: the secret must not travel in a cookie or an address.
    const reset = { link: linkOf(ctx, request, `/reset?token=${token}`) };
    return html(pageOf(ctx, request, actor), <UserPage {...(await userProps(ctx, actor, params.id))} reset={reset} />);
  });
}

function resetSecondFactor(ctx: Ctx, visit: OnOne) {
  const { request, actor, params } = visit;
  return onUser(ctx, visit, async () => {
    await resetTwoFactor(ctx, actor, params.id);
    return redirect(request, `/admin/users/${params.id}`, "The second factor is reset, and the sessions have ended.");
  });
}

async function endSessions(ctx: Ctx, { request, actor, params }: OnOne) {
  const ended = await endUserSessions(ctx, actor, params.id);
  return redirect(request, `/admin/users/${params.id}`, `${plural(ended, "session")} ended.`);
}

async function revoke(ctx: Ctx, { request, actor, params }: OnOne) {
  await revokeAndRecall(ctx, actor, params.id);
  return redirect(request, "/admin/users", "The invitation is revoked.");
}

export const userPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.users.pages", prefix: "/admin", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/users", (visit) => showUsers(ctx, visit, visit.query), { query: Query })
    .post(
      "/invite",
      (visit) => {
        const { organization, email, role, team_role: teamRole } = visit.body;
        const input = { email, role, teamRole: role === "admin" ? undefined : teamRole };
        const byMail = visit.body.send === "yes";
        const make = () => invite(ctx, visit.actor, { ...input, org: organization || undefined }, byMail);
        return showInvited(ctx, visit, make, email);
      },
      { body: Invite },
    )
    .post(
      "/invitations/:id/renew",
      (visit) => showInvited(ctx, visit, () => inviteAgain(ctx, visit.actor, visit.params.id, false)),
      { params: Id },
    )
    .post(
      "/invitations/:id/send",
      (visit) => showInvited(ctx, visit, () => inviteAgain(ctx, visit.actor, visit.params.id, true)),
      { params: Id },
    )
    .post("/invitations/:id/revoke", (visit) => revoke(ctx, visit), { params: Id })
    .get("/users/:id", (visit) => showUser(ctx, visit), { params: Id })
    .post("/users/:id", (visit) => saveUser(ctx, visit, visit.body), { params: Id, body: Change })
    .post("/users/:id/suspend", (visit) => suspend(ctx, visit, visit.body), { params: Id, body: SuspendForm })
    .post("/users/:id/lift", (visit) => lift(ctx, visit), { params: Id })
    .post("/users/:id/reset", (visit) => resetPassword(ctx, visit), { params: Id })
    .post("/users/:id/two-factor", (visit) => resetSecondFactor(ctx, visit), { params: Id })
    .post("/users/:id/sessions", (visit) => endSessions(ctx, visit), { params: Id });
