/** Page routes of the viewer's own team: members, invitations, name, sign-in, limits, leaving. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { Email, Name } from "../../../src/accounts/auth/model.ts";
import { changeMember, removeMember } from "../../../src/accounts/organizations/members.ts";
import { listInvitations } from "../../../src/accounts/organizations/pending.ts";
import {
  readOwnOrganization,
  renameOrganization,
  requireTwoFactor,
} from "../../../src/accounts/organizations/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { LIMITS } from "../../../src/accounts/quotas/model.ts";
import { readTeamLimits, setTeamLimits } from "../../../src/accounts/quotas/service.ts";
import { listServiceAccounts } from "../../../src/accounts/service-accounts/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { policyOf, setPolicy } from "../../../src/data/privacy/policy.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import {
  canMail,
  invite,
  inviteAgain,
  mailsOf,
  revokeAndRecall,
} from "../../../src/notices/security/invitation-mail.ts";
import { can, TEAM_ROLES } from "../../../src/roles.ts";
import { readTeamBurst, setTeamBurst } from "../../../src/training/queue/teams.ts";
import { BurstBody, burstForm, burstRequest } from "../queue/form.ts";
import { LimitBody, type LimitForm, readLimits, shownLimit } from "./limits-form.ts";
import { MemberList, TeamPage, type TeamProps } from "./page.tsx";
import { AccountForm, createFromForm, serviceAccountPages } from "./service-account-routes.tsx";

const PAGE = 50;
const MAX = 100;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({ after: text(100), q: text(200) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const NameForm = v.object({ name: text(300) });
const RoleForm = v.object({ role: v.picklist(TEAM_ROLES) });
const InviteForm = v.object({ email: text(300), role: v.picklist(TEAM_ROLES), send: text(3) });
const SignInForm = v.object({ required: text(3) });
const EMPTY = { after: "", q: "" };

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

async function manageProps(ctx: Ctx, actor: Actor): Promise<TeamProps["manage"]> {
  if (!can(actor, "members.manage")) return null;
  const limits = await readTeamLimits(ctx, actor);
  const burst = await readTeamBurst(ctx, actor);
  const invitations = await listInvitations(ctx, actor, { limit: MAX, org: actor.org });
  return {
    invitations,
    canMail: await canMail(ctx),
    mails: await mailsOf(ctx, invitations),
    limits,
    limitForm: Object.fromEntries(LIMITS.map((name) => [name, shownLimit(name, limits[name].limit)])) as LimitForm,
    roles: TEAM_ROLES.filter((role) => role !== "owner" || can(actor, "owners.manage")),
    services: await listServiceAccounts(ctx, actor, { limit: MAX }),
    graceDays: ctx.config.two_factor_grace_days,
    requiredByAll: ctx.config.require_two_factor,
    privacy: await policyOf(ctx, actor.org),
    burst,
    burstForm: burstForm(burst.burst),
  };
}

async function show(
  ctx: Ctx,
  { request, actor }: Visit,
  query: v.InferOutput<typeof Query> = EMPTY,
  more: Partial<TeamProps> = {},
  status = 200,
) {
  const page = { limit: PAGE + 1, after: query.after || undefined, search: query.q, org: actor.org };
  const props: TeamProps = {
    team: await readOwnOrganization(ctx, actor),
    self: actor.userId,
    members: listed(await listUsers(ctx, actor, page), PAGE),
    manage: await manageProps(ctx, actor),
    problems: {},
    ...more,
  };
  return html(pageOf(ctx, request, actor), <TeamPage {...props} />, {
    status,
    fragments: { members: () => <MemberList {...props} /> },
  });
}

/** Runs a change, and shows the page again with the reason when it was refused. */
async function attempt(ctx: Ctx, visit: Visit, change: () => Promise<Response>, typed?: string) {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return show(ctx, visit, EMPTY, { error: error.message, typed }, ERROR_TABLE[error.kind].status);
  }
}

/** Says that it was mailed, or shows the page with the link: it must not travel in a cookie or an address. */
async function showInvited(ctx: Ctx, visit: Visit, made: Awaited<ReturnType<typeof inviteAgain>>) {
  if (made.token === null)
    return redirect(visit.request, "/team", `The invitation is mailed to ${made.invitation.email}.`);
  const origin = ctx.config.public_url?.replace(/\/$/, "") ?? new URL(visit.request.url).origin;
  const invited = { email: made.invitation.email, link: `${origin}/invite?token=${made.token}` };
  return show(ctx, visit, EMPTY, { invited });
}

function inviteMember(ctx: Ctx, visit: Visit, form: v.InferOutput<typeof InviteForm>) {
  return attempt(
    ctx,
    visit,
    async () => {
      const email = v.safeParse(Email, form.email);
      if (!email.success) throw new AppError("invalid", "invalid_email", "This is not an e-mail address.");
      const input = { email: email.output, role: "member" as const, teamRole: form.role };
      return showInvited(ctx, visit, await invite(ctx, visit.actor, input, form.send === "yes"));
    },
    form.email,
  );
}

const changeRole = (ctx: Ctx, visit: OnOne, { role }: v.InferOutput<typeof RoleForm>) =>
  attempt(ctx, visit, async () => {
    await changeMember(ctx, visit.actor, visit.params.id, role);
    return redirect(visit.request, "/team", "The role is changed.");
  });

