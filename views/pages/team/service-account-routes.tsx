/** Page routes of one service account of the viewer's team: its keys, name, role and removal. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { keyView } from "../../../src/accounts/api-keys/model.ts";
import { Name } from "../../../src/accounts/auth/model.ts";
import { ownOrganization } from "../../../src/accounts/organizations/service.ts";
import { SERVICE_ROLES } from "../../../src/accounts/service-accounts/model.ts";
import {
  changeServiceAccount,
  createServiceAccount,
  createServiceKey,
  getServiceAccount,
  listServiceKeys,
  removeServiceAccount,
} from "../../../src/accounts/service-accounts/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { checkModelNames } from "../../../src/models/tuned/allowed.ts";
import { KeyForm, readKeyForm, typedKey } from "../settings/key-form.ts";
import { ServiceAccountPage, type ServiceAccountProps } from "./service-accounts.tsx";

const MAX_KEYS = 100;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
/** The name and role of a service account, as typed. */
export const AccountForm = v.object({
  name: v.optional(v.pipe(v.string(), v.maxLength(300)), ""),
  role: v.picklist(SERVICE_ROLES),
});
type AccountForm = v.InferOutput<typeof AccountForm>;

interface Visit {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

const pathOf = (id: string) => `/team/service-accounts/${encodeURIComponent(id)}`;

/** @throws AppError `invalid_value` */
function nameOf(typed: string): string {
  const name = v.safeParse(Name, typed);
  if (name.success) return name.output;
  throw new AppError("invalid", "invalid_value", `The name ${name.issues[0].message}.`, { param: "name" });
}

async function show(
  ctx: Ctx,
  { request, actor, params }: Visit,
  more: Partial<ServiceAccountProps> = {},
  status = 200,
) {
  const page = pageOf(ctx, request, actor);
  const keys = await listServiceKeys(ctx, actor, params.id, { limit: MAX_KEYS });
  const props: ServiceAccountProps = {
    account: await getServiceAccount(ctx, actor, params.id),
    team: await ownOrganization(ctx, actor),
    keys: keys.map((row) => keyView(row, ctx.clock.now())),
    keyMaxDays: ctx.config.key_max_days,
    baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
    ...more,
  };
  return html(page, <ServiceAccountPage {...props} />, { status });
}

/** Runs a change, and shows the page again with the reason when it was refused. */
async function attempt(ctx: Ctx, visit: Visit, change: () => Promise<Response>, typed?: ServiceAccountProps["typed"]) {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return show(ctx, visit, { error: error.message, typed }, ERROR_TABLE[error.kind].status);
  }
}

const addKey = (ctx: Ctx, visit: Visit, body: v.InferOutput<typeof KeyForm>) =>
  attempt(
    ctx,
    visit,
    async () => {
      const asked = readKeyForm(body, ctx.clock.now());
      await checkModelNames(ctx, visit.actor, asked.restrictions.allowedModels);
      const { key } = await createServiceKey(ctx, visit.actor, visit.params.id, asked);
      // Shown in this answer and not after a redirect: the secret must not travel in a cookie or an address.
      return show(ctx, visit, { created: { name: asked.name, key } });
    },
    typedKey(body),
  );

const change = (ctx: Ctx, visit: Visit, { name, role }: AccountForm) =>
  attempt(ctx, visit, async () => {
    await changeServiceAccount(ctx, visit.actor, visit.params.id, { name: nameOf(name), role });
    return redirect(visit.request, pathOf(visit.params.id), "Saved.");
  });

const remove = (ctx: Ctx, visit: Visit) =>
  attempt(ctx, visit, async () => {
    await removeServiceAccount(ctx, visit.actor, visit.params.id);
    return redirect(visit.request, "/team", "The service account is removed. What it owned is yours now.");
  });

/**
 * Creates a service account and opens its page, where it gets its first key.
 * @throws AppError for the page of the team, which shows it
 */
export async function createFromForm(ctx: Ctx, request: Request, actor: Actor, form: AccountForm): Promise<Response> {
  const { id } = await createServiceAccount(ctx, actor, { name: nameOf(form.name), role: form.role });
  return redirect(request, pathOf(id), "The service account is created. Create its first key.");
}

export const serviceAccountPages = (ctx: Ctx) =>
  new Elysia({
    name: "team.service-accounts.pages",
    prefix: "/service-accounts/:id",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit), { params: Id })
    .post("", (visit) => change(ctx, visit, visit.body), { params: Id, body: AccountForm })
    .post("/keys", (visit) => addKey(ctx, visit, visit.body), { params: Id, body: KeyForm })
    .post("/remove", (visit) => remove(ctx, visit), { params: Id });
