/** Security headers of every answer, and the host and origin checks that precede authentication. */
import { hostname } from "node:os";
import type { Config } from "../config.ts";
import { AppError } from "../errors.ts";

const POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");

/** Headers of every answer; a handler may replace one, for example to cache assets. */
export function securityHeaders(config: Config): Record<string, string> {
  return {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
    ...(config.public_url?.startsWith("https://") ? { "strict-transport-security": "max-age=31536000" } : {}),
  };
}

/** The name in a Host header, without port and brackets, in lower case. */
function nameOf(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d+$/, "")
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
}

/** An IP address cannot be redirected by a foreign name server, a name can. */
const isAddress = (name: string) =>
  /^\d{1,3}(\.\d{1,3}){3}$/.test(name) || (name.includes(":") && /^[0-9a-f:.]+$/.test(name));

/**
 * Accepts only this server's names. Otherwise a foreign site whose name resolves to this machine (DNS rebinding) would
 * count as same origin.
 */
export function hostCheck(config: Config): (host: string) => boolean {
  const own = hostname().toLowerCase();
  const known = new Set(["localhost", own, `${own}.local`, nameOf(config.listen)]);
  if (config.public_url) known.add(nameOf(new URL(config.public_url).host));
  return (host) => {
    const name = nameOf(host);
    return known.has(name) || isAddress(name) || name.endsWith(".localhost");
  };
}

export const foreignHost = () =>
  new AppError(
    "invalid",
    "foreign_host",
    "This server does not answer under that host name. If the name is right, set public_url to the address people use.",
  );

export const foreignOrigin = () =>
  new AppError(
    "forbidden",
    "foreign_origin",
    "This request came from another site and was refused. Reload the page and try again; behind a proxy, set public_url to the address people use.",
  );

/** Methods that change nothing; all others need a matching origin. */
export const isSafeMethod = (method: string) => method === "GET" || method === "HEAD" || method === "OPTIONS";

/**
 * The only addresses that take a post from a page of another site: SAML providers let browsers post their answers. The
 * answer is signed, and the handler uses no cookie.
 */
const POSTED_FROM_ELSEWHERE = /^\/sso\/[^/]+\/acs$/;

/** Whether a page of any site may post to a path. */
export const takesForeignPost = (method: string, path: string) => method === "POST" && POSTED_FROM_ELSEWHERE.test(path);

/**
 * True when a request comes from a page of this server. Browsers send `Origin` with every unsafe request, and pages
 * cannot forge it. A request without both headers is not from a browser; it is accepted only without a cookie.
 */
export function isOwnOrigin(headers: Headers, host: string, config: Config): boolean {
  const site = headers.get("sec-fetch-site");
  if (site !== null && site !== "same-origin" && site !== "none") return false;
  const origin = headers.get("origin");
  if (origin === null) return site !== null || !headers.has("cookie");
  if (config.public_url && origin === new URL(config.public_url).origin) return true;
  return /^https?:\/\//.test(origin) && origin.replace(/^https?:\/\//, "").toLowerCase() === host.toLowerCase();
}
