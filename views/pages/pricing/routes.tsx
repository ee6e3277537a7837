/** Page routes of the prices: what applies to the viewer, and hiding the banner of a raise. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { currentPrices } from "../../../src/billing/prices/service.ts";
import { hidePrices } from "../../../src/billing/prices/upcoming.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { cameFrom, html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { PricingPage } from "./page.tsx";

const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  return html(pageOf(ctx, request, actor), <PricingPage prices={await currentPrices(ctx, actor)} />);
}

async function hide(ctx: Ctx, { request, actor }: Visit, id: string) {
  await hidePrices(ctx, actor, id);
  return redirect(request, cameFrom(request) ?? "/pricing");
}

export const pricingPages = (ctx: Ctx) =>
  new Elysia({ name: "pricing.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/pricing", (visit) => show(ctx, visit))
    .post("/pricing/:id/hide", (visit) => hide(ctx, visit, visit.params.id), { params: Params });
