/** Lambda's API: one limiter for the key with a slower one for launches, and errors by code, never by text. */
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../src/contract/provider.ts";
import type { Limiter } from "../shared/limiter.ts";
import { type Reply, request, retryAfter, unsure } from "../shared/vendor-http.ts";
import type { Settings } from "./settings.ts";

export interface Api {
  /** `data` of the answer. `missing` is returned when the object does not exist. Throws failures of the contract. */
  call<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown, missing?: T): Promise<T>;
}

const LAUNCH = "/instance-operations/launch";
/**
 * Lambda allows one request a second, and one launch in twelve; a little slower, because clocks and networks differ.
 */
export const GAPS = { any: 1100, launch: 12_500 };

const CODES: Readonly<Record<string, ProviderErrorKind>> = {
  "global/invalid-api-key": "auth",
  "global/account-inactive": "auth",
  "global/invalid-address": "quota",
  "global/quota-exceeded": "quota",
  "global/invalid-parameters": "invalid",
  "global/object-does-not-exist": "invalid",
  "global/not-found": "invalid",
  "global/duplicate": "invalid",
  "global/conflict": "transient",
  "global/internal-error": "transient",
  "instance-operations/launch/insufficient-capacity": "no_capacity",
  "instance-operations/launch/file-system-in-wrong-region": "invalid",
};
const MISSING = new Set(["global/object-does-not-exist", "global/not-found"]);

interface Problem {
  error?: { code?: string; message?: string; suggestion?: string };
}

/** Kind of an error code. Codes of Lambda's own suppliers begin with `provider/`. */
export function kindOf(code: string, status: number): ProviderErrorKind {
  const known = CODES[code];
  if (known) return known;
  if (code.startsWith("provider/")) {
    if (/capacity|exhausted|unavailable-resource/.test(code)) return "no_capacity";
    return code.includes("quota") ? "quota" : "transient";
  }
  if (status === 401 || status === 403) return "auth";
  return status >= 500 ? "transient" : "invalid";
}

export function createApi(host: ProviderHost, settings: Settings, limiter: Limiter): Api {
  function failure(reply: Reply, changes: boolean): ProviderFailure {
    const { status } = reply;
    if (status === 0) {
      const lost = host.error("transient", `Lambda gave no complete answer: ${reply.text}`, { retryAfterS: 10 });
      return changes ? unsure(lost) : lost;
    }
    const {
      code = String(status),
      message = reply.text,
      suggestion = "",
    } = ((reply.body ?? {}) as Problem).error ?? {};
    const words = `${message} ${suggestion}`.replace(/\s+/g, " ").trim().slice(0, 400);
    if (status === 429)
      return host.error("rate_limited", "Lambda's rate limit for this API key is used up.", {
        retryAfterS: retryAfter(host, reply.headers),
        vendorCode: code,
      });
    const kind = kindOf(code, status);
    const failed = host.error(kind, `Lambda: ${words}`, {
      vendorCode: code,
      ...(kind === "transient" ? { retryAfterS: 10 } : {}),
    });
    return changes && kind === "transient" ? unsure(failed) : failed;
  }

  return {
    async call<T>(method: string, path: string, body?: unknown, missing?: T) {
      await (path === LAUNCH ? limiter.turn("any", "launch") : limiter.turn("any"));
      // A launch names the time of its request: it may wait for minutes before.
      const sent = typeof body === "function" ? body() : body;
      const reply = await request(host, `${settings.apiUrl}/api/v1${path}`, settings.apiKey, method, sent);
      if (reply.status === 200) return (reply.body as { data: T }).data;
      if (reply.status === 429) limiter.pause(retryAfter(host, reply.headers));
      const { code } = ((reply.body ?? {}) as Problem).error ?? {};
      if (missing !== undefined && MISSING.has(code ?? "")) return missing;
      throw failure(reply, path === LAUNCH);
    },
  };
}
