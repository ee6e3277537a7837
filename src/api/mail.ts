/** /v1/admin/mail: the mail server, and a test of it. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { getMail, MailGiven, MailView, removeMail, setMail } from "../notices/mail/settings.ts";
import { TestMail, TestMailView, testMail } from "../notices/mail/test-mail.ts";

const tags = ["Administration"];

export const mailApi = (ctx: Ctx) =>
  new Elysia({ name: "mail.api", prefix: "/v1/admin/mail", seed: ctx.installation })
    .use(session(ctx))
    .get("", ({ actor }) => getMail(ctx, actor), {
      detail: { tags, summary: "Retrieve the mail server", responses: answers(MailView) },
    })
    .post("", ({ actor, body }) => setMail(ctx, actor, body), {
      body: MailGiven,
      detail: {
        tags,
        summary: "Set the mail server; without a password the stored one stays",
        responses: answers(MailView),
      },
    })
    .delete("", ({ actor }) => removeMail(ctx, actor), {
      detail: { tags, summary: "Remove the mail server", responses: answers(MailView) },
    })
    .post("/test", ({ actor, body }) => testMail(ctx, actor, body.to), {
      body: TestMail,
      detail: {
        tags,
        summary: "Send a test mail now; answers with the words of the mail server",
        responses: answers(TestMailView),
      },
    });
