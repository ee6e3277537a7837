/** Sends one signed request to an endpoint. Its address is checked when the connection is made. */
import { VERSION } from "../../assets.ts";
import type { Ctx } from "../../ctx.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError } from "../../errors.ts";
import { type Guard, guardedReply, requireAddress } from "../../lib/net/guarded.ts";
import { unseal } from "../../lib/sealed.ts";
import { clean } from "../../lib/text/redact.ts";
import type { EndpointRow } from "./model.ts";
import { signedHeaders } from "./signature.ts";

const TIMEOUT_MS = 15_000;

const guardOf = (ctx: Ctx): Guard => ({
  hosts: ctx.config.webhook_hosts,
  setting: "webhook_hosts",
  refusal: "not called by webhooks",
});

/** @throws AppError `address_refused`, `offline` */
export function checkUrl(ctx: Ctx, url: URL): void {
  requireAddress(url, guardOf(ctx));
  if (!ctx.config.offline || ctx.config.webhook_hosts.some((host) => host === url.host || host === url.hostname))
    return;
  throw new AppError(
    "unavailable",
    "offline",
    `This installation makes no connections to other servers (offline). An administrator can allow ${url.host} (webhook_hosts).`,
    { param: "url" },
  );
}

/** What became of one attempt. */
interface Sent {
  /** Null when there was no answer. */
  status: number | null;
  /** Null when it was taken. */
  error: string | null;
}

/** Why a status is no success, in words. */
function refusalOf(status: number): string | null {
  if (status >= 200 && status < 300) return null;
  if (status >= 300 && status < 400) return `It answered ${status}: redirects are not followed.`;
  return `It answered ${status}.`;
}

/** Reasons without an answer, without what a resolver or a library adds. */
function reasonOf(cause: unknown): string {
  if (cause instanceof AppError) return cause.message;
  const code = (cause as { code?: unknown } | null)?.code;
  if (code === "ECONNREFUSED") return "The connection was refused.";
  if (code === "ENOTFOUND" || code === "DNS_ENOTFOUND" || code === "EAI_AGAIN") return "The host name is unknown.";
  if ((cause as { name?: unknown } | null)?.name === "TimeoutError")
    return `There was no answer within ${TIMEOUT_MS / 1000} seconds.`;
  return `The connection failed: ${clean(String((cause as Error | null)?.message ?? cause), 200)}`;
}

/** Where to send, and the secrets that sign: each one, while a secret is rotated. */
interface Signed {
  url: string;
  secrets: string[];
}

/**
 * Sends one signed message. Never throws: what went wrong is in the answer.
 * @param id the message's id, the same for every attempt
 */
export async function postSigned(ctx: Ctx, to: Signed, id: string, body: string): Promise<Sent> {
  const headers = {
    "content-type": "application/json",
    "user-agent": `Fine-Tune-Lab/${VERSION}`,
    ...signedHeaders(id, ctx.clock.now(), body, to.secrets),
  };
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = AbortSignal.any([timeout, ctx.signal]);
  try {
    const url = new URL(to.url);
    checkUrl(ctx, url);
    const reply = await guardedReply(url, guardOf(ctx), { method: "POST", headers, body, signal });
    await reply.discard();
    return { status: reply.status, error: refusalOf(reply.status) };
  } catch (cause) {
    return { status: null, error: reasonOf(timeout.aborted ? timeout.reason : cause) };
  }
}

/** Sends one message to an endpoint of an organization, as `postSigned`. */
export async function postWebhook(ctx: Ctx, endpoint: EndpointRow, id: string, body: string): Promise<Sent> {
  const open = (sealed: string) => unseal(ctx.secret, sealedIn("webhook_secret", endpoint.id), sealed);
  const old = endpoint.oldSecret && (endpoint.oldSecretUntil ?? 0) > ctx.clock.now() ? [open(endpoint.oldSecret)] : [];
  const url = unseal(ctx.secret, sealedIn("webhook_url", endpoint.id), endpoint.url);
  return postSigned(ctx, { url, secrets: [open(endpoint.secret), ...old] }, id, body);
}
