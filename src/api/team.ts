/** JSON API of the caller's own organization, for its owners and administrators: members, invitations, limits. */
import { Elysia } from "elysia";
import { changeMember, removeMember } from "../accounts/organizations/members.ts";
import {
  ChangeMember,
  ChangeOrganization,
  InvitationView,
  InviteMember,
  invitationView,
  MemberView,
  memberView,
  OrganizationView,
  organizationView,
  PendingInvitationView,
} from "../accounts/organizations/model.ts";
import { listInvitations } from "../accounts/organizations/pending.ts";
import { readOwnOrganization, renameOrganization, requireTwoFactor } from "../accounts/organizations/service.ts";
import { getMember, listUsers } from "../accounts/organizations/users.ts";
import { LimitChange, TeamLimitsView } from "../accounts/quotas/model.ts";
import { readTeamLimits, setTeamLimits } from "../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { invite, inviteAgain, revokeAndRecall, withMails } from "../notices/security/invitation-mail.ts";

const tags = ["Organization"];

async function change(ctx: Ctx, actor: Actor, body: ChangeOrganization): Promise<OrganizationView> {
  if (body.name !== undefined) await renameOrganization(ctx, actor, actor.org, body.name);
  if (body.require_two_factor !== undefined) await requireTwoFactor(ctx, actor, actor.org, body.require_two_factor);
  return organizationView(await readOwnOrganization(ctx, actor));
}

async function listMembers(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listUsers(ctx, actor, { after: page.after, limit: page.limit + 1, org: actor.org });
  return pageOf(rows.map(memberView), page.limit);
}

async function inviteMember(ctx: Ctx, actor: Actor, body: InviteMember): Promise<InvitationView> {
  const input = { email: body.email, role: "member" as const, teamRole: body.role };
  const { invitation, token } = await invite(ctx, actor, input, body.send_mail);
  return invitationView(invitation, token);
}

async function changeRole(ctx: Ctx, actor: Actor, id: string, { role }: ChangeMember): Promise<MemberView> {
  await changeMember(ctx, actor, id, role);
  return memberView(await getMember(ctx, actor, id));
}

async function remove(ctx: Ctx, actor: Actor, id: string) {
  await removeMember(ctx, actor, id);
  return { object: "organization.member" as const, id, deleted: true as const };
}

async function listPending(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listInvitations(ctx, actor, { after: page.after, limit: page.limit + 1, org: actor.org });
  return pageOf(await withMails(ctx, rows), page.limit);
}

async function renew(ctx: Ctx, actor: Actor, id: string, byMail: boolean): Promise<InvitationView> {
  const { invitation, token } = await inviteAgain(ctx, actor, id, byMail);
  return invitationView(invitation, token);
}

async function revoke(ctx: Ctx, actor: Actor, id: string) {
  await revokeAndRecall(ctx, actor, id);
  return { object: "invitation" as const, id, deleted: true as const };
}

async function changeLimits(ctx: Ctx, actor: Actor, body: LimitChange): Promise<TeamLimitsView> {
  await setTeamLimits(ctx, actor, body);
  return readTeamLimits(ctx, actor);
}

export const teamApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.team.api", prefix: "/v1/organization", seed: ctx.installation })
    .use(session(ctx))
    .get("", async ({ actor }) => organizationView(await readOwnOrganization(ctx, actor)), {
      detail: { tags, summary: "Your organization", responses: answers(OrganizationView) },
    })
    .post("", ({ actor, body }) => change(ctx, actor, body), {
      body: ChangeOrganization,
      detail: {
        tags,
        summary: "Rename your organization, or require two-factor authentication",
        responses: answers(OrganizationView),
      },
    })
    .get("/members", ({ actor, query }) => listMembers(ctx, actor, query), {
      query: PageQuery,
      detail: { tags, summary: "List the members of your organization", responses: answers(listOf(MemberView)) },
    })
    .post("/members", ({ actor, body }) => inviteMember(ctx, actor, body), {
      body: InviteMember,
      detail: {
        tags,
        summary: "Invite somebody into your organization; the answer contains the one-time link, or it is mailed",
        responses: answers(InvitationView),
      },
    })
    .post("/members/:id", ({ actor, params, body }) => changeRole(ctx, actor, params.id, body), {
      body: ChangeMember,
      detail: { tags, summary: "Change the role of a member", responses: answers(MemberView) },
    })
    .delete("/members/:id", ({ actor, params }) => remove(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Remove a member, or leave the organization",
        description: "Their keys are revoked. What they own goes to you, or to an owner when you leave.",
        responses: answers(deletedOf("organization.member")),
      },
    })
    .get("/invitations", ({ actor, query }) => listPending(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags,
        summary: "List pending invitations into your organization",
        responses: answers(listOf(PendingInvitationView)),
      },
    })
    .post("/invitations/:id/renew", ({ actor, params }) => renew(ctx, actor, params.id, false), {
      detail: {
        tags,
        summary: "Replace a pending invitation by one with a new link",
        responses: answers(InvitationView),
      },
    })
    .post("/invitations/:id/send", ({ actor, params }) => renew(ctx, actor, params.id, true), {
      detail: {
        tags,
        summary: "Mail a pending invitation with a new link; the previous link stops working",
        responses: answers(InvitationView),
      },
    })
    .delete("/invitations/:id", ({ actor, params }) => revoke(ctx, actor, params.id), {
      detail: { tags, summary: "Revoke a pending invitation", responses: answers(deletedOf("invitation")) },
    })
    .get("/limits", ({ actor }) => readTeamLimits(ctx, actor), {
      detail: {
        tags,
        summary: "Limits that your organization set for itself, and those of the installation",
        responses: answers(TeamLimitsView),
      },
    })
    .post("/limits", ({ actor, body }) => changeLimits(ctx, actor, body), {
      body: LimitChange,
      detail: {
        tags,
        summary: "Set limits of your organization below those of the installation; null removes one",
        responses: answers(TeamLimitsView),
      },
    });
