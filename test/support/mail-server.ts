/** A real SMTP server on this machine: it takes mails over STARTTLS or TLS, or refuses them as a test says. */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";

interface Taken {
  to: string;
  from: string;
  /** Headers and body as they came. */
  raw: string;
  /** The plain-text part. */
  text: string;
  secure: boolean;
  user: string | null;
}

export interface MailBox {
  port: number;
  /** PEM file of the authority that signed its certificate. */
  ca: string;
  taken: Taken[];
  /** Addresses that do not exist here. */
  unknown: Set<string>;
  close(): Promise<void>;
}

export const MAIL_USER = { name: "lab", password: "mail-password-41" };

/** A certificate for this machine, made with openssl. */
export function certificate(): { key: string; cert: string; path: string } {
  const dir = mkdtempSync(join(tmpdir(), "ftl-mail-"));
  const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" ");
  const made = Bun.spawnSync([...request, "-keyout", key, "-out", cert, ...subject]);
  if (made.exitCode !== 0) throw new Error(`openssl: ${made.stderr.toString()}`);
  return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8"), path: cert };
}

/** The text/plain part of a mail, decoded. */
function plainText(raw: string): string {
  const part = /Content-Type: text\/plain[\s\S]*?\r\n\r\n([\s\S]*?)\r\n----_NmP/.exec(raw);
  const body = part?.[1] ?? "";
  if (/Content-Transfer-Encoding: base64/.test(part?.[0] ?? "")) return Buffer.from(body, "base64").toString();
  const bytes = body
    .replaceAll("=\r\n", "")
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString("utf8").replaceAll("\r\n", "\n");
}

/** Starts the server. `secure`: TLS from the first byte. */
export async function startMailBox(options: { secure?: boolean } = {}): Promise<MailBox> {
  const { key, cert, path } = certificate();
  const taken: Taken[] = [];
  const unknown = new Set<string>();
  const server = new SMTPServer({
    key,
    cert,
    secure: options.secure ?? false,
    authOptional: true,
    onAuth({ username, password }, _session, done) {
      if (username === MAIL_USER.name && password === MAIL_USER.password) done(null, { user: username });
      else done(Object.assign(new Error("5.7.8 Authentication failed"), { responseCode: 535 }));
    },
    onRcptTo({ address }, _session, done) {
      if (unknown.has(address)) done(Object.assign(new Error("5.1.1 No such user here"), { responseCode: 550 }));
      else done();
    },
    onData(stream, session, done) {
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => {
        const raw = Buffer.concat(parts).toString("utf8");
        const { mailFrom, rcptTo } = session.envelope;
        taken.push({
          to: rcptTo.map(({ address }) => address).join(),
          from: mailFrom ? mailFrom.address : "",
          raw,
          text: plainText(raw),
          secure: session.secure,
          user: session.user ?? null,
        });
        done(null, `2.0.0 Ok: queued as ${taken.length}`);
      });
    },
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.server.address() as { port: number };
  return {
    port,
    ca: path,
    taken,
    unknown,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
