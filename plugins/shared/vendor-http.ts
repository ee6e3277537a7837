/** Requests to a vendor's API: the key stays in a header, and no answer, or half of one, is an answer of its own. */
import type { ProviderFailure, ProviderHost } from "../../src/contract/provider.ts";

const TIMEOUT_MS = 30_000;
/** What `retry-after` is taken to be when a vendor does not say. */
const DEFAULT_RETRY_S = 30;

/** `status` 0: no complete answer came, and nobody knows whether the request was carried out. */
export interface Reply {
  status: number;
  body: unknown;
  text: string;
  headers: Headers;
}

/** Sends one request; never throws but when the server stops. */
export async function request(
  host: ProviderHost,
  url: string,
  apiKey: string,
  method: string,
  body?: unknown,
): Promise<Reply> {
  try {
    const answer = await host.fetch(url, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, accept: "application/json", "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.any([host.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? null : JSON.parse(text), text, headers: answer.headers };
  } catch (error) {
    host.signal.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    return { status: 0, body: null, text, headers: new Headers() };
  }
}

/** Seconds until the next try, from `retry-after` in either form. */
export function retryAfter(host: ProviderHost, headers: Headers): number {
  const given = headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(given.trim()) ? Number(given) : (Date.parse(given) - host.clock.now()) / 1000;
  return Number.isFinite(seconds) && seconds > 0 ? Math.ceil(Math.min(seconds, 3600)) : DEFAULT_RETRY_S;
}

const UNSURE = "unanswered";

/** The request may have been carried out, although it failed: a machine may exist. */
export const isUnsure = (error: unknown): boolean => error instanceof Error && UNSURE in error;

/** Marks a failure as one after which a machine may exist. */
export const unsure = (error: ProviderFailure): ProviderFailure => Object.assign(error, { [UNSURE]: true });
