/** Page routes of the mail server: show, change, remove, test. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { getMail, MailGiven, removeMail, setMail } from "../../../src/notices/mail/settings.ts";
import { TestMail, testMail } from "../../../src/notices/mail/test-mail.ts";
import { type MailForm, MailPage, type MailProps } from "./mail.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Form = v.object({
  host: text(300),
  port: text(10),
  security: text(20),
  user: text(300),
  password: text(1000),
  from: text(400),
});
const TestForm = v.object({ to: text(300) });
const LABELS = {
  host: "The server",
  port: { sentence: "The port must be a number from 1 to 65535." },
  security: "The encryption",
  user: "The user",
  from: "The sender",
  to: "The address",
};

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, more: Partial<MailProps> = {}, status = 200) {
  const mail = await getMail(ctx, actor);
  const form: MailForm = {
    host: mail.host ?? "",
    port: String(mail.port ?? 587),
    security: mail.security ?? "starttls",
    user: mail.user ?? "",
    from: mail.from ?? "",
  };
  const props: MailProps = { mail, form, email: actor.email ?? "", ...more };
  return html(pageOf(ctx, request, actor), <MailPage {...props} />, { status });
}

async function save(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    const { port, user, password, ...rest } = body;
    const given = { ...rest, port: Number(port), user: user || null, password: password || null };
    await setMail(ctx, visit.actor, parseForm(MailGiven, given, LABELS));
    return redirect(visit.request, "/admin/mail", "The mail server is saved. Send a test mail.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, { form: body, error: error.message }, ERROR_TABLE[error.kind].status);
  }
}

async function test(ctx: Ctx, visit: Visit, to: string) {
  const given = parseForm(TestMail, { to }, LABELS);
  return show(ctx, visit, { tested: await testMail(ctx, visit.actor, given.to) });
}

async function remove(ctx: Ctx, { request, actor }: Visit) {
  await removeMail(ctx, actor);
  return redirect(request, "/admin/mail", "The mail server is removed.");
}

export const mailPages = (ctx: Ctx) =>
  new Elysia({ name: "mail.pages", prefix: "/admin/mail", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("", (visit) => save(ctx, visit, visit.body), { body: Form })
    .post("/test", (visit) => test(ctx, visit, visit.body.to), { body: TestForm })
    .post("/remove", (visit) => remove(ctx, visit));
