/** Requests to identity providers: checked when the connection is made, limited in size and time. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type Guard, guardedReply, requireAddress } from "../../lib/net/guarded.ts";

const MAX_BYTES = 1_000_000;
/** Seconds for one request. */
export const TIMEOUT_S = 10;

const guardOf = (ctx: Ctx): Guard => ({
  hosts: ctx.config.sso_hosts,
  setting: "sso_hosts",
  refusal: "not used as an identity provider",
});

/** @throws AppError `address_refused`, `offline` */
function checkUrl(ctx: Ctx, url: URL): void {
  requireAddress(url, guardOf(ctx));
  if (!ctx.config.offline || ctx.config.sso_hosts.some((host) => host === url.host || host === url.hostname)) return;
  throw new AppError(
    "unavailable",
    "offline",
    `This installation makes no connections to other servers (offline). An administrator can allow ${url.host} (sso_hosts).`,
  );
}

/**
 * Refuses an address that could not be asked.
 * @param param the field that has it
 * @throws AppError `address_refused`, `offline`, `invalid_value`
 */
function checkAsked(ctx: Ctx, address: string, param: string): void {
  const url = new URL(address);
  if (url.username || url.password || url.hash)
    throw new AppError("invalid", "invalid_value", "The address must have neither user nor fragment.", { param });
  try {
    checkUrl(ctx, url);
  } catch (error) {
    throw error instanceof AppError ? error.withParam(param) : error;
  }
}

/** Refuses an issuer of OpenID Connect. @throws AppError those of `checkAsked` */
export function checkIssuer(ctx: Ctx, issuer: string): void {
  if (new URL(issuer).search)
    throw new AppError("invalid", "invalid_value", "The issuer must be an address without a query.", {
      param: "issuer",
    });
  checkAsked(ctx, issuer, "issuer");
}

/** Refuses an address of SAML metadata. @throws AppError those of `checkAsked` */
export const checkMetadataUrl = (ctx: Ctx, address: string) => checkAsked(ctx, address, "metadata_url");

/**
 * Refuses an address that browsers shall be sent to; this server does not connect to it.
 * @throws AppError `address_refused`
 */
export function checkSignInUrl(ctx: Ctx, address: string): void {
  const url = new URL(address);
  if (url.protocol !== "https:") requireAddress(url, guardOf(ctx));
}

interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
}

/**
 * `fetch` for the client library: redirects are answered, not followed.
 * @throws AppError `address_refused`, `offline`
 */
export async function askProvider(ctx: Ctx, address: string, sent: Sent): Promise<Response> {
  const url = new URL(address);
  checkUrl(ctx, url);
  const signals = [ctx.signal, AbortSignal.timeout(TIMEOUT_S * 1000), ...(sent.signal ? [sent.signal] : [])];
  const body = sent.body === undefined || sent.body === null ? undefined : String(sent.body);
  const reply = await guardedReply(url, guardOf(ctx), {
    method: sent.method === "POST" ? "POST" : "GET",
    headers: { ...sent.headers, ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }) },
    body,
    signal: AbortSignal.any(signals),
  });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of reply.body) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) {
      await reply.discard();
      throw new Error("the answer of the identity provider is too large");
    }
    chunks.push(chunk);
  }
  const headers = new Headers();
  for (const name of ["content-type", "www-authenticate", "date", "location"]) {
    const value = reply.header(name);
    if (value) headers.set(name, value);
  }
  const empty = [204, 205, 304].includes(reply.status);
  return new Response(empty ? null : Buffer.concat(chunks), { status: reply.status, headers });
}
