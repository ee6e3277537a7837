/** The address a request came from: the peer's own, or behind a trusted proxy the one the proxy vouches for. */
import { BlockList, isIP } from "node:net";
import type { Config } from "../config.ts";

const lists = new WeakMap<Config, BlockList>();

/** IPv4 addresses also come written as IPv6 (`::ffff:10.0.0.1`). */
const plain = (address: string) => address.trim().replace(/^::ffff:(?=\d+\.)/i, "");

function trustedOf(config: Config): BlockList {
  let list = lists.get(config);
  if (!list) {
    list = new BlockList();
    for (const entry of config.trusted_proxies) {
      const [address = "", bits] = entry.split("/");
      const family = isIP(address) === 6 ? "ipv6" : "ipv4";
      if (bits === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(bits), family);
    }
    lists.set(config, list);
  }
  return list;
}

/**
 * The client's address for limits and the audit log. `X-Forwarded-For` is read from its right end, and only as far as
 * the addresses are those of trusted proxies: anybody can write the rest.
 * @returns `local` over a Unix socket and in process
 */
export function peerOf(
  config: Config,
  server: { requestIP(request: Request): { address: string } | null } | null,
  request: Request,
): string {
  const peer = server?.requestIP(request)?.address;
  if (!peer) return "local";
  const trusted = trustedOf(config);
  const isTrusted = (address: string) => {
    const kind = isIP(address);
    return kind !== 0 && trusted.check(address, kind === 6 ? "ipv6" : "ipv4");
  };
  let client = plain(peer);
  const hops = (request.headers.get("x-forwarded-for") ?? "").split(",").map(plain).filter(Boolean);
  while (isTrusted(client) && hops.length > 0) {
    const next = hops.pop() as string;
    if (isIP(next) === 0) break;
    client = next;
  }
  return client;
}
