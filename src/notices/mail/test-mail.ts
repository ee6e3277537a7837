/** A test mail: sent now, outside the outbox, with the server's own words as the answer. */
import * as v from "valibot";
import { Email } from "../../accounts/auth/model.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { sendMail } from "./send.ts";
import { mailServer } from "./settings.ts";
import { mailOf } from "./template.ts";

/** Where to send it; to the administrator's own address when absent. */
export const TestMail = v.strictObject({ to: v.optional(v.nullable(Email)) });

export const TestMailView = v.strictObject({
  object: v.literal("mail_test"),
  to: v.string(),
  /** The server took the mail. */
  accepted: v.boolean(),
  /** The server's words, such as `250 2.0.0 Ok: queued as 4C1`. */
  answer: v.string(),
});

/**
 * Sends a test mail. Administrators only.
 * @throws AppError `no_mail_server`
 */
export async function testMail(
  ctx: Ctx,
  actor: Actor,
  given?: string | null,
): Promise<v.InferOutput<typeof TestMailView>> {
  requireAdmin(actor);
  const server = await mailServer(ctx);
  if (!server) throw new AppError("conflict", "no_mail_server", "There is no mail server. Set one first.");
  const to = given ?? actor.email;
  if (!to) throw new AppError("invalid", "missing_value", "Say to which address.", { param: "to" });
  const mail = mailOf(ctx, {
    title: "Test of the mail server",
    body: "Mails of this installation arrive here.",
    path: "/admin/mail",
    action: "Open the mail settings",
    reason: "An administrator sent this test.",
  });
  const { answer, error } = await sendMail(ctx, server, to, newId("delivery"), mail);
  return { object: "mail_test", to, accepted: error === null, answer: answer ?? error ?? "" };
}
