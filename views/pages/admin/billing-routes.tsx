/** Page routes of billing for administrators: overview, settings, closing, credits and refunds. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { readVerification, startVerification } from "../../../src/billing/ledger/verification.ts";
import { monthAt } from "../../../src/billing/meters/months.ts";
import {
  type BillingSettings,
  ChangeBillingSettings,
  ChangeLateSettings,
} from "../../../src/billing/settings/model.ts";
import { billingSettings, changeBillingSettings } from "../../../src/billing/settings/service.ts";
import { giveCredit, giveRefund } from "../../../src/billing/statements/credits.ts";
import { GiveCredit, GiveRefund, statementSummary } from "../../../src/billing/statements/model.ts";
import { allTeams, keptBackStatements, marginsOf, monthsToClose } from "../../../src/billing/statements/overview.ts";
import { closeMonths } from "../../../src/billing/statements/pass.ts";
import { listAllStatements } from "../../../src/billing/statements/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { AdminBillingPage, type AdminBillingProps } from "./billing.tsx";
import { LATE_NUMBERS, NUMBERS, type SettingsForm, SWITCHES } from "./billing-settings.tsx";
import { VerificationPage, VerificationResults } from "./verification.tsx";

const MAX = 100;
const HERE = "/admin/billing";
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const names = [...NUMBERS, ...LATE_NUMBERS, ...SWITCHES].map(([name]) => name);
const Form = v.object({
  mode: text(20),
  first_month: text(10),
  collection: text(20),
  legal_text: text(5000),
  ...v.object(Object.fromEntries(names.map((name) => [name, text(30)]))).entries,
});
const CreditForm = v.object({
  organization: text(100),
  amount_usd: text(20),
  reason: text(30),
  note: text(600),
  expires: text(20),
});
const RefundForm = v.object({
  amount_usd: text(20),
  reason: text(30),
  note: text(600),
  include_used_gpu_time: text(5),
});
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Visit {
  request: Request;
  actor: Actor;
}

function formOf({ late, ...settings }: BillingSettings): SettingsForm {
  const shown = Object.entries({ ...settings, ...late }).map(([name, value]) => [
    name,
    typeof value === "boolean" ? (value ? "yes" : "") : String(value ?? ""),
  ]);
  return Object.fromEntries(shown) as SettingsForm;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<AdminBillingProps> = {}, status = 200) {
  const settings = await billingSettings(ctx);
  const month = monthAt(ctx.clock.now());
  const props: AdminBillingProps = {
    settings,
    form: formOf(settings),
    month,
    teams: await allTeams(ctx, actor),
    months: await monthsToClose(ctx, actor),
    margins: await marginsOf(ctx, actor, month),
    statements: (await listAllStatements(ctx, actor, { limit: MAX })).slice(0, MAX).map(statementSummary),
    failed: await keptBackStatements(ctx, actor),
    ...more,
  };
  return html(pageOf(ctx, request, actor), <AdminBillingPage {...props} />, { status });
}

/** An empty number is refused, not read as 0. */
const number = (typed: string) => (typed.trim() === "" ? Number.NaN : Number(typed));
const numbersOf = (fields: readonly (readonly [string, string, string])[], form: Record<string, string>) =>
  Object.fromEntries(fields.map(([name]) => [name, number(form[name] ?? "")]));

function changeOf(form: Record<string, string>): ChangeBillingSettings {
  return parseForm(ChangeBillingSettings, {
    mode: form.mode,
    first_month: form.first_month?.trim() || null,
    collection: form.collection,
    ...numbersOf(NUMBERS, form),
    ...Object.fromEntries(SWITCHES.map(([name]) => [name, form[name] === "yes"])),
    late: parseForm(ChangeLateSettings, { ...numbersOf(LATE_NUMBERS, form), legal_text: form.legal_text }),
  });
}

async function save(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  const form = body as unknown as SettingsForm;
  try {
    const { mode } = await changeBillingSettings(ctx, visit.actor, changeOf(form));
    return redirect(visit.request, HERE, `Saved. The mode is ${mode}.`);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { form, error: error.message }, ERROR_TABLE[error.kind].status);
  }
}

async function close(ctx: Ctx, { request, actor }: Visit) {
  requireAdmin(actor);
  const closed = await closeMonths(ctx, { again: true });
  const message =
    closed === 0 ? "No month is over that has anything to close." : `${plural(closed, "statement")} closed.`;
  return redirect(request, HERE, message);
}

async function credit(ctx: Ctx, { request, actor }: Visit, form: v.InferOutput<typeof CreditForm>) {
  const { expires, amount_usd, ...rest } = form;
  const ends = expires ? Date.parse(`${expires}T00:00:00Z`) / 1000 : null;
  const given = parseForm(
    GiveCredit,
    { ...rest, amount_usd: number(amount_usd), expires_at: ends },
    {
      amount_usd: "The amount",
    },
  );
  await giveCredit(ctx, actor, given);
  return redirect(request, HERE, "The credit is given. The next statement uses it.");
}

async function refund(ctx: Ctx, { request, actor }: Visit, id: string, form: v.InferOutput<typeof RefundForm>) {
  const given = parseForm(
    GiveRefund,
    {
      reason: form.reason,
      note: form.note,
      include_used_gpu_time: form.include_used_gpu_time === "yes",
      ...(form.amount_usd.trim() ? { amount_usd: number(form.amount_usd) } : {}),
    },
    { amount_usd: "The amount" },
  );
  const { state } = await giveRefund(ctx, actor, id, given);
  return redirect(request, HERE, state === "done" ? "Refunded." : "The refund waits for Stripe.");
}

async function showVerification(ctx: Ctx, { request, actor }: Visit) {
  const props = await readVerification(ctx, actor);
  return html(pageOf(ctx, request, actor), <VerificationPage {...props} />, {
    fragments: { verification: () => <VerificationResults {...props} /> },
  });
}

function verify(ctx: Ctx, { request, actor }: Visit) {
  startVerification(ctx, actor);
  return redirect(request, `${HERE}/verify`);
}

export const adminBillingPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.billing.pages", prefix: HERE, seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("", (visit) => save(ctx, visit, visit.body), { body: Form })
    .get("/verify", (visit) => showVerification(ctx, visit))
    .post("/verify", (visit) => verify(ctx, visit))
    .post("/close", (visit) => close(ctx, visit))
    .post("/credits", (visit) => credit(ctx, visit, visit.body), { body: CreditForm })
    .post("/statements/:id/refund", (visit) => refund(ctx, visit, visit.params.id, visit.body), {
      params: Id,
      body: RefundForm,
    });
