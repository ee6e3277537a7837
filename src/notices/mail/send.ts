/** Sends one mail over SMTP, and reports the server's own words. */
import { readFileSync } from "node:fs";
import type { Ctx } from "../../ctx.ts";
import { addressIn } from "../../lib/text/mail-address.ts";
import { clean } from "../../lib/text/redact.ts";
import type { MailServer } from "./settings.ts";
import type { Mail } from "./template.ts";

const TIMEOUT_MS = 20_000;

/** What became of a mail. */
interface MailSent {
  /** The server's answer to the message: `250 2.0.0 Ok: queued as 4C1`. Null when it was not taken. */
  answer: string | null;
  error: string | null;
  /** The server will never take it: the address does not exist there. */
  final: boolean;
}

interface SmtpError {
  message?: string;
  response?: string;
  responseCode?: number;
  command?: string;
}

function failure(cause: unknown): MailSent {
  const error = (cause ?? {}) as SmtpError;
  const words = clean(String(error.response ?? error.message ?? cause), 500);
  const code = error.responseCode ?? 0;
  return { answer: null, error: words, final: error.command === "RCPT TO" && code >= 550 && code <= 553 };
}

/**
 * Sends one mail. Never throws: what went wrong is in the answer.
 * @param id becomes the Message-ID, the same for every attempt: mail programs recognize repeats by it
 */
export async function sendMail(ctx: Ctx, server: MailServer, to: string, id: string, mail: Mail): Promise<MailSent> {
  try {
    const { createTransport } = await import("nodemailer");
    const ca = ctx.config.mail_ca ? readFileSync(ctx.config.mail_ca, "utf8") : undefined;
    const transport = createTransport({
      host: server.host,
      port: server.port,
      secure: server.security === "tls",
      requireTLS: server.security === "starttls",
      ignoreTLS: server.security === "none",
      ...(server.user ? { auth: { user: server.user, pass: server.password ?? "" } } : {}),
      ...(ca ? { tls: { ca } } : {}),
      connectionTimeout: TIMEOUT_MS,
      greetingTimeout: TIMEOUT_MS,
      socketTimeout: TIMEOUT_MS,
      // Nothing of a mail is a file or an address to fetch.
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    const domain = addressIn(server.from)?.split("@")[1] ?? "localhost";
    const sent = await transport.sendMail({
      from: server.from,
      to,
      messageId: `<${id}@${domain}>`,
      headers: { "Auto-Submitted": "auto-generated" },
      ...mail,
    });
    transport.close();
    return { answer: clean(String(sent.response), 500), error: null, final: false };
  } catch (cause) {
    return failure(cause);
  }
}
