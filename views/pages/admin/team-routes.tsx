/** Page routes of teams: list, create, rename, share of the queue, quotas, Weights & Biases. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { Name } from "../../../src/accounts/auth/model.ts";
import { createOrganization } from "../../../src/accounts/auth/service.ts";
import {
  getOrganization,
  listOrganizations,
  renameOrganization,
  requireTwoFactor,
} from "../../../src/accounts/organizations/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { LIMITS, type LimitName } from "../../../src/accounts/quotas/model.ts";
import { limitsOfOrganization, setLimits } from "../../../src/accounts/quotas/service.ts";
import { liftOrganization, suspendOrganization } from "../../../src/accounts/suspension/service.ts";
import { endTime, GiveTime, giveTime, moreTimeOf } from "../../../src/billing/late/more-time.ts";
import { lateTeam } from "../../../src/billing/late/state.ts";
import { type Actor, type Ctx, requireAdmin } from "../../../src/ctx.ts";
import { AppError, notFound } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { listed } from "../../../src/lib/page.ts";
import { viewQueue } from "../../../src/training/queue/service.ts";
import { setShare } from "../../../src/training/queue/teams.ts";
import { ChangeWandb, readWandb, removeWandb, setWandb } from "../../../src/training/results/wandb-settings.ts";
import { ShareBody, type ShareForm, shareForm, shareRequest } from "../queue/form.ts";
import { LimitBody, type LimitForm, readLimits, shownLimit } from "../team/limits-form.ts";
import { SuspendForm, suspensionOf } from "./suspension-form.ts";
import { TeamPage, type TeamProps, TeamsPage } from "./teams.tsx";

const PAGE = 50;
const MAX_MEMBERS = 200;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({ after: text(100) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const NameForm = v.object({ name: text(300) });
const WandbForm = v.strictObject({ wandb_url: text(500), wandb_key: text(200) });
const TimeForm = v.object({ until: text(20), reason: text(600) });
const SignInForm = v.object({ required: text(3) });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}
const pathOf = (id: string) => `/admin/teams/${encodeURIComponent(id)}`;

async function teamProps(ctx: Ctx, actor: Actor, id: string): Promise<TeamProps> {
  requireAdmin(actor);
  const { teams } = await viewQueue(ctx, actor, { limit: 1 });
  const share = teams.find((one) => one.id === id);
  if (!share) throw notFound("organization", id);
  const { limits, own } = await limitsOfOrganization(ctx, actor, id);
  const typed = (name: LimitName) => (own.includes(name) ? shownLimit(name, limits[name].limit ?? 0) : "");
  const wandb = await readWandb(ctx, actor, id);
  return {
    team: await getOrganization(ctx, actor, id),
    own: id === actor.org,
    overdue: { path: pathOf(id), late: await lateTeam(ctx, id), moreTime: await moreTimeOf(ctx, id) },
    graceDays: ctx.config.two_factor_grace_days,
    requiredByAll: ctx.config.require_two_factor,
    members: await listUsers(ctx, actor, { limit: MAX_MEMBERS, org: id }),
    share,
    shareForm: shareForm(share),
    limits,
    limitForm: Object.fromEntries(LIMITS.map((name) => [name, typed(name)])) as LimitForm,
    wandb,
    wandbUrl: wandb.wandb_url ?? "",
    problems: {},
  };
}

async function listTeams(ctx: Ctx, { request, actor }: Visit, after: string, error?: string) {
  const rows = await listOrganizations(ctx, actor, { limit: PAGE + 1, after: after || undefined });
  const page = <TeamsPage teams={listed(rows, PAGE)} error={error} />;
  return html(pageOf(ctx, request, actor), page, { status: error ? 422 : 200 });
}

async function show(ctx: Ctx, { request, actor, params }: OnOne, more: Partial<TeamProps> = {}) {
  const props = { ...(await teamProps(ctx, actor, params.id)), ...more };
  const status = more.error || Object.keys(props.problems).length > 0 ? 422 : 200;
  return html(pageOf(ctx, request, actor), <TeamPage {...props} />, { status });
}

/** The message when a name is not usable; null when it is. */
function nameProblem(name: string): string | null {
  const parsed = v.safeParse(Name, name);
  if (parsed.success) return null;
  return name.trim() ? `The name ${parsed.issues[0].message}.` : "Give the team a name.";
}

async function create(ctx: Ctx, visit: Visit, { name }: v.InferOutput<typeof NameForm>) {
  const problem = nameProblem(name);
  if (problem) return listTeams(ctx, visit, "", problem);
  const id = await createOrganization(ctx, visit.actor, v.parse(Name, name));
  return redirect(visit.request, pathOf(id), "The team is created.");
}

async function rename(ctx: Ctx, visit: OnOne, { name }: v.InferOutput<typeof NameForm>) {
  const problem = nameProblem(name);
  if (problem) return show(ctx, visit, { error: problem });
  await renameOrganization(ctx, visit.actor, visit.params.id, v.parse(Name, name));
  return redirect(visit.request, pathOf(visit.params.id), "The team is renamed.");
}

