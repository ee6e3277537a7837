/** Page routes of the account's e-mail address. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { clientOf } from "../../../src/http/request-state.ts";
import { session } from "../../../src/http/session.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { requestEmailChange } from "../../../src/notices/security/email-change.ts";
import { EmailPage, type EmailProps } from "./email.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Form = v.object({ email: text(254), password: text(1000) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<EmailProps> = {}, status = 200) {
  const canMail = (await mailServer(ctx)) !== null;
  const props: EmailProps = { current: actor.email ?? actor.userId, canMail, ...more };
  return html(pageOf(ctx, request, actor), <EmailPage {...props} />, { status });
}

async function change(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    const email = await requestEmailChange(ctx, visit.actor, body, clientOf(visit.request));
    return await show(ctx, visit, { email, sent: true });
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { email: body.email, error: error.message }, ERROR_TABLE[error.kind].status);
  }
}

export const emailPages = (ctx: Ctx) =>
  new Elysia({ name: "email.pages", prefix: "/settings/email", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("", (visit) => change(ctx, visit, visit.body), { body: Form });
