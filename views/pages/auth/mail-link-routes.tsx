/** Page routes of links in mails. Opening one changes nothing: mail programs open links by themselves. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { completeEmailChange, findEmailChange } from "../../../src/notices/security/email-change.ts";
import { findAlert, secureAccount } from "../../../src/notices/security/not-me.ts";
import { requestReset } from "../../../src/notices/security/reset-mail.ts";
import { ConfirmEmailPage, ForgotPage } from "./mail-links.tsx";
import { NotMePage } from "./not-me.tsx";

const Token = v.object({ token: v.optional(v.pipe(v.string(), v.maxLength(300)), "") });
const EmailForm = v.object({ email: v.optional(v.pipe(v.string(), v.maxLength(254)), "") });

async function alertPage(ctx: Ctx, request: Request, token: string) {
  const { title, body, email } = await findAlert(ctx, token);
  return html(pageOf(ctx, request, null), <NotMePage token={token} title={title} facts={body} email={email} />);
}

async function secure(ctx: Ctx, request: Request, token: string) {
  const reset = await secureAccount(ctx, token);
  return redirect(request, `/reset?token=${reset}`);
}

async function forgotPage(ctx: Ctx, request: Request) {
  return html(pageOf(ctx, request, null), <ForgotPage canMail={(await mailServer(ctx)) !== null} />);
}

async function forgot(ctx: Ctx, request: Request, email: string) {
  const canMail = (await mailServer(ctx)) !== null;
  const page = pageOf(ctx, request, null);
  if (!canMail) return html(page, <ForgotPage canMail={false} />, { status: 409 });
  try {
    await requestReset(ctx, email, clientOf(request));
    return html(page, <ForgotPage canMail sent email={email} />);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    const { status } = ERROR_TABLE[error.kind];
    return html(page, <ForgotPage canMail email={email} error={error.message} />, { status });
  }
}

async function confirmPage(ctx: Ctx, request: Request, token: string) {
  const { email, previous } = await findEmailChange(ctx, token);
  return html(pageOf(ctx, request, null), <ConfirmEmailPage token={token} email={email} previous={previous} />);
}

async function confirm(ctx: Ctx, request: Request, token: string) {
  const { email } = await completeEmailChange(ctx, token);
  return redirect(request, "/settings", `Your e-mail address is now ${email}.`);
}

export const mailLinkPages = (ctx: Ctx) =>
  new Elysia({ name: "mail-links.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/not-me", ({ request, query }) => alertPage(ctx, request, query.token), { query: Token })
    .post("/not-me", ({ request, body }) => secure(ctx, request, body.token), { body: Token })
    .get("/forgot", ({ request }) => forgotPage(ctx, request))
    .post("/forgot", ({ request, body }) => forgot(ctx, request, body.email), { body: EmailForm })
    .get("/confirm-email", ({ request, query }) => confirmPage(ctx, request, query.token), { query: Token })
    .post("/confirm-email", ({ request, body }) => confirm(ctx, request, body.token), { body: Token });
