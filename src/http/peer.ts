/** The client address of a request: the peer's, or behind a trusted proxy the one that the proxy reports. */
import { BlockList, isIP } from "node:net";
import type { Config } from "../config.ts";

/** An address without the IPv6 prefix of mapped IPv4 addresses (`::ffff:10.0.0.1`). */
const plain = (address: string) => address.trim().replace(/^::ffff:(?=\d+\.)/i, "");

/** The trusted proxies of a configuration: addresses and subnets. */
function trustedProxies(config: Config): BlockList {
  const list = new BlockList();
  for (const entry of config.trusted_proxies) {
    const [address = "", bits] = entry.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

type Server = { requestIP(request: Request): { address: string } | null } | null;

/**
 * Makes the function that reads a client's address for limits and the audit log. `X-Forwarded-For` is read from its
 * right end, and only while the addresses belong to trusted proxies: a client can write the rest.
 * @returns a function that answers `local` over a Unix socket and in process
 */
export function peerReader(config: Config): (server: Server, request: Request) => string {
  const trusted = trustedProxies(config);
  const isTrusted = (address: string) => {
    const kind = isIP(address);
    return kind !== 0 && trusted.check(address, kind === 6 ? "ipv6" : "ipv4");
  };
  return (server, request) => {
    const peer = server?.requestIP(request)?.address;
    if (!peer) return "local";
    let client = plain(peer);
    const hops = (request.headers.get("x-forwarded-for") ?? "").split(",").map(plain).filter(Boolean);
    while (isTrusted(client) && hops.length > 0) {
      const next = hops.pop() as string;
      if (isIP(next) === 0) break;
      client = next;
    }
    return client;
  };
}
