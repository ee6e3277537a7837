/** Page routes of moderation for administrators: settings and rules. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { moderationSettings } from "../../../src/accounts/restrictions/requests.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { countWaiting } from "../../../src/moderation/cases.ts";
import { CreateRule, type RuleView, ruleView } from "../../../src/moderation/model.ts";
import {
  changeSettings,
  createRule,
  deleteRule,
  getRule,
  listRules,
  updateRule,
} from "../../../src/moderation/rules.ts";
import { ModerationPage, type RuleForm, RulePage } from "./moderation.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const SettingsForm = v.object({ enabled: text(10), second_reviewer: text(10) });
const Form = v.object({
  name: text(300),
  category: text(50),
  keywords: text(400_000),
  pattern: text(3000),
  pii: v.optional(v.union([v.string(), v.array(v.string())])),
  guard_model: text(500),
  grader: text(400_000),
  threshold: text(20),
  datasets: text(10),
  models: text(10),
  hold: text(10),
  enabled: text(10),
});
type Form = v.InferOutput<typeof Form>;

interface Visit {
  request: Request;
  actor: Actor;
}

async function list(ctx: Ctx, { request, actor }: Visit) {
  const rules = (await listRules(ctx, actor)).map(ruleView);
  const props = { rules, settings: await moderationSettings(ctx), waiting: await countWaiting(ctx) };
  return html(pageOf(ctx, request, actor), <ModerationPage {...props} />);
}

async function saveSettings(ctx: Ctx, { request, actor }: Visit, form: v.InferOutput<typeof SettingsForm>) {
  const enabled = form.enabled === "yes";
  await changeSettings(ctx, actor, { enabled, second_reviewer: form.second_reviewer === "yes" });
  return redirect(request, "/admin/moderation", enabled ? "Saved. Moderation is on." : "Saved. Moderation is off.");
}

const EMPTY: RuleForm = {
  name: "",
  category: "other",
  kind: "keywords",
  keywords: "",
  pattern: "",
  pii: [],
  guard_model: "",
  grader: "",
  threshold: "0.5",
  datasets: true,
  models: true,
  hold: false,
  enabled: true,
};

const formOf = (rule: RuleView): RuleForm => ({
  ...EMPTY,
  name: rule.name,
  category: rule.category,
  kind: rule.kind,
  keywords: rule.keywords?.join("\n") ?? "",
  pattern: rule.pattern ?? "",
  pii: rule.pii ?? [],
  guard_model: rule.guard_model ?? "",
  grader: rule.grader ? JSON.stringify(rule.grader, null, 2) : "",
  threshold: String(rule.threshold),
  datasets: rule.on_datasets,
  models: rule.on_models,
  hold: rule.action === "hold",
  enabled: rule.enabled,
});

const typed = (body: Form): RuleForm => ({
  ...EMPTY,
  name: body.name,
  category: body.category,
  keywords: body.keywords,
  pattern: body.pattern,
  pii: [body.pii ?? []].flat(),
  guard_model: body.guard_model,
  grader: body.grader,
  threshold: body.threshold,
  datasets: body.datasets === "yes",
  models: body.models === "yes",
  hold: body.hold === "yes",
  enabled: body.enabled === "yes",
});

function graderOf(form: RuleForm): unknown {
  if (!form.grader.trim()) return undefined;
  try {
    return JSON.parse(form.grader);
  } catch {
    throw new AppError("unprocessable", "invalid_value", "The grader is not valid JSON.", { param: "grader" });
  }
}

/** The request of a form. @throws AppError `invalid_value` */
function requestOf(form: RuleForm): CreateRule {
  const words = form.keywords.split(/\r?\n/).filter((line) => line.trim());
  return parseForm(CreateRule, {
    name: form.name,
    category: form.category,
    threshold: form.threshold.trim() ? Number(form.threshold) : 0.5,
    on_datasets: form.datasets,
    on_models: form.models,
    action: form.hold ? "hold" : "flag",
    enabled: form.enabled,
    ...(words.length ? { keywords: words } : {}),
    ...(form.pattern ? { pattern: form.pattern } : {}),
    ...(form.pii.length ? { pii: form.pii } : {}),
    ...(form.guard_model.trim() ? { guard_model: form.guard_model.trim() } : {}),
    ...(form.grader.trim() ? { grader: graderOf(form) } : {}),
  });
}

async function showRule(
  ctx: Ctx,
  { request, actor }: Visit,
  id: string | null,
  given?: { form: RuleForm; error: AppError },
) {
  const rule = id ? ruleView(await getRule(ctx, actor, id)) : null;
  const form = given?.form ?? (rule ? formOf(rule) : EMPTY);
  const status = given ? ERROR_TABLE[given.error.kind].status : 200;
  const page = <RulePage rule={rule} form={form} error={given?.error.message} />;
  return html(pageOf(ctx, request, actor), page, { status });
}

async function saveRule(ctx: Ctx, visit: Visit, id: string | null, body: Form) {
  const form = typed(body);
  try {
    const request = requestOf(form);
    const row = id ? await updateRule(ctx, visit.actor, id, request) : await createRule(ctx, visit.actor, request);
    return redirect(visit.request, "/admin/moderation", `${row.name} is saved as version ${row.version}.`);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return showRule(ctx, visit, id, { form, error });
  }
}

async function remove(ctx: Ctx, { request, actor }: Visit, id: string) {
  await deleteRule(ctx, actor, id);
  return redirect(request, "/admin/moderation", "The rule is deleted.");
}

export const adminModerationPages = (ctx: Ctx) =>
  new Elysia({
    name: "admin.moderation.pages",
    prefix: "/admin/moderation",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit))
    .post("", (visit) => saveSettings(ctx, visit, visit.body), { body: SettingsForm })
    .get("/new", (visit) => showRule(ctx, visit, null))
    .post("/new", (visit) => saveRule(ctx, visit, null, visit.body), { body: Form })
    .get("/:id", (visit) => showRule(ctx, visit, visit.params.id), { params: Id })
    .post("/:id", (visit) => saveRule(ctx, visit, visit.params.id, visit.body), { params: Id, body: Form })
    .post("/:id/delete", (visit) => remove(ctx, visit, visit.params.id), { params: Id });
