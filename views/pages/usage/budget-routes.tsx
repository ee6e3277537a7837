/** Page routes of budgets. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { listKeys } from "../../../src/accounts/api-keys/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { listServiceAccounts } from "../../../src/accounts/service-accounts/service.ts";
import { nameOfScopes } from "../../../src/billing/budgets/names.ts";
import { changeBudget, createBudget, deleteBudget, listBudgets } from "../../../src/billing/budgets/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { can } from "../../../src/roles.ts";
import { type BudgetForm, LimitForm, limitChangeOf, NewBudgetForm, newBudgetOf } from "./budget-form.ts";
import { BudgetsPage, type BudgetsProps } from "./budgets.tsx";

const MAX = 100;
const HERE = "/usage/budgets";
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Visit {
  request: Request;
  actor: Actor;
}

/** What the viewer may set budgets for: the team and its people as a manager, otherwise the own keys. */
async function targetsOf(ctx: Ctx, actor: Actor): Promise<[string, string][]> {
  if (!can(actor, "keys.write")) return [];
  const manages = can(actor, "team.manage");
  const users = manages ? await listUsers(ctx, actor, { limit: MAX, org: actor.org }) : [];
  const services = can(actor, "members.manage") ? await listServiceAccounts(ctx, actor, { limit: MAX }) : [];
  const keys = (await listKeys(ctx, actor, { limit: MAX })).filter((key) => key.revokedAt === null);
  return [
    ...(manages ? [["team", "The whole team"] satisfies [string, string]] : []),
    ...users.map(({ id, email }): [string, string] => [`user ${id}`, `User ${email}`]),
    ...services.map(({ id, name }): [string, string] => [`user ${id}`, `Service account ${name}`]),
    ...keys.map(({ id, name }): [string, string] => [`key ${id}`, `API key ${name}`]),
  ];
}

async function show(ctx: Ctx, { request, actor }: Visit, refused?: BudgetsProps["refused"], status = 200) {
  const budgets = (await listBudgets(ctx, actor, { limit: MAX })).slice(0, MAX);
  const props: BudgetsProps = {
    budgets,
    names: await nameOfScopes(ctx, budgets),
    targets: await targetsOf(ctx, actor),
    manages: can(actor, "team.manage"),
    refused,
  };
  return html(pageOf(ctx, request, actor), <BudgetsPage {...props} />, { status });
}

/** Carries out a form; one that is refused is shown again with the reason. */
async function carryOut(ctx: Ctx, visit: Visit, form: BudgetForm, id: string | null, act: () => Promise<string>) {
  try {
    return redirect(visit.request, HERE, await act());
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { form, id, error: error.message }, ERROR_TABLE[error.kind].status);
  }
}

function create(ctx: Ctx, visit: Visit, form: BudgetForm) {
  const read = newBudgetOf(form);
  if ("error" in read) return show(ctx, visit, { form, id: null, error: read.error }, 422);
  return carryOut(ctx, visit, form, null, async () => {
    await createBudget(ctx, visit.actor, read.request);
    return "The budget is set.";
  });
}

function change(ctx: Ctx, visit: Visit, id: string, limits: v.InferOutput<typeof LimitForm>) {
  const form = { target: "", period: "", ...limits };
  const read = limitChangeOf(limits);
  if ("error" in read) return show(ctx, visit, { form, id, error: read.error }, 422);
  return carryOut(ctx, visit, form, id, async () => {
    await changeBudget(ctx, visit.actor, id, read.request);
    return "The limits are saved. Work that waits for this budget starts when it fits.";
  });
}

async function remove(ctx: Ctx, { request, actor }: Visit, id: string) {
  await deleteBudget(ctx, actor, id);
  return redirect(request, HERE, "The budget was deleted.");
}

export const budgetPages = (ctx: Ctx) =>
  new Elysia({ name: "budgets.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(HERE, (visit) => show(ctx, visit))
    .post(HERE, (visit) => create(ctx, visit, visit.body), { body: NewBudgetForm })
    .post(`${HERE}/:id`, (visit) => change(ctx, visit, visit.params.id, visit.body), { params: Id, body: LimitForm })
    .post(`${HERE}/:id/delete`, (visit) => remove(ctx, visit, visit.params.id), { params: Id });
