/** Page routes of the settings of one provider: show and save. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { accountStateOf } from "../../../src/compute/limits/accounts.ts";
import { changeProviderSettings, readProviderSettings } from "../../../src/compute/limits/settings.ts";
import type { SettingProblem } from "../../../src/compute/limits/settings-model.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { readSettingsForm, SettingsBody } from "./provider-form.ts";
import { ProviderSettingsPage, type ProviderSettingsProps } from "./provider-settings.tsx";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(200)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, id: string, more: Partial<ProviderSettingsProps> = {}) {
  const of = await readProviderSettings(ctx, actor, id);
  const page = <ProviderSettingsPage of={of} account={accountStateOf(ctx, id)} {...more} />;
  return html(pageOf(ctx, request, actor), page, more.problems ? { status: 422 } : {});
}

/** What a conflict says, at the field that it is about. */
function problemOf(error: unknown): SettingProblem {
  if (!(error instanceof AppError) || error.kind !== "conflict") throw error;
  return { field: error.param?.replace(/^settings\./, "") ?? "settings", message: error.message, remedy: "" };
}

async function save(ctx: Ctx, visit: Visit, id: string, body: SettingsBody) {
  const form = await readProviderSettings(ctx, visit.actor, id);
  const change = readSettingsForm(form, body);
  const answer = await changeProviderSettings(ctx, visit.actor, id, change).catch((error: unknown) => ({
    problems: [problemOf(error)],
  }));
  if ("problems" in answer) return show(ctx, visit, id, { typed: body, problems: answer.problems });
  const { title, enabled } = answer.form;
  const said = enabled ? "The settings are saved and in use. Test the connection." : `Saved. No job runs at ${title}.`;
  return redirect(visit.request, enabled ? "/admin/providers" : `/admin/providers/${encodeURIComponent(id)}`, said);
}

export const providerSettingsPages = (ctx: Ctx) =>
  new Elysia({
    name: "provider-settings.pages",
    prefix: "/admin/providers",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("/:id", (visit) => show(ctx, visit, visit.params.id), { params: Id })
    .post("/:id/settings", (visit) => save(ctx, visit, visit.params.id, visit.body), {
      params: Id,
      body: SettingsBody,
    });
