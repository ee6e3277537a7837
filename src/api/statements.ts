/** /v1/billing: statements and credits of a team; /v1/admin/billing: those of all teams, closing, credits, refunds. */
import { Elysia } from "elysia";
import { billingSettings } from "../billing/settings/service.ts";
import { giveCredit, giveRefund } from "../billing/statements/credits.ts";
import { statementsCsv } from "../billing/statements/csv.ts";
import {
  AllStatementsQuery,
  ClosedView,
  CreditView,
  creditView,
  GiveCredit,
  GiveRefund,
  MonthQuery,
  StatementSummary,
  StatementView,
  statementSummary,
} from "../billing/statements/model.ts";
import { closeMonths } from "../billing/statements/pass.ts";
import { statementPdf } from "../billing/statements/pdf.ts";
import {
  getStatement,
  listAllStatements,
  listCredits,
  listStatements,
  statementsOfMonth,
} from "../billing/statements/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../ctx.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf, wholeList, wholeListOf } from "../lib/page.ts";

const tags = ["Billing"];

function download(content: string | Uint8Array, type: string, name: string): Response {
  return new Response(content as BodyInit, {
    headers: { "content-type": type, "content-disposition": `attachment; filename="${name}"` },
  });
}

/** `ID`, `ID.csv` or `ID.pdf`. */
async function statementRoute(ctx: Ctx, actor: Actor, name: string) {
  const [id = "", kind] = name.split(".");
  const detail = await getStatement(ctx, actor, kind === "csv" || kind === "pdf" ? id : name);
  const file = `statement-${detail.view.number}.${kind}`;
  if (kind === "csv") return download(statementsCsv([detail]), "text/csv; charset=utf-8", file);
  if (kind !== "pdf") return detail.view;
  const { late } = await billingSettings(ctx);
  return download(await statementPdf(detail, late.legal_text), "application/pdf", file);
}

async function monthCsv(ctx: Ctx, actor: Actor, month: string) {
  const csv = statementsCsv(await statementsOfMonth(ctx, actor, month));
  return download(csv, "text/csv; charset=utf-8", `statements-${month}.csv`);
}

async function closeRoute(ctx: Ctx, actor: Actor) {
  requireAdmin(actor);
  return { object: "billing.closing" as const, statements: await closeMonths(ctx, { again: true }) };
}

export const statementsApi = (ctx: Ctx) =>
  new Elysia({ name: "statements.api", prefix: "/v1/billing", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/statements",
      async ({ actor, query }) => pageOf((await listStatements(ctx, actor, query)).map(statementSummary), query.limit),
      {
        query: PageQuery,
        detail: {
          tags,
          summary: "List the statements of your team, newest first",
          responses: answers(listOf(StatementSummary)),
        },
      },
    )
    .get("/statements/:id", ({ actor, params }) => statementRoute(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Retrieve a statement; with .csv or .pdf after the id as a file",
        responses: answers(StatementView),
      },
    })
    .get("/credits", async ({ actor }) => wholeList((await listCredits(ctx, actor)).map(creditView)), {
      detail: {
        tags,
        summary: "List the credits and refunds of your team, newest first",
        responses: answers(wholeListOf(CreditView)),
      },
    });

export const statementsAdminApi = (ctx: Ctx) =>
  new Elysia({ name: "statements.admin.api", prefix: "/v1/admin/billing", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/statements",
      async ({ actor, query }) =>
        pageOf((await listAllStatements(ctx, actor, query)).map(statementSummary), query.limit),
      {
        query: AllStatementsQuery,
        detail: {
          tags,
          summary: "List the statements of all teams, newest first",
          responses: answers(listOf(StatementSummary)),
        },
      },
    )
    .get("/statements.csv", ({ actor, query }) => monthCsv(ctx, actor, query.month), {
      query: MonthQuery,
      detail: {
        tags,
        summary: "All statements of a month as one CSV, for charge-back",
        responses: answersType("text/csv", "A line for each line of each statement."),
      },
    })
    .post("/close", ({ actor }) => closeRoute(ctx, actor), {
      detail: {
        tags,
        summary: "Close all months that are over now, and try again those that were kept back",
        responses: answers(ClosedView),
      },
    })
    .post("/credits", async ({ actor, body }) => creditView(await giveCredit(ctx, actor, body)), {
      body: GiveCredit,
      detail: { tags, summary: "Give a team a credit", responses: answers(CreditView) },
    })
    .post(
      "/statements/:id/refunds",
      async ({ actor, params, body }) => creditView(await giveRefund(ctx, actor, params.id, body)),
      {
        body: GiveRefund,
        detail: {
          tags,
          summary: "Refund a paid statement, in part or in full",
          responses: answers(CreditView),
        },
      },
    );