const remove = (ctx: Ctx, visit: OnOne) =>
  attempt(ctx, visit, async () => {
    await removeMember(ctx, visit.actor, visit.params.id);
    return redirect(visit.request, "/team", "The member is removed. What they owned is yours now.");
  });

/** The form is open again with what was typed. */
const addServiceAccount = async (ctx: Ctx, visit: Visit, form: v.InferOutput<typeof AccountForm>) => {
  try {
    return await createFromForm(ctx, visit.request, visit.actor, form);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, EMPTY, { error: error.message, typedService: form.name }, ERROR_TABLE[error.kind].status);
  }
};

const leave = (ctx: Ctx, visit: Visit) =>
  attempt(ctx, visit, async () => {
    await removeMember(ctx, visit.actor, visit.actor.userId);
    return redirect(visit.request, "/login", "You left the team.");
  });

const again = (ctx: Ctx, visit: OnOne, byMail: boolean) =>
  attempt(ctx, visit, async () =>
    showInvited(ctx, visit, await inviteAgain(ctx, visit.actor, visit.params.id, byMail)),
  );

async function revoke(ctx: Ctx, { request, actor, params }: OnOne) {
  await revokeAndRecall(ctx, actor, params.id);
  return redirect(request, "/team", "The invitation is revoked.");
}

const rename = (ctx: Ctx, visit: Visit, form: v.InferOutput<typeof NameForm>) =>
  attempt(ctx, visit, async () => {
    const name = v.safeParse(Name, form.name);
    if (!name.success) throw new AppError("invalid", "invalid_value", `The name ${name.issues[0].message}.`);
    await renameOrganization(ctx, visit.actor, visit.actor.org, name.output);
    return redirect(visit.request, "/team", "The team is renamed.");
  });

async function saveSignIn(ctx: Ctx, { request, actor }: Visit, { required }: v.InferOutput<typeof SignInForm>) {
  await requireTwoFactor(ctx, actor, actor.org, required === "yes");
  return redirect(request, "/team", "Saved.");
}

const savePrivacy = (ctx: Ctx, visit: Visit, { required }: v.InferOutput<typeof SignInForm>) =>
  attempt(ctx, visit, async () => {
    await setPolicy(ctx, visit.actor, required === "yes");
    return redirect(visit.request, "/team", "Saved.");
  });

async function saveLimits(ctx: Ctx, visit: Visit, form: LimitForm) {
  const again = async (problems: TeamProps["problems"]) => {
    const manage = await manageProps(ctx, visit.actor);
    return show(ctx, visit, EMPTY, { manage: manage && { ...manage, limitForm: form }, problems }, 422);
  };
  const read = readLimits(form);
  if ("problems" in read) return again(read.problems);
  try {
    await setTeamLimits(ctx, visit.actor, read.change);
  } catch (error) {
    if (error instanceof AppError && error.code === "limit_above_installation")
      return again({ [error.param ?? ""]: error.message });
    throw error;
  }
  return redirect(visit.request, "/team", "The limits are saved.");
}

async function saveBurst(ctx: Ctx, visit: Visit, form: v.InferOutput<typeof BurstBody>) {
  const read = burstRequest(form);
  if ("problems" in read) {
    const manage = await manageProps(ctx, visit.actor);
    const more = { manage: manage && { ...manage, burstForm: form }, problems: read.problems };
    return show(ctx, visit, EMPTY, more, 422);
  }
  return attempt(ctx, visit, async () => {
    await setTeamBurst(ctx, visit.actor, read.change);
    return redirect(visit.request, "/team", "Saved. Jobs that wait are decided again.");
  });
}

export const ownTeamPages = (ctx: Ctx) =>
  new Elysia({ name: "team.pages", prefix: "/team", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .use(serviceAccountPages(ctx))
    .get("", (visit) => show(ctx, visit, visit.query), { query: Query })
    .post("/service-accounts", (visit) => addServiceAccount(ctx, visit, visit.body), { body: AccountForm })
    .post("/members", (visit) => inviteMember(ctx, visit, visit.body), { body: InviteForm })
    .post("/members/:id", (visit) => changeRole(ctx, visit, visit.body), { params: Id, body: RoleForm })
    .post("/members/:id/remove", (visit) => remove(ctx, visit), { params: Id })
    .post("/leave", (visit) => leave(ctx, visit))
    .post("/invitations/:id/renew", (visit) => again(ctx, visit, false), { params: Id })
    .post("/invitations/:id/send", (visit) => again(ctx, visit, true), { params: Id })
    .post("/invitations/:id/revoke", (visit) => revoke(ctx, visit), { params: Id })
    .post("/name", (visit) => rename(ctx, visit, visit.body), { body: NameForm })
    .post("/sign-in", (visit) => saveSignIn(ctx, visit, visit.body), { body: SignInForm })
    .post("/privacy", (visit) => savePrivacy(ctx, visit, visit.body), { body: SignInForm })
    .post("/burst", (visit) => saveBurst(ctx, visit, visit.body), { body: BurstBody })
    .post("/limits", (visit) => saveLimits(ctx, visit, visit.body), { body: LimitBody });