async function saveSignIn(ctx: Ctx, visit: OnOne, { required }: v.InferOutput<typeof SignInForm>) {
  await requireTwoFactor(ctx, visit.actor, visit.params.id, required === "yes");
  return redirect(visit.request, pathOf(visit.params.id), "Saved.");
}

async function saveShare(ctx: Ctx, visit: OnOne, form: ShareForm) {
  const read = shareRequest(form);
  if ("problems" in read) return show(ctx, visit, { shareForm: form, problems: read.problems });
  await setShare(ctx, visit.actor, visit.params.id, read.change);
  return redirect(visit.request, pathOf(visit.params.id), "Saved. The new order of the queue is in effect.");
}

async function saveLimits(ctx: Ctx, visit: OnOne, form: LimitForm) {
  const read = readLimits(form);
  if ("problems" in read) return show(ctx, visit, { limitForm: form, problems: read.problems });
  await setLimits(ctx, visit.actor, visit.params.id, read.change);
  return redirect(visit.request, pathOf(visit.params.id), "The quotas are saved.");
}

async function saveWandb(ctx: Ctx, visit: OnOne, form: v.InferOutput<typeof WandbForm>) {
  const again = (field: string, message: string) =>
    show(ctx, visit, { wandbUrl: form.wandb_url, problems: { [field]: message } });
  const parsed = v.safeParse(ChangeWandb, form);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const field = v.getDotPath(issue) ?? "wandb_url";
    return again(field, `The ${field === "wandb_url" ? "address" : "key"} ${issue.message}.`);
  }
  try {
    await setWandb(ctx, visit.actor, visit.params.id, parsed.output);
  } catch (error) {
    if (error instanceof AppError && error.code === "wandb_refused") return again("wandb_url", error.message);
    throw error;
  }
  return redirect(visit.request, pathOf(visit.params.id), "The server is saved.");
}

async function forgetWandb(ctx: Ctx, { request, actor, params }: OnOne) {
  await removeWandb(ctx, actor, params.id);
  return redirect(request, pathOf(params.id), "The server and its key are removed.");
}

async function suspend(ctx: Ctx, visit: OnOne, form: SuspendForm) {
  try {
    await suspendOrganization(ctx, visit.actor, visit.params.id, suspensionOf(form));
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return show(ctx, visit, { error: error.message });
  }
  return redirect(visit.request, pathOf(visit.params.id), "The team is suspended.");
}

async function lift(ctx: Ctx, { request, actor, params }: OnOne) {
  await liftOrganization(ctx, actor, params.id);
  return redirect(request, pathOf(params.id), "The suspension is lifted. Jobs and endpoints resume.");
}

async function moreTime(ctx: Ctx, visit: OnOne, { until, reason }: v.InferOutput<typeof TimeForm>) {
  const path = pathOf(visit.params.id);
  try {
    const at = Date.parse(`${until}T00:00:00Z`) / 1000;
    await giveTime(ctx, visit.actor, visit.params.id, parseForm(GiveTime, { until: at, reason }, { until: "The end" }));
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return show(ctx, visit, { error: error.message });
  }
  return redirect(visit.request, path, "The team has more time to pay, and was notified.");
}

async function lessTime(ctx: Ctx, { request, actor, params }: OnOne) {
  await endTime(ctx, actor, params.id);
  return redirect(request, pathOf(params.id), "The time is ended.");
}

export const teamPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.teams.pages", prefix: "/admin/teams", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => listTeams(ctx, visit, visit.query.after), { query: Query })
    .post("", (visit) => create(ctx, visit, visit.body), { body: NameForm })
    .get("/:id", (visit) => show(ctx, visit), { params: Id })
    .post("/:id", (visit) => saveShare(ctx, visit, visit.body), { params: Id, body: ShareBody })
    .post("/:id/name", (visit) => rename(ctx, visit, visit.body), { params: Id, body: NameForm })
    .post("/:id/limits", (visit) => saveLimits(ctx, visit, visit.body), { params: Id, body: LimitBody })
    .post("/:id/wandb", (visit) => saveWandb(ctx, visit, visit.body), { params: Id, body: WandbForm })
    .post("/:id/wandb/remove", (visit) => forgetWandb(ctx, visit), { params: Id })
    .post("/:id/suspend", (visit) => suspend(ctx, visit, visit.body), { params: Id, body: SuspendForm })
    .post("/:id/more-time", (visit) => moreTime(ctx, visit, visit.body), { params: Id, body: TimeForm })
    .post("/:id/more-time/end", (visit) => lessTime(ctx, visit), { params: Id })
    .post("/:id/lift", (visit) => lift(ctx, visit), { params: Id })
    .post("/:id/sign-in", (visit) => saveSignIn(ctx, visit, visit.body), { params: Id, body: SignInForm });
