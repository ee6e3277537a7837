/** Page routes of prices for administrators: every list, the next version with its differences, withdraw. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { getOrganization, listOrganizations } from "../../../src/accounts/organizations/service.ts";
import { dayAt } from "../../../src/billing/meters/months.ts";
import {
  comparePriceList,
  createPriceList,
  getPriceList,
  listPriceLists,
  organizationsWithPrices,
  withdrawPriceList,
} from "../../../src/billing/prices/service.ts";
import { listHosts } from "../../../src/compute/hosts/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { listCatalogue } from "../../../src/models/base/service.ts";
import { offeredGpus } from "../../../src/training/plan/offers.ts";
import { GPU_NAMES } from "../../../src/training/plan/throughput.ts";
import { formAfter, PriceBody, type PriceForm, requestOf, typedPrices } from "./price-form.ts";
import { PriceListPage, PriceListsPage, PricesFormPage } from "./prices.tsx";

const PAGE = 50;
const MAX_TEAMS = 1000;
const id = v.pipe(v.string(), v.maxLength(100));
const Params = v.object({ id });
const Query = v.object({ team: v.optional(id, ""), after: v.optional(id, "") });

interface Visit {
  request: Request;
  actor: Actor;
}

/** The team that prices are for; null = the installation. @throws AppError `organization_not_found` */
async function teamOf(ctx: Ctx, actor: Actor, team: string): Promise<{ id: string; name: string } | null> {
  return team ? getOrganization(ctx, actor, team) : null;
}

async function list(ctx: Ctx, { request, actor }: Visit, { team, after }: v.InferOutput<typeof Query>) {
  const page = { organization: team || undefined, after: after || undefined, limit: PAGE + 1 };
  const props = {
    team: await teamOf(ctx, actor, team),
    lists: listed(await listPriceLists(ctx, actor, page), PAGE),
    teams: (await listOrganizations(ctx, actor, { limit: MAX_TEAMS })).map(({ id, name }) => ({ id, name })),
    own: await organizationsWithPrices(ctx, actor),
  };
  return html(pageOf(ctx, request, actor), <PriceListsPage {...props} />);
}

/**
 * What the fields offer: the GPUs of this installation, of its providers and of clouds in general; its providers and
 * base models.
 */
async function choicesOf(ctx: Ctx, actor: Actor, { rows }: PriceForm) {
  const hosts = await listHosts(ctx, actor);
  const sorted = (values: string[]) => [...new Set(values.filter(Boolean))].sort();
  return {
    gpuModels: sorted([
      ...hosts.flatMap(({ gpus }) => gpus.map(({ model }) => model)),
      ...(await offeredGpus(ctx)),
      ...GPU_NAMES,
      ...rows.map((row) => row.gpu_model),
    ]),
    providers: sorted([...ctx.compute.list().map(({ plugin }) => plugin.id), ...rows.map((row) => row.provider)]),
    models: sorted((await listCatalogue(ctx, actor)).map((one) => one.id)),
  };
}

async function edit(
  ctx: Ctx,
  { request, actor }: Visit,
  team: string,
  more: { form?: PriceForm; compare?: boolean; rows?: number; error?: AppError } = {},
) {
  const newest = (await listPriceLists(ctx, actor, { organization: team || undefined, limit: PAGE })).find(
    ({ state }) => state !== "withdrawn",
  );
  const form = more.form ?? formAfter(newest ?? null, "");
  let { error } = more;
  const changes = more.compare
    ? await comparePriceList(ctx, actor, requestOf(form, team || null)).catch((cause) => {
        if (!(cause instanceof AppError) || cause.kind === "internal") throw cause;
        error = cause;
        return null;
      })
    : null;
  const props = {
    team: await teamOf(ctx, actor, team),
    form: changes && form.date === "" ? { ...form, date: changes.earliest_date } : form,
    today: dayAt(ctx.clock.now()),
    more: more.rows ?? 0,
    choices: await choicesOf(ctx, actor, form),
    changes,
    error: error?.message,
  };
  const status = error ? ERROR_TABLE[error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <PricesFormPage {...props} />, { status });
}

async function compare(ctx: Ctx, visit: Visit, team: string, body: Record<string, string>) {
  const form = typedPrices(body);
  try {
    requestOf(form, team || null);
    return edit(ctx, visit, team, { form, compare: true });
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return edit(ctx, visit, team, { form, error });
  }
}

async function save(ctx: Ctx, visit: Visit, team: string, body: Record<string, string>) {
  const form = typedPrices(body);
  try {
    const row = await createPriceList(ctx, visit.actor, requestOf(form, team || null));
    const done = row.state === "announced" ? "They are announced" : "Saved";
    const words = row.state === "in_force" ? "The prices are in force." : `${done} for ${row.effective_date}.`;
    return redirect(visit.request, team ? `/admin/prices?team=${encodeURIComponent(team)}` : "/admin/prices", words);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return edit(ctx, visit, team, { form, compare: true, error });
  }
}

async function show(ctx: Ctx, { request, actor }: Visit, one: string) {
  const list = await getPriceList(ctx, actor, one);
  const team = await teamOf(ctx, actor, list.organization ?? "");
  return html(pageOf(ctx, request, actor), <PriceListPage list={list} team={team} />);
}

async function withdraw(ctx: Ctx, { request, actor }: Visit, one: string) {
  const { organization } = await withdrawPriceList(ctx, actor, one);
  const path = organization ? `/admin/prices?team=${encodeURIComponent(organization)}` : "/admin/prices";
  return redirect(request, path, "The price list is withdrawn.");
}

export const priceAdminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.prices.pages", prefix: "/admin/prices", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit, visit.query), { query: Query })
    .get("/new", (visit) => edit(ctx, visit, visit.query.team), { query: Query })
    .post("/new", (visit) => save(ctx, visit, visit.query.team, visit.body), { query: Query, body: PriceBody })
    .post("/new/compare", (visit) => compare(ctx, visit, visit.query.team, visit.body), {
      query: Query,
      body: PriceBody,
    })
    .post("/new/rows", (visit) => edit(ctx, visit, visit.query.team, { form: typedPrices(visit.body), rows: 8 }), {
      query: Query,
      body: PriceBody,
    })
    .get("/:id", (visit) => show(ctx, visit, visit.params.id), { params: Params })
    .post("/:id/withdraw", (visit) => withdraw(ctx, visit, visit.params.id), { params: Params });
