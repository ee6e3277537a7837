/** Page routes of providers: the page, and the forms of limits and of the stop switch. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { StopProvider } from "../../../src/compute/limits/model.ts";
import { readProviders } from "../../../src/compute/limits/overview.ts";
import { changeLimits, resumeProvider, stopProvider } from "../../../src/compute/limits/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { LimitsBody, type LimitsForm, readLimits } from "./form.ts";
import { ProvidersPage, type Refused } from "./page.tsx";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(200)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, refused: Refused | null = null) {
  const page = <ProvidersPage providers={await readProviders(ctx, actor)} refused={refused} />;
  return html(pageOf(ctx, request, actor), page, refused ? { status: 422 } : {});
}

async function limit(ctx: Ctx, visit: Visit, id: string, form: LimitsForm) {
  const read = readLimits(form);
  if ("problems" in read) return show(ctx, visit, { id, form, problems: read.problems });
  await changeLimits(ctx, visit.actor, id, read.change);
  return redirect(visit.request, "/providers", "The limits are saved.");
}

async function stop(ctx: Ctx, { request, actor }: Visit, id: string, form: StopProvider) {
  await stopProvider(ctx, actor, id, form);
  return redirect(request, "/providers", "Everything there stops. Nothing starts until you let it.");
}

async function resume(ctx: Ctx, { request, actor }: Visit, id: string) {
  await resumeProvider(ctx, actor, id);
  return redirect(request, "/providers", "Work may start there again.");
}

export const providerPages = (ctx: Ctx) =>
  new Elysia({ name: "provider.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/providers", (visit) => show(ctx, visit))
    .post("/admin/providers/:id/limits", (visit) => limit(ctx, visit, visit.params.id, visit.body), {
      params: Id,
      body: LimitsBody,
    })
    .post("/admin/providers/:id/stop", (visit) => stop(ctx, visit, visit.params.id, visit.body), {
      params: Id,
      body: StopProvider,
    })
    .post("/admin/providers/:id/resume", (visit) => resume(ctx, visit, visit.params.id), { params: Id });
