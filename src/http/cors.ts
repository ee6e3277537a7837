/** Requests to /v1 from pages of other sites: from the origins of the setting, with a key, never with a cookie. */
import type { Config } from "../config.ts";

const METHODS = "GET, POST, DELETE";
const EXPOSED =
  "x-request-id, openai-processing-ms, retry-after, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/** Seconds for which a browser keeps the answer to a preflight. */
const MAX_AGE_S = 600;
const MAX_HEADERS = 2000;

interface CrossOrigin {
  /** Headers of the answer. */
  headers: Record<string, string>;
  /** The answer when the browser only asks whether it may send the request. */
  preflight: Response | null;
}

/** Recognizes requests to /v1 from an allowed origin; null for all others. */
export function crossOrigin(config: Config): (request: Request, path: string) => CrossOrigin | null {
  const allowed = new Set(config.allowed_origins);
  if (allowed.size === 0) return () => null;
  return (request, path) => {
    const origin = request.headers.get("origin");
    if (origin === null || !path.startsWith("/v1/") || !allowed.has(origin)) return null;
    if (request.headers.get("sec-fetch-site") === "same-origin") return null;
    const headers = {
      "access-control-allow-origin": origin,
      "access-control-expose-headers": EXPOSED,
      vary: "origin",
    };
    const isPreflight = request.method === "OPTIONS" && request.headers.has("access-control-request-method");
    const asked = request.headers.get("access-control-request-headers") ?? "";
    const preflight = isPreflight
      ? new Response(null, {
          status: 204,
          headers: {
            ...headers,
            "access-control-allow-methods": METHODS,
            ...(asked.length <= MAX_HEADERS ? { "access-control-allow-headers": asked } : {}),
            "access-control-max-age": String(MAX_AGE_S),
          },
        })
      : null;
    return { headers, preflight };
  };
}
