/** Page routes of single sign-on: list, add, change, test and remove identity providers. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { listOrganizations } from "../../../src/accounts/organizations/service.ts";
import { createToken, getConnection, removeConnection } from "../../../src/accounts/scim/connection.ts";
import { ChangeProvider, CreateProvider, type ProviderView, providerView } from "../../../src/accounts/sso/model.ts";
import {
  changeProvider,
  createProvider,
  getProvider,
  listProviders,
  removeProvider,
} from "../../../src/accounts/sso/providers.ts";
import { testProvider } from "../../../src/accounts/sso/sign-in.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { SsoListPage, SsoPage, type SsoProps } from "./sso.tsx";
import { emptyForm, Form, formOf, read, typed, withSpareRows } from "./sso-form.ts";

const MAX_TEAMS = 500;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const New = v.object({ type: v.optional(v.pipe(v.string(), v.maxLength(10)), "") });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

async function show(ctx: Ctx, { request, actor }: Visit, provider: ProviderView | null, more: Partial<SsoProps> = {}) {
  const page = pageOf(ctx, request, actor);
  const type = page.info.url.searchParams.get("type") === "saml" ? "saml" : "oidc";
  const props: SsoProps = {
    provider,
    teams: await listOrganizations(ctx, actor, { limit: MAX_TEAMS }),
    scim: provider && { connection: await getConnection(ctx, actor, provider.id) },
    base: (ctx.config.public_url ?? page.info.url.origin).replace(/\/$/, ""),
    ...more,
    form: withSpareRows(more.form ?? (provider ? formOf(provider) : emptyForm(type))),
  };
  return html(page, <SsoPage {...props} />, { status: props.error ? 422 : 200 });
}

/** The form again with the reason of a refusal; internal errors continue to the error page. */
async function again(ctx: Ctx, visit: Visit, provider: ProviderView | null, form: Form, error: unknown) {
  if (!(error instanceof AppError) || ERROR_TABLE[error.kind].status >= 500) throw error;
  return show(ctx, visit, provider, { form: typed(form), error: error.message });
}

async function list(ctx: Ctx, { request, actor }: Visit) {
  const providers = (await listProviders(ctx, actor)).map(providerView);
  return html(pageOf(ctx, request, actor), <SsoListPage providers={providers} />);
}

async function showOne(ctx: Ctx, visit: OnOne) {
  return show(ctx, visit, providerView(await getProvider(ctx, visit.actor, visit.params.id)));
}

async function add(ctx: Ctx, visit: Visit, form: Form) {
  try {
    const { id, name } = await createProvider(ctx, visit.actor, read(CreateProvider, form, true));
    return redirect(
      visit.request,
      `/admin/sso/${id}`,
      `${name} is saved. Register the address below at the provider, then test it.`,
    );
  } catch (error) {
    return again(ctx, visit, null, form, error);
  }
}

async function change(ctx: Ctx, visit: OnOne, form: Form) {
  const { id } = visit.params;
  const before = providerView(await getProvider(ctx, visit.actor, id));
  try {
    await changeProvider(ctx, visit.actor, id, read(ChangeProvider, form, false));
    return redirect(visit.request, `/admin/sso/${id}`, "Saved.");
  } catch (error) {
    return again(ctx, visit, before, form, error);
  }
}

async function test(ctx: Ctx, visit: OnOne) {
  const provider = await getProvider(ctx, visit.actor, visit.params.id);
  return show(ctx, visit, providerView(provider), { tested: await testProvider(ctx, provider) });
}

async function newToken(ctx: Ctx, visit: OnOne) {
  const provider = providerView(await getProvider(ctx, visit.actor, visit.params.id));
  const { token, row } = await createToken(ctx, visit.actor, provider.id);
  return show(ctx, visit, provider, { scim: { connection: row, token } });
}

async function endProvisioning(ctx: Ctx, { request, actor, params }: OnOne) {
  await removeConnection(ctx, actor, params.id);
  return redirect(request, `/admin/sso/${params.id}`, "Provisioning is ended.");
}

async function remove(ctx: Ctx, { request, actor, params }: OnOne) {
  await removeProvider(ctx, actor, params.id);
  return redirect(request, "/admin/sso", "The provider is removed.");
}

export const ssoAdminPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.sso.pages", prefix: "/admin/sso", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit))
    .post("", (visit) => add(ctx, visit, visit.body), { body: Form })
    .get("/new", (visit) => show(ctx, visit, null), { query: New })
    .get("/:id", (visit) => showOne(ctx, visit), { params: Id })
    .post("/:id", (visit) => change(ctx, visit, visit.body), { params: Id, body: Form })
    .post("/:id/scim", (visit) => newToken(ctx, visit), { params: Id })
    .post("/:id/scim/remove", (visit) => endProvisioning(ctx, visit), { params: Id })
    .post("/:id/test", (visit) => test(ctx, visit), { params: Id })
    .post("/:id/remove", (visit) => remove(ctx, visit), { params: Id });
