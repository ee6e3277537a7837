/** The usage page and its CSV export. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { listKeys } from "../../../src/accounts/api-keys/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { readLimits } from "../../../src/accounts/quotas/service.ts";
import { listServiceAccounts } from "../../../src/accounts/service-accounts/service.ts";
import { UsageQuery, type UsageSummary } from "../../../src/billing/ledger/model.ts";
import { usageSummary } from "../../../src/billing/ledger/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { csvField } from "../../../src/lib/text/csv.ts";
import { can } from "../../../src/roles.ts";
import { UsagePage } from "./page.tsx";

const MAX = 100;

interface Visit {
  request: Request;
  actor: Actor;
  query: v.InferOutput<typeof UsageQuery>;
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

const summaryOf = (ctx: Ctx, { actor, query }: Visit) =>
  usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by });

async function usagePage(ctx: Ctx, visit: Visit): Promise<Response> {
  const { request, actor } = visit;
  const summary = await summaryOf(ctx, visit);
  const props = { summary, names: await namesOf(ctx, actor), limits: await readLimits(ctx, actor) };
  return html(pageOf(ctx, request, actor), <UsagePage {...props} />);
}

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

async function usageCsv(ctx: Ctx, visit: Visit): Promise<Response> {
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
    .get("/usage", (visit) => usagePage(ctx, visit), { query: UsageQuery })
    .get("/usage.csv", (visit) => usageCsv(ctx, visit), { query: UsageQuery });
