/** The settings page: own account, password and API keys. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { keyView, Name } from "../../../src/accounts/auth/model.ts";
import { createKey, listKeys, revokeKey, setPassword } from "../../../src/accounts/auth/service.ts";
import { signIn } from "../../../src/accounts/auth/sessions.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { peerOf } from "../../../src/http/peer.ts";
import { session } from "../../../src/http/session.ts";
import { SettingsPage, type SettingsProps } from "./page.tsx";

const DAY_MS = 86_400_000;
const MAX_KEYS = 100;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const KeyForm = v.object({ name: text(300), days: text(6) });
const PasswordForm = v.object({ current: text(1000), password: text(1000) });

export const settingsPages = (ctx: Ctx) => {
  const show = async (request: Request, actor: Actor, more: Partial<SettingsProps> = {}, status = 200) => {
    const page = pageOf(ctx, request, actor);
    const props: SettingsProps = {
      email: actor.email ?? actor.userId,
      role: actor.role,
      org: actor.org,
      keys: (await listKeys(ctx, actor, { limit: MAX_KEYS })).map(keyView),
      baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
      ...more,
    };
    return html(page, <SettingsPage {...props} />, { status });
  };
  const again = (request: Request, actor: Actor, form: "key" | "password", error: unknown) => {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(request, actor, { error: { form, message: error.message } }, ERROR_TABLE[error.kind].status);
  };

  return new Elysia({ name: "auth.settings.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/settings", ({ request, actor }) => show(request, actor))
    .post(
      "/settings/keys",
      async ({ request, actor, body }) => {
        try {
          const name = v.safeParse(Name, body.name);
          if (!name.success) {
            const message = body.name.trim() ? `The key's name ${name.issues[0].message}.` : "Give the key a name.";
            throw new AppError("invalid", "invalid_value", message, { param: "name" });
          }
          const days = body.days ? Number(body.days) : null;
          if (days !== null && !(Number.isInteger(days) && days >= 1 && days <= 3650))
            throw new AppError("invalid", "invalid_value", "Days must be a whole number from 1 to 3650.", {
              param: "days",
            });
          const expiresAt = days === null ? null : ctx.clock.now() + days * DAY_MS;
          const made = await createKey(ctx, actor, { name: name.output, expiresAt });
          // Shown in the answer itself and not after a redirect: the secret must not travel in a cookie or an address.
          return show(request, actor, { made: { name: name.output, key: made.key } });
        } catch (error) {
          return again(request, actor, "key", error);
        }
      },
      { body: KeyForm },
    )
    .post(
      "/settings/keys/:id/revoke",
      async ({ request, actor, params }) => {
        await revokeKey(ctx, actor, params.id);
        return redirect(request, "/settings", "The key is revoked.");
      },
      { params: v.object({ id: v.pipe(v.string(), v.maxLength(100)) }) },
    )
    .post(
      "/settings/password",
      async ({ request, actor, body, server }) => {
        try {
          const email = actor.email ?? "";
          const who = {
            address: peerOf(ctx.config, server, request),
            userAgent: request.headers.get("user-agent") ?? "",
          };
          await signIn(ctx, { email, password: body.current, ...who });
          await setPassword(ctx, actor, actor.userId, body.password);
          const cookies = await signIn(ctx, { email, password: body.password, ...who });
          const answer = redirect(request, "/settings", "The password is changed. Other sessions have ended.");
          for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
          return answer;
        } catch (error) {
          return again(request, actor, "password", error);
        }
      },
      { body: PasswordForm },
    );
};
