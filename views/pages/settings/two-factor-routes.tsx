/** Page routes of two-factor authentication. Codes and secrets are in the answer itself, never behind a redirect. */
import { Elysia } from "elysia";
import * as v from "valibot";
import {
  confirmTwoFactor,
  disableTwoFactor,
  newRecoveryCodes,
  startTwoFactor,
  twoFactorState,
} from "../../../src/accounts/auth/two-factor.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { TwoFactorPage, type TwoFactorProps } from "./two-factor.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Password = v.object({ password: text(1000) });
const Confirm = v.object({ code: text(40), uri: text(1000) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<TwoFactorProps> = {}, status = 200) {
  const props = { state: await twoFactorState(ctx, actor), ...more };
  return html(pageOf(ctx, request, actor), <TwoFactorPage {...props} />, { status });
}

/** Runs a step; a refusal shows the page again with its reason. */
async function step(
  ctx: Ctx,
  visit: Visit,
  form: NonNullable<TwoFactorProps["error"]>["form"],
  run: () => Promise<Response>,
  more: Partial<TwoFactorProps> = {},
) {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { ...more, error: { form, message: error.message } }, ERROR_TABLE[error.kind].status);
  }
}

function withCookies(answer: Response, cookies: string[]): Response {
  for (const cookie of cookies) answer.headers.append("set-cookie", cookie);
  return answer;
}

const start = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "start", async () => {
    const enrollment = await startTwoFactor(ctx, visit.actor, clientOf(visit.request), password);
    return show(ctx, visit, { enrollment });
  });

/** The enrollment as the page showed it, for another try. */
function shown(uri: string): TwoFactorProps["enrollment"] {
  const secret = uri.startsWith("otpauth://totp/") ? (URL.parse(uri)?.searchParams.get("secret") ?? "") : "";
  return secret ? { uri, secret } : undefined;
}

const confirm = (ctx: Ctx, visit: Visit, { code, uri }: v.InferOutput<typeof Confirm>) =>
  step(
    ctx,
    visit,
    "confirm",
    async () => {
      const { codes, cookies } = await confirmTwoFactor(ctx, visit.actor, clientOf(visit.request), code);
      return withCookies(await show(ctx, visit, { codes }), cookies);
    },
    { enrollment: shown(uri) },
  );

const renew = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "codes", async () => {
    const codes = await newRecoveryCodes(ctx, visit.actor, clientOf(visit.request), password);
    return show(ctx, visit, { codes });
  });

const disable = (ctx: Ctx, visit: Visit, { password }: v.InferOutput<typeof Password>) =>
  step(ctx, visit, "disable", async () => {
    const cookies = await disableTwoFactor(ctx, visit.actor, clientOf(visit.request), password);
    return withCookies(redirect(visit.request, "/settings/two-factor", "Two-factor authentication is off."), cookies);
  });

export const twoFactorPages = (ctx: Ctx) =>
  new Elysia({ name: "auth.two-factor.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/settings/two-factor", (visit) => show(ctx, visit))
    .post("/settings/two-factor", (visit) => start(ctx, visit, visit.body), { body: Password })
    .post("/settings/two-factor/confirm", (visit) => confirm(ctx, visit, visit.body), { body: Confirm })
    .post("/settings/two-factor/codes", (visit) => renew(ctx, visit, visit.body), { body: Password })
    .post("/settings/two-factor/disable", (visit) => disable(ctx, visit, visit.body), { body: Password });
