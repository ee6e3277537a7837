/**
 * GET requests to addresses that users name: only to public hosts, unless a setting allows the host. The address is
 * checked when the connection is made, so that a name cannot change its meaning in between.
 */
import { lookup as resolve } from "node:dns/promises";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { BlockList, isIP } from "node:net";
import { AppError } from "../../errors.ts";
import type { Reply } from "./download.ts";

const IDLE_MS = 60_000;

/** Networks that are not public: RFC 6890, and IPv6 addresses that contain those of IPv4. */
const PRIVATE: [string, number][] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  ["::", 96],
  ["::ffff:0:0", 96],
  ["64:ff9b::", 32],
  ["100::", 64],
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
];

/** One list for each version: a list compares IPv4 addresses with networks of IPv6 as well. */
function blockList(version: number): BlockList {
  const list = new BlockList();
  for (const [network, bits] of PRIVATE)
    if (isIP(network) === version) list.addSubnet(network, bits, version === 4 ? "ipv4" : "ipv6");
  return list;
}

/** True for addresses of the Internet. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  return version !== 0 && !blockList(version).check(address, version === 4 ? "ipv4" : "ipv6");
}

const refused = (url: URL, why: string) =>
  new AppError(
    "forbidden",
    "address_refused",
    `${url.host} is not imported from: ${why}. An administrator can allow this host (import_hosts).`,
  );

/** Name of a host without the brackets of IPv6. */
const bare = (url: URL) => url.hostname.replace(/^\[|\]$/g, "");

/**
 * Refuses what can be refused by the text of an address alone.
 * @param allowed hosts (`host` or `host:port`) that may be private and without TLS
 * @throws AppError `address_refused`
 */
export function requireAddress(url: URL, allowed: readonly string[]): void {
  if (url.protocol !== "https:" && url.protocol !== "http:") throw refused(url, "only HTTPS addresses are");
  if (allowed.includes(url.host) || allowed.includes(bare(url))) return;
  if (url.protocol === "http:") throw refused(url, "its address is not HTTPS");
  if (isIP(bare(url)) !== 0 && !isPublicAddress(bare(url))) throw refused(url, "its address is private");
}

/**
 * One GET; redirects are answered, not followed.
 * @param allowed hosts that may be private and without TLS
 * @throws AppError `address_refused`; Error when the host cannot be reached
 */
export function guardedReply(
  url: URL,
  headers: Record<string, string>,
  allowed: readonly string[],
  signal: AbortSignal,
): Promise<Reply> {
  requireAddress(url, allowed);
  const free = allowed.includes(url.host) || allowed.includes(bare(url));
  type Done = (error: Error | null, found?: unknown, family?: number) => void;
  const lookup = (name: string, options: { all?: boolean }, done: Done) => {
    resolve(name, { all: true }).then(
      (found) => {
        const inside = found.find(({ address }) => !free && !isPublicAddress(address));
        if (inside || found.length === 0) done(refused(url, "its name leads to a private address"));
        else if (options.all) done(null, found);
        else done(null, found[0]?.address, found[0]?.family);
      },
      (error: Error) => done(error),
    );
  };
  const { promise, resolve: answer, reject } = Promise.withResolvers<Reply>();
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const request = send(url, { headers, signal, lookup, timeout: IDLE_MS } as object, (reply: IncomingMessage) => {
    answer({
      status: reply.statusCode ?? 0,
      header: (name) => {
        const value = reply.headers[name];
        return Array.isArray(value) ? (value[0] ?? null) : (value ?? null);
      },
      body: reply as AsyncIterable<Uint8Array>,
      discard: async () => {
        reply.destroy();
      },
    });
  });
  request.on("timeout", () => request.destroy(new Error("no answer within a minute")));
  request.on("error", reject);
  request.end();
  return promise;
}
