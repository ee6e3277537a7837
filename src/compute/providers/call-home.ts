/** Where trainers on other machines call home, and whether that address answers from outside. */
import { createHash, createHmac, hkdfSync, X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { mailboxProblem, usesMailbox } from "./mailbox.ts";

/** How long an answer of the check counts. */
const KEEP_MS = 60_000;
const ANSWER_MS = 10_000;
const NONCE = /^[A-Za-z0-9]{16,64}$/;

/** Why trainers elsewhere cannot call home, and what to do. */
interface HomeProblem {
  message: string;
  remedy: string;
}

/** The address for trainers on other machines, without a slash at its end; null when none is set. */
export function homeUrl({ config }: Ctx): string | null {
  return config.trainer_url ?? config.public_url?.replace(/\/$/, "") ?? null;
}

/** How trainers on other machines reach this server, for people; null when nothing is set. */
export function homeName(ctx: Ctx): string | null {
  return usesMailbox(ctx) ? `the mailbox in bucket ${ctx.config.s3_bucket}` : homeUrl(ctx);
}

/** The fingerprints that these trainers trust, separated by commas; null = public certificate authorities. */
export function homeFingerprint({ config }: Ctx): string | null {
  return config.trainer_url && config.trainer_fingerprint.length > 0 ? config.trainer_fingerprint.join(",") : null;
}

/**
 * What this server alone answers to a nonce: shows that an address leads here.
 * @throws AppError `invalid_value` unless the nonce is 16 to 64 letters and digits
 */
export function proofOf(ctx: Ctx, nonce: string): string {
  if (!NONCE.test(nonce))
    throw new AppError("invalid", "invalid_value", "Invalid 'nonce': must be 16 to 64 letters and digits", {
      param: "nonce",
    });
  const key = Buffer.from(hkdfSync("sha256", ctx.secret, "", "trainer address", 32));
  return createHmac("sha256", key).update(nonce).digest("hex");
}

const certificatesOf = (pem: string) =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (one) => new X509Certificate(one).raw,
  );

/** The certificates that the server at `url` sends, its own first. Nothing is sent over this connection. */
function sentBy(url: URL): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const socket = connect({
      host,
      port: Number(url.port || 443),
      rejectUnauthorized: false,
      ...(isIP(host) ? {} : { servername: host }),
    });
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)));
    socket.once("error", reject);
    socket.once("secureConnect", () => {
      const chain: Buffer[] = [];
      let one = socket.getPeerCertificate(true);
      while (one?.raw && !chain.some((known) => known.equals(one.raw))) {
        chain.push(one.raw);
        one = one.issuerCertificate;
      }
      socket.destroy();
      resolve(chain);
    });
  });
}

/** What `fetch` trusts at the address, as trainers do: the certificates of the fingerprints, and nothing else. */
async function trustOf({ config }: Ctx, url: URL) {
  const pins = config.trainer_url ? config.trainer_fingerprint : [];
  if (url.protocol !== "https:" || pins.length === 0) return undefined;
  const chain = await sentBy(url);
  const found = chain.find((raw) => pins.includes(createHash("sha256").update(raw).digest("hex")));
  if (!found) throw new Error("no certificate there has a fingerprint of trainer_fingerprint");
  const ca = new X509Certificate(found).toString();
  // The server's own certificate is exactly the named one. An authority vouches for the name.
  const isOwn = chain[0]?.equals(found);
  return { ca, allowPartialTrustChain: true, ...(isOwn ? { checkServerIdentity: () => undefined } : {}) };
}

/** Fingerprint of the listener's own certificate, for people; null without one. */
function ownFingerprint({ config: { trainer_cert_file: file } }: Ctx): string | null {
  if (!file || !existsSync(file)) return null;
  const [own] = certificatesOf(readFileSync(file, "utf8"));
  return own ? createHash("sha256").update(own).digest("hex") : null;
}

/** What to do when nothing answers at the address. */
function openWhat(ctx: Ctx, url: URL): string {
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  const { trainer_listen: listen, listen: main } = ctx.config;
  return `Open TCP port ${port} of ${url.hostname} for incoming connections in the firewall, and pass it on to ${listen ?? main} of this machine. If only machines inside your network cannot reach that address, set FTL_TRAINER_PROBE=false.`;
}

function problemOf(ctx: Ctx, url: URL, cause: unknown): HomeProblem {
  const { code = "", message = String(cause) } = cause as { code?: string; message?: string };
  if (/CERT|SELF_SIGNED|SIGNATURE|ISSUER|fingerprint/i.test(`${code} ${message}`)) {
    const own = ownFingerprint(ctx);
    const remedy = own
      ? `Set trainer_fingerprint to the fingerprint of the certificate, or of its authority (docs/admin-guide.md). The one in trainer_cert_file has ${own}.`
      : "Set trainer_fingerprint to the fingerprint of the certificate, or of its authority (docs/admin-guide.md).";
    return { message: `${url.origin}: trainers would refuse its certificate: ${message}.`, remedy };
  }
  return { message: `${url.origin} does not answer: ${message}.`, remedy: openWhat(ctx, url) };
}

async function probe(ctx: Ctx): Promise<HomeProblem | null> {
  if (usesMailbox(ctx)) return mailboxProblem(ctx);
  const address = homeUrl(ctx);
  if (!address)
    return {
      message: "Trainers on other machines have no address to call.",
      remedy: "Set trainer_url to an https:// address that they reach (docs/admin-guide.md).",
    };
  const url = new URL(address);
  const nonce = randomChars(32);
  try {
    const answer = await fetch(`${address}/trainer/v1/hello?nonce=${nonce}`, {
      signal: AbortSignal.any([ctx.signal, AbortSignal.timeout(ANSWER_MS)]),
      redirect: "manual",
      tls: await trustOf(ctx, url),
    } as BunFetchRequestInit);
    const body = (await answer.json().catch(() => null)) as { proof?: unknown } | null;
    if (body?.proof === proofOf(ctx, nonce)) return null;
    if (answer.status === 200)
      return {
        message: `Another server answers at ${url.origin}.`,
        remedy: "Point trainer_url, or the proxy behind it, at this server.",
      };
    return {
      message: `${url.origin} answers ${answer.status} to trainers.`,
      remedy: `Let the proxy pass every path below /trainer/v1/ on to ${ctx.config.trainer_listen ?? ctx.config.listen}, unchanged.`,
    };
  } catch (cause) {
    return problemOf(ctx, url, cause);
  }
}

const lastProbe = perContext((): { at: number; found: Promise<HomeProblem | null> | null } => ({ at: 0, found: null }));

/**
 * Asks the address for trainers on other machines as they would, through the proxies in front of it, and checks that
 * this server answers. With the mailbox it writes and reads an object of the bucket instead. An answer counts for a
 * minute, unless `again`.
 * @returns null when it does, or when `trainer_probe` is off
 */
export function homeProblem(ctx: Ctx, again = false): Promise<HomeProblem | null> {
  if (!ctx.config.trainer_probe && homeName(ctx)) return Promise.resolve(null);
  const last = lastProbe(ctx);
  const now = ctx.clock.monotonic();
  if (!last.found || again || now - last.at > KEEP_MS) Object.assign(last, { at: now, found: probe(ctx) });
  return last.found as Promise<HomeProblem | null>;
}

/** Whether work of some provider runs on other machines. */
export function callsHome(ctx: Ctx): boolean {
  return ctx.compute.list().some(({ plugin }) => !plugin.capabilities.local);
}
