/** The usage page and its CSV export. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { listKeys } from "../../../src/accounts/api-keys/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { readLimits } from "../../../src/accounts/quotas/service.ts";
import { listServiceAccounts } from "../../../src/accounts/service-accounts/service.ts";
import { forecast } from "../../../src/billing/exports/forecast.ts";
import { gpuUse } from "../../../src/billing/exports/gpus.ts";
import { topJobs, usageSeries } from "../../../src/billing/exports/series.ts";
import { UsageQuery, type UsageSummary } from "../../../src/billing/ledger/model.ts";
import { usageSummary } from "../../../src/billing/ledger/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { csvField } from "../../../src/lib/text/csv.ts";
import { can } from "../../../src/roles.ts";
import { UsageContent, UsagePage, type UsageProps } from "./page.tsx";
import { filterOf, shownPeriod, UsageView } from "./view.ts";

const MAX = 100;
/** Rows of the top lists. */
const TOP = 10;

interface Visit<Query> {
  request: Request;
  actor: Actor;
  query: Query;
}

/** Names of keys and users by id; members see only their own. */
async function namesOf(ctx: Ctx, actor: Actor): Promise<Record<string, string>> {
  const keys = await listKeys(ctx, actor, { limit: MAX });
  const users = can(actor, "usage.team") ? await listUsers(ctx, actor, { limit: MAX, org: actor.org }) : [];
  const services = can(actor, "members.manage") ? await listServiceAccounts(ctx, actor, { limit: MAX }) : [];
  return Object.fromEntries([
    ...keys.map((row) => [row.id, row.name]),
    ...users.map((row) => [row.id, row.email]),
    ...services.map((row) => [row.id, row.name]),
    [actor.userId, actor.email ?? actor.userId],
  ]);
}

/** Everything that the page shows, read at once. */
async function propsOf(ctx: Ctx, actor: Actor, view: UsageView): Promise<UsageProps> {
  const { from, to, width } = shownPeriod(view, ctx.clock.now());
  const of = { from, to, measure: view.measure, filter: filterOf(view), limit: TOP };
  const jobs = await topJobs(ctx, actor, of);
  return {
    view,
    series: await usageSeries(ctx, actor, { ...of, groupBy: view.group_by, width }),
    jobs: jobs.slice(0, TOP),
    forecast: await forecast(ctx, actor),
    gpus: await gpuUse(ctx, actor, { from, to }),
    names: await namesOf(ctx, actor),
    limits: await readLimits(ctx, actor),
    team: can(actor, "usage.team"),
  };
}

async function usagePage(ctx: Ctx, { request, actor, query }: Visit<UsageView>): Promise<Response> {
  const props = await propsOf(ctx, actor, query);
  return html(pageOf(ctx, request, actor), <UsagePage {...props} />, {
    fragments: { "usage-view": () => <UsageContent {...props} /> },
  });
}

const summaryOf = (ctx: Ctx, { actor, query }: Visit<v.InferOutput<typeof UsageQuery>>) =>
  usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by });

/** Numbers as they are, texts escaped for CSV. */
const cell = (value: string | number) => (typeof value === "number" ? String(value) : csvField(value));

function csvLines(summary: UsageSummary, names: Record<string, string>): (string | number)[][] {
  const name = (id: string) => names[id] ?? (id === "null" || id === "" ? "Web page" : "");
  return [
    ["what", summary.group_by, "name", "count", "hours", "gpu_hours", "tokens_in", "tokens_out", "cost_usd"],
    ...summary.work.map(({ group, attempts, hours, gpu_hours, tokens, cost_usd }) => [
      "work",
      group,
      name(group),
      attempts,
      hours,
      gpu_hours,
      tokens,
      0,
      cost_usd,
    ]),
    ...summary.requests.map(({ group, requests, prompt_tokens, completion_tokens }) => [
      "requests",
      group,
      name(group),
      requests,
      0,
      0,
      prompt_tokens,
      completion_tokens,
      0,
    ]),
  ];
}

async function usageCsv(ctx: Ctx, visit: Visit<v.InferOutput<typeof UsageQuery>>): Promise<Response> {
  const summary = await summaryOf(ctx, visit);
  const lines = csvLines(summary, await namesOf(ctx, visit.actor));
  return new Response(`${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`, {
    headers: {
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="usage-${summary.month}.csv"`,
    },
  });
}

export const billingPages = (ctx: Ctx) =>
  new Elysia({ name: "billing.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/usage", (visit) => usagePage(ctx, visit), { query: UsageView })
    .get("/usage.csv", (visit) => usageCsv(ctx, visit), { query: UsageQuery });
