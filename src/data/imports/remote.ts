/** Requests to places that users name, with sentences for what can go wrong. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { followRedirects, type Reply } from "../../lib/net/download.ts";
import { type Guard, guardedReply, requireAddress } from "../../lib/net/guarded.ts";

/** A file to copy. */
export interface Place {
  name: string;
  /** Where it is, for messages. */
  address: string;
  /** Bytes, when they are known before the first request. */
  size: number | null;
  /** In hex, when the place lists it. */
  sha256: string | null;
  /** A file of this machine. */
  path?: string;
  /** Requests the bytes; `headers` can ask for a part. */
  get(headers: Record<string, string>, signal: AbortSignal): Promise<Reply>;
}

/** Hosts that may be private and without TLS: those of the setting, and the hub. */
export function importGuard(ctx: Ctx): Guard {
  const hub = URL.parse(ctx.config.hub_url);
  const hosts = hub ? [...ctx.config.import_hosts, hub.host] : ctx.config.import_hosts;
  return { hosts, setting: "import_hosts", refusal: "not imported from" };
}

/** @throws AppError `offline` when this installation makes no connections of its own */
export function requireOnline(ctx: Ctx, what: string): void {
  if (!ctx.config.offline) return;
  throw new AppError(
    "unavailable",
    "offline",
    `This installation makes no connections to other servers (offline), so ${what} cannot be imported. Upload the file, or import it from a directory of the server.`,
  );
}

const unreachable = (url: URL, cause: unknown) =>
  new AppError(
    "unavailable",
    "import_unreachable",
    `${url.host} cannot be reached from this server. Check the address; without a route to it, upload the file instead.`,
    { cause },
  );

/** The error for an answer that is not the file. */
export function replyError(url: URL, status: number): AppError {
  if (status === 401 || status === 403)
    return new AppError("forbidden", "import_denied", `${url.host} denies access (${status}). Check the credentials.`);
  if (status === 404 || status === 410)
    return new AppError("not_found", "import_not_found", `${url.host} does not have this file (${status}).`);
  return new AppError("unavailable", "import_refused", `${url.host} answered ${status}. Try again later.`);
}

/**
 * GET with its redirects. Credentials in `headers` are sent to the first origin only.
 * @throws AppError `address_refused`, `import_unreachable`
 */
export async function getRemote(
  ctx: Ctx,
  start: URL,
  given: { headers?: Record<string, string>; secret?: Record<string, string>; signal: AbortSignal },
): Promise<Reply> {
  const guard = importGuard(ctx);
  requireAddress(start, guard);
  const ask = async (url: URL) => {
    const headers = { ...given.headers, ...(url.origin === start.origin ? given.secret : {}) };
    try {
      return await guardedReply(url, guard, { method: "GET", headers, signal: given.signal });
    } catch (cause) {
      if (cause instanceof AppError || given.signal.aborted) throw cause;
      throw unreachable(url, cause);
    }
  };
  return followRedirects(start, ask, (next) => {
    if (next) requireAddress(next, guard);
    else throw new AppError("unavailable", "import_refused", `${start.host} redirects without an end.`);
  });
}
