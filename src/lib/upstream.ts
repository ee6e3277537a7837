/**
 * Talks to an engine of ours at `unix:/path` or `http://host:port`: one way to reach it, for probes and for requests.
 */
import { lstatSync } from "node:fs";

/** `fetch` arguments for `path` at `address`. */
function upstreamTarget(address: string, path: string): { url: string; unix?: string } {
  if (address.startsWith("unix:")) return { url: `http://localhost${path}`, unix: address.slice(5) };
  return { url: new URL(path, address).href };
}

/**
 * `fetch` to an engine. Redirects are never followed, nor is a link in the place of a socket: an engine has no business
 * sending us elsewhere. The engine's directory is its own to write, so this is looked at each time.
 */
export async function upstreamFetch(address: string, path: string, init: RequestInit = {}): Promise<Response> {
  const { url, unix } = upstreamTarget(address, path);
  if (unix && !lstatSync(unix).isSocket()) throw new Error(`${unix} is not a socket`);
  return fetch(url, { ...init, redirect: "error", ...(unix ? { unix } : {}) });
}

/** True for an address only this machine can reach, whose engine reads local paths. */
export function isLocalAddress(address: string): boolean {
  return address.startsWith("unix:/");
}

/** True for addresses an engine may announce: a Unix socket, or plain or secure HTTP. */
export function isEngineAddress(address: string): boolean {
  return /^unix:\/[^\0]{1,200}$/.test(address) || /^https?:\/\/[A-Za-z0-9.[\]:-]{1,255}\/?$/.test(address);
}
