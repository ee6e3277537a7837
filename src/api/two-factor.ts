/** JSON API of two-factor authentication: the caller's own, in a browser session, and its reset by administrators. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { prove } from "../accounts/factors/proof.ts";
import {
  confirmTwoFactor,
  disableTwoFactor,
  newRecoveryCodes,
  resetTwoFactor,
  startTwoFactor,
  twoFactorState,
} from "../accounts/factors/two-factor.ts";
import {
  CodeBody,
  EnrollmentView,
  PasswordBody,
  ReauthenticateBody,
  Reauthentication,
  RecoveryCodes,
  TwoFactorView,
  twoFactorView,
} from "../accounts/factors/two-factor-model.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { clientOf } from "../http/request-state.ts";
import { session } from "../http/session.ts";
import { seconds } from "../lib/request-fields.ts";
import { passkeysApi } from "./passkeys.ts";

const tags = ["Keys"];

interface Call {
  request: Request;
  actor: Actor;
}

const state = async (ctx: Ctx, { actor }: Call) => twoFactorView(await twoFactorState(ctx, actor));

async function start(ctx: Ctx, { request, actor }: Call, password: string) {
  const { uri, secret } = await startTwoFactor(ctx, actor, clientOf(request), password);
  return { object: "two_factor_enrollment" as const, uri, secret };
}

/** An answer with the cookies of the session that replaces the current one. */
function withCookies(body: unknown, cookies: string[]): Response {
  const answer = Response.json(body);
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

async function confirm(ctx: Ctx, { request, actor }: Call, code: string) {
  const { codes, cookies } = await confirmTwoFactor(ctx, actor, clientOf(request), code);
  return withCookies({ object: "recovery_codes", codes }, cookies);
}

async function renew(ctx: Ctx, { request, actor }: Call, password: string) {
  return { object: "recovery_codes" as const, codes: await newRecoveryCodes(ctx, actor, clientOf(request), password) };
}

async function disable(ctx: Ctx, call: Call, password: string) {
  await disableTwoFactor(ctx, call.actor, clientOf(call.request), password);
  return state(ctx, call);
}

async function reauthenticate(ctx: Ctx, { request, actor }: Call, body: v.InferOutput<typeof ReauthenticateBody>) {
  const given = body.code ?? body.password;
  if (given === undefined)
    throw new AppError("invalid", "missing_value", "Send your password or a code.", { param: "password" });
  const until = await prove(ctx, actor, given, clientOf(request));
  return { object: "reauthentication" as const, expires_at: seconds(until) };
}

async function reset(ctx: Ctx, actor: Actor, id: string) {
  await resetTwoFactor(ctx, actor, id);
  return { object: "two_factor" as const, id, deleted: true as const };
}

export const twoFactorApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.two-factor.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .use(passkeysApi(ctx))
    .get("/two_factor", (call) => state(ctx, call), {
      detail: {
        tags,
        summary: "The second factors of your account",
        responses: answers(TwoFactorView),
      },
    })
    .post("/two_factor", (call) => start(ctx, call, call.body.password), {
      body: PasswordBody,
      detail: { tags, summary: "Start to set up an authenticator app", responses: answers(EnrollmentView) },
    })
    .post("/two_factor/confirm", (call) => confirm(ctx, call, call.body.code), {
      body: CodeBody,
      detail: {
        tags,
        summary: "Confirm an authenticator app with its first code; the answer has the recovery codes",
        responses: answers(RecoveryCodes),
      },
    })
    .post("/two_factor/recovery_codes", (call) => renew(ctx, call, call.body.password), {
      body: PasswordBody,
      detail: { tags, summary: "Replace your recovery codes", responses: answers(RecoveryCodes) },
    })
    .post("/two_factor/disable", (call) => disable(ctx, call, call.body.password), {
      body: PasswordBody,
      detail: {
        tags,
        summary: "Remove your authenticator app; without a passkey, two-factor authentication is then off",
        responses: answers(TwoFactorView),
      },
    })
    .post("/reauthenticate", (call) => reauthenticate(ctx, call, call.body), {
      body: ReauthenticateBody,
      detail: {
        tags,
        summary: "Prove again that it is you, for sensitive actions of a browser session",
        responses: answers(Reauthentication),
      },
    })
    .delete("/admin/users/:id/two_factor", ({ actor, params }) => reset(ctx, actor, params.id), {
      detail: {
        tags: ["Administration"],
        summary: "Remove the second factors of a user who lost them, passkeys too; their sessions end",
        responses: answers(deletedOf("two_factor")),
      },
    });
