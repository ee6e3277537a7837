/** The client address of a request: the peer's, or behind a trusted proxy the one that the proxy reports. */
import { isIP } from "node:net";
import type { Config } from "../config.ts";
import { addressMatcher, plainAddress } from "../lib/net/addresses.ts";

type Server = { requestIP(request: Request): { address: string } | null } | null;

/**
 * Makes the function that reads a client's address for limits and the audit log. `X-Forwarded-For` is read from its
 * right end, and only while the addresses belong to trusted proxies: a client can write the rest.
 * @returns a function that answers `local` over a Unix socket and in process
 */
export function peerReader(config: Config): (server: Server, request: Request) => string {
  const isTrusted = addressMatcher(config.trusted_proxies);
  return (server, request) => {
    const peer = server?.requestIP(request)?.address;
    if (!peer) return "local";
    let client = plainAddress(peer);
    const hops = (request.headers.get("x-forwarded-for") ?? "").split(",").map(plainAddress).filter(Boolean);
    while (isTrusted(client) && hops.length > 0) {
      const next = hops.pop() as string;
      if (isIP(next) === 0) break;
      client = next;
    }
    return client;
  };
}
