/** Connects to an inference engine at `unix:/path` or `http://host:port`, for probes and requests. */
import { lstatSync } from "node:fs";

/** `fetch` arguments for `path` at `address`. */
function upstreamTarget(address: string, path: string): { url: string; unix?: string } {
  if (address.startsWith("unix:")) return { url: `http://localhost${path}`, unix: address.slice(5) };
  return { url: new URL(path, address).href };
}

/**
 * `fetch` to an engine. Redirects are not followed, and a link in place of a socket is refused: an engine must not send
 * us elsewhere. The engine can write its directory, so this is checked each time.
 */
export async function upstreamFetch(address: string, path: string, init: RequestInit = {}): Promise<Response> {
  const { url, unix } = upstreamTarget(address, path);
  if (unix && !lstatSync(unix).isSocket()) throw new Error(`${unix} is not a socket`);
  return fetch(url, { ...init, redirect: "error", ...(unix ? { unix } : {}) });
}

/** True for an address on this machine, whose engine can read local paths. */
export function isLocalAddress(address: string): boolean {
  return address.startsWith("unix:/");
}

/** True for addresses that an engine may announce: a Unix socket, HTTP or HTTPS. */
export function isEngineAddress(address: string): boolean {
  return /^unix:\/[^\0]{1,200}$/.test(address) || /^https?:\/\/[A-Za-z0-9.[\]:-]{1,255}\/?$/.test(address);
}
