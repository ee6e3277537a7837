/** Page routes of beta features for administrators. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { listSwitches, switchBeta } from "../../../src/accounts/beta/service.ts";
import { listOrganizations } from "../../../src/accounts/organizations/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { BetaPage } from "./beta.tsx";

const id = v.pipe(v.string(), v.maxLength(100));
/** An empty organization is the installation; an empty switch removes it. */
const Form = v.object({ organization: v.optional(id, ""), enabled: v.picklist(["on", "off", ""]) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  const organizations = (await listOrganizations(ctx, actor, { limit: 1000 })).map(({ id, name }) => ({ id, name }));
  const features = await listSwitches(ctx, actor);
  return html(pageOf(ctx, request, actor), <BetaPage features={features} organizations={organizations} />);
}

async function change(ctx: Ctx, { request, actor }: Visit, feature: string, body: v.InferOutput<typeof Form>) {
  const enabled = body.enabled === "" ? null : body.enabled === "on";
  await switchBeta(ctx, actor, feature, { enabled, organization: body.organization || null });
  return redirect(request, "/admin/beta", "Saved.");
}

export const betaPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.beta.pages", prefix: "/admin/beta", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("/:id", (visit) => change(ctx, visit, visit.params.id, visit.body), {
      params: v.object({ id }),
      body: Form,
    });
