/** JSON API of budgets: what teams, users, keys, jobs and sweeps may cost. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { BudgetView, ChangeBudget, CreateBudget, ListBudgets } from "../billing/budgets/model.ts";
import { changeBudget, createBudget, deleteBudget, getBudget, listBudgets } from "../billing/budgets/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { id } from "../lib/request-fields.ts";

const Id = v.strictObject({ id });
const tags = ["Budgets"];

async function listRoute(ctx: Ctx, actor: Actor, query: ListBudgets) {
  return pageOf(await listBudgets(ctx, actor, query), query.limit);
}

async function deleteRoute(ctx: Ctx, actor: Actor, one: string) {
  await deleteBudget(ctx, actor, one);
  return { object: "budget" as const, id: one, deleted: true as const };
}

export const budgetsApi = (ctx: Ctx) =>
  new Elysia({ name: "budgets.api", prefix: "/v1/budgets", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor, query }) => listRoute(ctx, actor, query), {
      query: ListBudgets,
      detail: {
        tags,
        summary: "List budgets that apply to you, newest first",
        description: "Who sees the usage of the whole team sees all of its budgets.",
        responses: answers(listOf(BudgetView)),
      },
    })
    .post("", ({ actor, body }) => createBudget(ctx, actor, body), {
      body: CreateBudget,
      detail: {
        tags,
        summary: "Set a budget for a team, user, API key, job or sweep",
        description:
          "A limit in dollars, in GPU-hours, or both, for every month (UTC) or in total. What was already used in the period counts. Work that does not fit waits; running work saves a checkpoint and stops before a limit is passed; requests to models answer 429 `insufficient_quota` at the limit.",
        responses: answers(BudgetView),
      },
    })
    .get("/:id", ({ actor, params }) => getBudget(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a budget: used, reserved and left", responses: answers(BudgetView) },
    })
    .patch("/:id", ({ actor, params, body }) => changeBudget(ctx, actor, params.id, body), {
      params: Id,
      body: ChangeBudget,
      detail: {
        tags,
        summary: "Change the limits of a budget; waiting work starts when it fits",
        responses: answers(BudgetView),
      },
    })
    .delete("/:id", ({ actor, params }) => deleteRoute(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Delete a budget", responses: answers(deletedOf("budget")) },
    });
