/** The settings page: own account, password, API keys and browser sessions. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { keyView } from "../../../src/accounts/api-keys/model.ts";
import { createKey, listKeys, revokeOwnKeys } from "../../../src/accounts/api-keys/service.ts";
import { setPassword } from "../../../src/accounts/auth/service.ts";
import { endOtherSessions, endSession, listSessions } from "../../../src/accounts/auth/session-list.ts";
import { sessionToken } from "../../../src/accounts/auth/sessions.ts";
import { hasPassword, provePassword } from "../../../src/accounts/auth/sign-in.ts";
import { twoFactorState } from "../../../src/accounts/factors/two-factor.ts";
import { ownOrganization } from "../../../src/accounts/organizations/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { checkModelNames } from "../../../src/models/tuned/allowed.ts";
import { INSTALLATION_ROLE_NAMES, ROLE_HINTS, ROLE_NAMES } from "../../../src/roles.ts";
import { KeyForm, readKeyForm, typedKey } from "./key-form.ts";
import { keyPages } from "./key-routes.tsx";
import { SettingsPage, type SettingsProps } from "./page.tsx";

const MAX_KEYS = 100;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const PasswordForm = v.object({ current: text(1000), password: text(1000), keys: text(3) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

async function show(ctx: Ctx, request: Request, actor: Actor, more: Partial<SettingsProps> = {}, status = 200) {
  const page = pageOf(ctx, request, actor);
  const props: SettingsProps = {
    email: actor.email ?? actor.userId,
    role: actor.role === "member" ? ROLE_NAMES[actor.teamRole] : INSTALLATION_ROLE_NAMES[actor.role],
    roleHint: actor.role !== "member" ? "" : ROLE_HINTS[actor.teamRole],
    org: { id: actor.org, name: await ownOrganization(ctx, actor) },
    twoFactor: (await twoFactorState(ctx, actor)).enabled,
    hasPassword: await hasPassword(ctx, actor.userId),
    passwordMin: ctx.config.password_min_length,
    keyMaxDays: ctx.config.key_max_days,
    keys: (await listKeys(ctx, actor, { limit: MAX_KEYS })).map((row) => keyView(row, ctx.clock.now())),
    sessions: await listSessions(ctx, actor, sessionToken(ctx, request)),
    baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
    ...more,
  };
  return html(page, <SettingsPage {...props} />, { status });
}

/** Shows the page again with the reason of a refusal; internal errors continue to the error page. */
function showAgain(
  ctx: Ctx,
  request: Request,
  actor: Actor,
  form: "key" | "password",
  error: unknown,
  typed?: SettingsProps["typed"],
) {
  if (!(error instanceof AppError) || error.kind === "internal") throw error;
  const { status } = ERROR_TABLE[error.kind];
  return show(ctx, request, actor, { error: { form, message: error.message }, typed }, status);
}

async function addKey(ctx: Ctx, request: Request, actor: Actor, body: v.InferOutput<typeof KeyForm>) {
  try {
    const asked = readKeyForm(body, ctx.clock.now());
    await checkModelNames(ctx, actor, asked.restrictions.allowedModels);
    const { key } = await createKey(ctx, actor, asked);
    // Shown in this answer and not after a redirect: the secret must not travel in a cookie or an address.
    return await show(ctx, request, actor, { created: { name: asked.name, key } });
  } catch (error) {
    return showAgain(ctx, request, actor, "key", error, typedKey(body));
  }
}

async function signOutSession(ctx: Ctx, request: Request, actor: Actor, id: string) {
  await endSession(ctx, actor, id);
  return redirect(request, "/settings", "The session is ended.");
}

async function signOutOthers(ctx: Ctx, request: Request, actor: Actor) {
  const ended = await endOtherSessions(ctx, actor, sessionToken(ctx, request));
  return redirect(request, "/settings", `${plural(ended, "session")} ended.`);
}

/** Changes the password; this browser stays signed in. */
async function changePassword(ctx: Ctx, request: Request, actor: Actor, body: v.InferOutput<typeof PasswordForm>) {
  try {
    await provePassword(ctx, actor, body.current, clientOf(request));
    await setPassword(ctx, actor, actor.userId, body.password, sessionToken(ctx, request));
    if (body.keys) await revokeOwnKeys(ctx, actor);
    return redirect(
      request,
      "/settings",
      `The password is changed. Other sessions have ended${body.keys ? ", and your API keys are revoked" : ""}.`,
    );
  } catch (error) {
    return showAgain(ctx, request, actor, "password", error);
  }
}

export const settingsPages = (ctx: Ctx) =>
  new Elysia({ name: "auth.settings.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .use(keyPages(ctx))
    .get("/settings", ({ request, actor }) => show(ctx, request, actor))
    .post("/settings/keys", ({ request, actor, body }) => addKey(ctx, request, actor, body), { body: KeyForm })
    .post("/settings/sessions", ({ request, actor }) => signOutOthers(ctx, request, actor))
    .post("/settings/sessions/:id", ({ request, actor, params }) => signOutSession(ctx, request, actor, params.id), {
      params: Id,
    })
    .post("/settings/password", ({ request, actor, body }) => changePassword(ctx, request, actor, body), {
      body: PasswordForm,
    });
