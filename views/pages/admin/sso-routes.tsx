/** Page routes of single sign-on: list, add, change, test and remove identity providers. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { listOrganizations } from "../../../src/accounts/organizations/service.ts";
import { ChangeProvider, CreateProvider, type ProviderView, providerView } from "../../../src/accounts/sso/model.ts";
import { testOidc } from "../../../src/accounts/sso/oidc.ts";
import {
  changeProvider,
  createProvider,
  getProvider,
  listProviders,
  removeProvider,
} from "../../../src/accounts/sso/providers.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { type GroupForm, type SsoForm, SsoListPage, SsoPage, type SsoProps } from "./sso.tsx";

const MAX_TEAMS = 500;
/** Empty rows below the groups that there are. */
const SPARE_ROWS = 2;
const MAX_GROUPS = 200;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Form = v.record(v.string(), v.pipe(v.string(), v.maxLength(60_000)));
type Form = v.InferOutput<typeof Form>;
const SPARE: GroupForm = { group: "", organization: "", role: "member" };
const LABELS: Record<string, string> = {
  name: "The name",
  issuer: "The issuer",
  client_id: "The client ID",
  client_secret: "The client secret",
  scopes: "The scopes",
  groups_claim: "The claim with the groups",
  domains: "The list of domains",
  groups: "The list of groups",
};

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

const EMPTY: SsoForm = {
  name: "",
  issuer: "",
  client_id: "",
  scopes: "openid email profile",
  groups_claim: "groups",
  domains: "",
  default_organization: "",
  enabled: true,
  enforced: false,
  second_factor: false,
  trust_email: false,
  groups: [],
};

const formOf = (row: ProviderView): SsoForm => ({
  ...row,
  domains: row.domains.join("\n"),
  default_organization: row.default_organization ?? "",
  groups: row.groups.map(({ group, organization, organization_role, role }) => ({
    group,
    organization,
    role: role === "admin" ? "installation" : organization_role,
  })),
});

/** What was typed, with the rows of groups that have a name. */
function typed(form: Form): SsoForm {
  const field = (name: string) => form[name] ?? "";
  const groups: GroupForm[] = [];
  for (let index = 0; index < MAX_GROUPS && form[`group_${index}`] !== undefined; index++) {
    const group = field(`group_${index}`).trim();
    const [organization, role] = [field(`organization_${index}`), field(`role_${index}`)];
    if (group) groups.push({ group, organization, role });
  }
  return {
    name: field("name"),
    issuer: field("issuer"),
    client_id: field("client_id"),
    scopes: field("scopes"),
    groups_claim: field("groups_claim"),
    domains: field("domains"),
    default_organization: field("default_organization"),
    enabled: field("enabled") === "yes",
    enforced: field("enforced") === "yes",
    second_factor: field("second_factor") === "yes",
    trust_email: field("trust_email") === "yes",
    groups,
  };
}

/** @throws AppError `invalid_value` with a sentence about the field */
function read<S extends v.GenericSchema>(schema: S, form: Form): v.InferOutput<S> {
  const { domains, default_organization: org, groups, ...rest } = typed(form);
  const given = {
    ...rest,
    groups: groups.map(({ role, ...group }) => ({
      ...group,
      ...(role === "installation" ? { role: "admin", organization_role: "owner" } : { organization_role: role }),
    })),
    domains: domains.split(/[\s,]+/).filter(Boolean),
    default_organization: org || null,
    client_secret: form.client_secret || null,
  };
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const name = (v.getDotPath(issue) ?? "").split(".")[0] ?? "";
  const label = name === "domains" && given.domains.length > 0 ? "Each domain" : (LABELS[name] ?? name);
  throw new AppError("unprocessable", "invalid_value", `${label} ${issue.message}.`, { param: name });
}

async function show(ctx: Ctx, { request, actor }: Visit, provider: ProviderView | null, more: Partial<SsoProps> = {}) {
  const page = pageOf(ctx, request, actor);
  const base = (ctx.config.public_url ?? page.info.url.origin).replace(/\/$/, "");
  const form = more.form ?? (provider ? formOf(provider) : EMPTY);
  const props: SsoProps = {
    provider,
    teams: await listOrganizations(ctx, actor, { limit: MAX_TEAMS }),
    callback: provider && base + provider.callback_path,
    ...more,
    form: { ...form, groups: [...form.groups, ...Array<GroupForm>(SPARE_ROWS).fill(SPARE)] },
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
    const { id, name } = await createProvider(ctx, visit.actor, read(CreateProvider, form));
    return redirect(
      visit.request,
      `/admin/sso/${id}`,
      `${name} is saved. Register the redirect address there, then test it.`,
    );
  } catch (error) {
    return again(ctx, visit, null, form, error);
  }
}

async function change(ctx: Ctx, visit: OnOne, form: Form) {
  const { id } = visit.params;
  const before = providerView(await getProvider(ctx, visit.actor, id));
  try {
    await changeProvider(ctx, visit.actor, id, read(ChangeProvider, form));
    return redirect(visit.request, `/admin/sso/${id}`, "Saved.");
  } catch (error) {
    return again(ctx, visit, before, form, error);
  }
}

async function test(ctx: Ctx, visit: OnOne) {
  const provider = await getProvider(ctx, visit.actor, visit.params.id);
  return show(ctx, visit, providerView(provider), { tested: await testOidc(ctx, provider) });
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
    .get("/new", (visit) => show(ctx, visit, null))
    .get("/:id", (visit) => showOne(ctx, visit), { params: Id })
    .post("/:id", (visit) => change(ctx, visit, visit.body), { params: Id, body: Form })
    .post("/:id/test", (visit) => test(ctx, visit), { params: Id })
    .post("/:id/remove", (visit) => remove(ctx, visit), { params: Id });
