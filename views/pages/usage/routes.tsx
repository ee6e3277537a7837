/** The usage page and its export. */
import { Elysia } from "elysia";
import { listKeys } from "../../../src/accounts/auth/service.ts";
import { listUsers } from "../../../src/accounts/organizations/users.ts";
import { readLimits } from "../../../src/accounts/quotas/service.ts";
import { UsageQuery } from "../../../src/billing/ledger/model.ts";
import { usageSummary } from "../../../src/billing/ledger/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { csvField } from "../../../src/lib/text/csv.ts";
import { UsagePage } from "./page.tsx";

const MAX = 100;

async function namesOf(ctx: Ctx, actor: Actor): Promise<Record<string, string>> {
  const keys = await listKeys(ctx, actor, { limit: MAX });
  const users = actor.role === "admin" ? await listUsers(ctx, actor, { limit: MAX }) : [];
  return Object.fromEntries([
    ...keys.map((row) => [row.id, row.name]),
    ...users.map((row) => [row.id, row.email]),
    [actor.userId, actor.email ?? actor.userId],
  ]);
}

/** Numbers as they are, texts made safe. */
const cell = (value: string | number) => (typeof value === "number" ? String(value) : csvField(value));

export const billingPages = (ctx: Ctx) =>
  new Elysia({ name: "billing.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/usage",
      async ({ request, actor, query }) => {
        const summary = await usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by });
        const props = { summary, names: await namesOf(ctx, actor), limits: await readLimits(ctx, actor) };
        return html(pageOf(ctx, request, actor), <UsagePage {...props} />);
      },
      { query: UsageQuery },
    )
    .get(
      "/usage.csv",
      async ({ actor, query }) => {
        const summary = await usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by });
        const names = await namesOf(ctx, actor);
        const lines = [
          ["what", summary.group_by, "name", "count", "hours", "gpu_hours", "tokens_in", "tokens_out", "cost_usd"],
          ...summary.work.map((row) => [
            "work",
            row.group,
            names[row.group] ?? "",
            row.attempts,
            row.hours,
            row.gpu_hours,
            row.tokens,
            0,
            row.cost_usd,
          ]),
          ...summary.requests.map((row) => [
            "requests",
            row.group,
            names[row.group] ?? "",
            row.requests,
            0,
            0,
            row.prompt_tokens,
            row.completion_tokens,
            0,
          ]),
        ];
        return new Response(`${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`, {
          headers: {
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": `attachment; filename="usage-${summary.month}.csv"`,
          },
        });
      },
      { query: UsageQuery },
    );
