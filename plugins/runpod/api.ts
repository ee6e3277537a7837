/** RunPod's two APIs: one limiter for the key, and errors by the kinds of the contract with RunPod's own words. */
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../src/contract/provider.ts";
import type { Limiter } from "../shared/limiter.ts";
import { type Reply, request, retryAfter, unsure } from "../shared/vendor-http.ts";
import type { Settings } from "./settings.ts";

export interface Api {
  /** The answer of REST v2. `missing` is returned for 404. Throws failures of the contract. */
  rest<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown, missing?: T): Promise<T>;
  /** The data of a GraphQL answer. */
  graphql<T>(query: string, variables: Record<string, unknown>): Promise<T>;
  /** Milliseconds that RunPod's clock is ahead of ours, from its last answer; 0 for less than a minute. */
  skewMs(): number;
}

/**
 * RunPod answers 400 for a broken rule and for no capacity alike, and GraphQL answers 200 with errors: only the text
 * says which. The first match wins.
 */
const TEXTS: readonly [RegExp, ProviderErrorKind, string | null][] = [
  [/balance|insufficient funds|add credits?|payment/i, "quota", "balance"],
  [/spend limit|quota|maximum number|limit (has been )?reached|reached (its|your)/i, "quota", null],
  [
    /no longer any instances|no (available )?(instances|gpus?|machines|resources)|capacity|out of stock|not enough free/i,
    "no_capacity",
    null,
  ],
  [/bid is (below|lower|too low)|minimum bid|outbid/i, "no_capacity", "price_raised"],
  [/not authenticated|unauthor|invalid (api )?key|invalid authorization/i, "auth", null],
  [/rate limit|too many requests/i, "rate_limited", null],
  [/internal server error|something went wrong|timed? ?out|try again later/i, "transient", null],
];

interface Problem {
  title?: string;
  detail?: string;
  errors?: unknown[];
}

const wordsOf = ({ body, text }: Reply) => {
  const { title, detail, errors } = (body ?? {}) as Problem;
  const more = errors ? ` ${JSON.stringify(errors)}` : "";
  return `${detail ?? title ?? text}${more}`.replace(/\s+/g, " ").trim().slice(0, 400);
};

/** `"minute";r=0;t=20, "hour";r=12;t=60`: seconds until a used-up window opens again; 0 when none is. */
export function usedUpFor(header: string | null): number {
  const parts = (header ?? "").split(",").map((part) => [/;\s*r=(\d+)/.exec(part)?.[1], /;\s*t=(\d+)/.exec(part)?.[1]]);
  return Math.max(0, ...parts.filter(([left]) => left === "0").map(([, seconds]) => Number(seconds ?? 0)));
}

export function createApi(host: ProviderHost, settings: Settings, limiter: Limiter): Api {
  let skew = 0;

  async function send(method: string, path: string, body: unknown): Promise<Reply> {
    await limiter.turn("any");
    const reply = await request(host, settings.apiUrl + path, settings.apiKey, method, body);
    const date = Date.parse(reply.headers.get("date") ?? "");
    if (Number.isFinite(date)) skew = date - host.clock.now();
    const pause = reply.status === 429 ? retryAfter(host, reply.headers) : usedUpFor(reply.headers.get("ratelimit"));
    if (pause > 0) limiter.pause(pause);
    return reply;
  }

  /** By the words of RunPod, where the status does not say enough. */
  function byWords(words: string, otherwise: ProviderErrorKind, code: string): ProviderFailure {
    const [, kind, reason] = TEXTS.find(([pattern]) => pattern.test(words)) ?? [null, otherwise, null];
    return host.error(kind, `RunPod: ${words}`, { vendorCode: code, reason: reason ?? undefined });
  }

  function failure(reply: Reply, changes: boolean): ProviderFailure {
    const { status } = reply;
    const words = wordsOf(reply);
    const code = `${status} ${((reply.body ?? {}) as Problem).title ?? ""}`.trim();
    const make = (kind: ProviderErrorKind, message: string, more?: { retryAfterS?: number; reason?: string }) =>
      host.error(kind, message, { vendorCode: code, ...more });
    if (status === 0) {
      const lost = host.error("transient", `RunPod gave no complete answer: ${words}`, { retryAfterS: 10 });
      return changes ? unsure(lost) : lost;
    }
    if (status === 401) return make("auth", `RunPod refused the API key: ${words}`);
    if (status === 402) return make("quota", `RunPod's balance is too low: ${words}`, { reason: "balance" });
    if (status === 403) return make("auth", `The API key has no permission for this: ${words}`);
    if (status === 429)
      return make("rate_limited", "RunPod's rate limit for this API key is used up.", {
        retryAfterS: retryAfter(host, reply.headers),
      });
    if (status >= 500) {
      const failed = make("transient", `RunPod failed: ${words}`, { retryAfterS: 10 });
      return changes ? unsure(failed) : failed;
    }
    return status === 400 ? byWords(words, "invalid", code) : make("invalid", `RunPod refused the request: ${words}`);
  }

  return {
    skewMs: () => (Math.abs(skew) < 60_000 ? 0 : skew),

    async rest<T>(method: string, path: string, body?: unknown, missing?: T) {
      const reply = await send(method, path, body);
      if (reply.status === 404 && missing !== undefined) return missing;
      if (reply.status >= 200 && reply.status < 300) return reply.body as T;
      throw failure(reply, method === "POST");
    },

    async graphql<T>(query: string, variables: Record<string, unknown>) {
      const reply = await send("POST", "/graphql", { query, variables });
      const changes = query.trimStart().startsWith("mutation");
      if (reply.status !== 200) throw failure(reply, changes);
      const { data, errors } = reply.body as {
        data?: T;
        errors?: { message: string; extensions?: { code?: string } }[];
      };
      const [first] = errors ?? [];
      if (first) {
        const failed = byWords(first.message, "invalid", first.extensions?.code ?? "GraphQL");
        throw changes && failed.providerErrorKind === "transient" ? unsure(failed) : failed;
      }
      return data as T;
    },
  };
}
