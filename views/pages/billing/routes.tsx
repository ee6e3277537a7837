/** Page routes of billing for a team. */
import { Elysia } from "elysia";
import { lateTeam } from "../../../src/billing/late/state.ts";
import { billingSettings } from "../../../src/billing/settings/service.ts";
import { creditView, statementSummary } from "../../../src/billing/statements/model.ts";
import { teamMoney } from "../../../src/billing/statements/overview.ts";
import { getStatement, listCredits, listStatements } from "../../../src/billing/statements/service.ts";
import { getAccount } from "../../../src/billing/stripe/account.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { can } from "../../../src/roles.ts";
import { BillingPage } from "./page.tsx";
import { StatementPage } from "./statement.tsx";

const MAX = 100;

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  const account = can(actor, "billing.manage") ? await getAccount(ctx, actor) : null;
  const props = {
    account: account?.mode ? account : null,
    late: await lateTeam(ctx, actor.org),
    settings: await billingSettings(ctx),
    money: await teamMoney(ctx, actor),
    statements: (await listStatements(ctx, actor, { limit: MAX })).map(statementSummary),
    credits: (await listCredits(ctx, actor)).map(creditView),
  };
  return html(pageOf(ctx, request, actor), <BillingPage {...props} />);
}

async function showStatement(ctx: Ctx, { request, actor }: Visit, id: string) {
  const { view, team } = await getStatement(ctx, actor, id);
  const { late } = await billingSettings(ctx);
  const page = <StatementPage statement={view} team={team} legalText={late.legal_text} />;
  return html(pageOf(ctx, request, actor), page);
}

export const statementPages = (ctx: Ctx) =>
  new Elysia({ name: "statements.pages", prefix: "/billing", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .get("/statements/:id", (visit) => showStatement(ctx, visit, visit.params.id));
