/**
 * JSON API of moderation: settings and rules for administrators, cases for reviewers, and for everybody the decisions
 * about their own objects, appeals and reports.
 */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { moderationSettings } from "../accounts/restrictions/requests.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { appeal } from "../moderation/appeals.ts";
import { entriesOf, getCase, listCases, listOwnCases, ownCase } from "../moderation/cases.ts";
import { decideCase } from "../moderation/decide.ts";
import {
  AppealCase,
  CaseQuery,
  CaseView,
  ChangeSettings,
  CreateReport,
  CreateRule,
  caseView,
  DecideCase,
  DecisionView,
  decisionView,
  ReportView,
  RuleView,
  ruleView,
  SettingsView,
  UpdateRule,
} from "../moderation/model.ts";
import { report } from "../moderation/reports.ts";
import { changeSettings, createRule, deleteRule, getRule, listRules, updateRule } from "../moderation/rules.ts";

const tags = ["Moderation"];
const MAX_RULES = 500;

const settingsView = (settings: Awaited<ReturnType<typeof moderationSettings>>) => ({
  object: "moderation_settings" as const,
  ...settings,
});

async function listCasesRoute(ctx: Ctx, actor: Actor, query: CaseQuery) {
  return pageOf((await listCases(ctx, actor, query)).map(caseView), query.limit);
}

async function decideRoute(ctx: Ctx, actor: Actor, id: string, body: DecideCase) {
  await decideCase(ctx, actor, id, body);
  return caseView(await getCase(ctx, actor, id));
}

async function listDecisionsRoute(ctx: Ctx, actor: Actor, query: PageQuery) {
  const rows = await listOwnCases(ctx, actor, query);
  const views = await Promise.all(rows.map(async (row) => decisionView(row, await entriesOf(ctx.db, row.id))));
  return pageOf(views, query.limit);
}

async function decisionRoute(ctx: Ctx, actor: Actor, id: string) {
  const { row, entries } = await ownCase(ctx, actor, id);
  return decisionView(row, entries);
}

async function appealRoute(ctx: Ctx, actor: Actor, id: string, body: AppealCase) {
  await appeal(ctx, actor, id, body);
  return decisionRoute(ctx, actor, id);
}

async function removeRule(ctx: Ctx, actor: Actor, id: string) {
  await deleteRule(ctx, actor, id);
  return { object: "moderation_rule" as const, id, deleted: true as const };
}

async function reportRoute(ctx: Ctx, actor: Actor, body: v.InferOutput<typeof CreateReport>) {
  return { object: "moderation_report" as const, id: await report(ctx, actor, body), received: true as const };
}

export const moderationRulesApi = (ctx: Ctx) =>
  new Elysia({ name: "moderation.rules.api", prefix: "/v1/moderation", seed: ctx.installation })
    .use(session(ctx))
    .get("/settings", async () => settingsView(await moderationSettings(ctx)), {
      detail: { tags, summary: "Whether moderation is on, and how it decides", responses: answers(SettingsView) },
    })
    .post("/settings", async ({ actor, body }) => settingsView(await changeSettings(ctx, actor, body)), {
      body: ChangeSettings,
      detail: { tags, summary: "Switch moderation on or off", responses: answers(SettingsView) },
    })
    .get("/rules", async ({ actor }) => pageOf((await listRules(ctx, actor)).map(ruleView), MAX_RULES), {
      detail: { tags, summary: "List the moderation rules", responses: answers(listOf(RuleView)) },
    })
    .post("/rules", async ({ actor, body }) => ruleView(await createRule(ctx, actor, body)), {
      body: CreateRule,
      detail: {
        tags,
        summary: "Create a moderation rule: words, a pattern, a guard model or a grader",
        responses: answers(RuleView),
      },
    })
    .get("/rules/:id", async ({ actor, params }) => ruleView(await getRule(ctx, actor, params.id)), {
      detail: { tags, summary: "Retrieve a moderation rule", responses: answers(RuleView) },
    })
    .post("/rules/:id", async ({ actor, params, body }) => ruleView(await updateRule(ctx, actor, params.id, body)), {
      body: UpdateRule,
      detail: { tags, summary: "Change a moderation rule", responses: answers(RuleView) },
    })
    .delete("/rules/:id", ({ actor, params }) => removeRule(ctx, actor, params.id), {
      detail: { tags, summary: "Delete a moderation rule", responses: answers(deletedOf("moderation_rule")) },
    });

export const moderationApi = (ctx: Ctx) =>
  new Elysia({ name: "moderation.api", prefix: "/v1/moderation", seed: ctx.installation })
    .use(session(ctx))
    .get("/cases", ({ actor, query }) => listCasesRoute(ctx, actor, query), {
      query: CaseQuery,
      detail: {
        tags,
        summary: "List the cases of all organizations, newest first; reviewers only",
        responses: answers(listOf(CaseView)),
      },
    })
    .get("/cases/:id", async ({ actor, params }) => caseView(await getCase(ctx, actor, params.id)), {
      detail: { tags, summary: "Retrieve a case with what matched and its history", responses: answers(CaseView) },
    })
    .post("/cases/:id/decide", ({ actor, params, body }) => decideRoute(ctx, actor, params.id, body), {
      body: DecideCase,
      detail: {
        tags,
        summary: "Decide a case, or confirm the proposal of another reviewer",
        responses: answers(CaseView),
      },
    })
    .get("/decisions", ({ actor, query }) => listDecisionsRoute(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags,
        summary: "List what was held or decided about objects of your organization, newest first",
        responses: answers(listOf(DecisionView)),
      },
    })
    .get("/decisions/:id", ({ actor, params }) => decisionRoute(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Retrieve a decision about an object of your organization",
        responses: answers(DecisionView),
      },
    })
    .post("/decisions/:id/appeal", ({ actor, params, body }) => appealRoute(ctx, actor, params.id, body), {
      body: AppealCase,
      detail: { tags, summary: "Appeal against a decision", responses: answers(DecisionView) },
    })
    .post("/reports", ({ actor, body }) => reportRoute(ctx, actor, body), {
      body: CreateReport,
      detail: { tags, summary: "Report a model or an endpoint to the reviewers", responses: answers(ReportView) },
    });
