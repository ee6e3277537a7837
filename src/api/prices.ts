/** JSON API of prices: what applies to the caller; and for administrators every list, making and withdrawing one. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { CreatePriceList, CurrentPrices, ListQuery, PriceChanges, PriceListView } from "../billing/prices/model.ts";
import {
  comparePriceList,
  createPriceList,
  currentPrices,
  getPriceList,
  listPriceLists,
  withdrawPriceList,
} from "../billing/prices/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { id } from "../lib/request-fields.ts";

const Id = v.strictObject({ id });
const tags = ["Billing"];
const admin = ["Administration"];
const RULES =
  "One price of a list applies to a use: the one with the most of `gpu_model`, `provider` and `model` that match, and of equals the first. Prices of an organization come before those of the installation. A raise takes effect 30 days after it is announced or later, which notifies everybody whom it concerns.";

async function listRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof ListQuery>) {
  return pageOf(await listPriceLists(ctx, actor, { ...query, limit: query.limit + 1 }), query.limit);
}

export const pricesApi = (ctx: Ctx) =>
  new Elysia({ name: "prices.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/prices", ({ actor }) => currentPrices(ctx, actor), {
      detail: {
        tags,
        summary: "Retrieve the prices that apply to you, and those that take effect later",
        description:
          "Without a price list everything costs 0. No key is needed where the billing settings make prices public.",
        responses: answers(CurrentPrices),
      },
    })
    .get("/admin/price_lists", ({ actor, query }) => listRoute(ctx, actor, query), {
      query: ListQuery,
      detail: {
        tags: admin,
        summary: "List the price lists of the installation or of an organization, newest first",
        responses: answers(listOf(PriceListView)),
      },
    })
    .get("/admin/price_lists/:id", ({ actor, params }) => getPriceList(ctx, actor, params.id), {
      params: Id,
      detail: { tags: admin, summary: "Retrieve a price list", responses: answers(PriceListView) },
    })
    .post("/admin/price_lists", ({ actor, body }) => createPriceList(ctx, actor, body), {
      body: CreatePriceList,
      detail: {
        tags: admin,
        summary: "Make a price list, of the installation or for one organization",
        description: RULES,
        responses: answers(PriceListView),
      },
    })
    .post("/admin/price_lists/changes", ({ actor, body }) => comparePriceList(ctx, actor, body), {
      body: CreatePriceList,
      detail: {
        tags: admin,
        summary: "Show what a price list would change, and whether it is a raise; changes nothing",
        responses: answers(PriceChanges),
      },
    })
    .delete("/admin/price_lists/:id", ({ actor, params }) => withdrawPriceList(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags: admin,
        summary: "Withdraw a price list that is not in force yet",
        responses: answers(PriceListView),
      },
    });
