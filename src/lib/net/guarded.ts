/**
 * Requests to addresses that users name: only to public hosts, unless a setting allows the host. The address is checked
 * when the connection is made, so that a name cannot change its meaning in between.
 */
import { lookup as resolve } from "node:dns/promises";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { BlockList, isIP } from "node:net";
import { pipeline, type Readable } from "node:stream";
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

/** Which hosts may be private and without TLS, and how a refusal reads. */
export interface Guard {
  /** `host` or `host:port`. */
  hosts: readonly string[];
  /** The setting that names these hosts. */
  setting: string;
  /** What does not happen: `not imported from`. */
  refusal: string;
}

const refused = (url: URL, guard: Guard, why: string) =>
  new AppError(
    "forbidden",
    "address_refused",
    `${url.host} is ${guard.refusal}: ${why}. An administrator can allow this host (${guard.setting}).`,
  );

/** Name of a host without the brackets of IPv6. */
const bare = (url: URL) => url.hostname.replace(/^\[|\]$/g, "");

const isFree = (url: URL, guard: Guard) => guard.hosts.includes(url.host) || guard.hosts.includes(bare(url));

/**
 * Refuses what can be refused by the text of an address alone.
 * @throws AppError `address_refused`
 */
export function requireAddress(url: URL, guard: Guard): void {
  if (url.protocol !== "https:" && url.protocol !== "http:") throw refused(url, guard, "only HTTPS addresses are");
  if (isFree(url, guard)) return;
  if (url.protocol === "http:") throw refused(url, guard, "its address is not HTTPS");
  if (isIP(bare(url)) !== 0 && !isPublicAddress(bare(url))) throw refused(url, guard, "its address is private");
}

interface Sent {
  method: "GET" | "POST" | "PUT";
  headers: Record<string, string>;
  /** A stream needs its length in `headers`. */
  body?: string | Readable;
  signal: AbortSignal;
  /** Milliseconds without a byte after which the request fails. */
  idleMs?: number;
}

/**
 * One request; redirects are answered, not followed.
 * @throws AppError `address_refused`; Error when the host cannot be reached
 */
export function guardedReply(url: URL, guard: Guard, sent: Sent): Promise<Reply> {
  requireAddress(url, guard);
  const free = isFree(url, guard);
  type Done = (error: Error | null, found?: unknown, family?: number) => void;
  const lookup = (name: string, options: { all?: boolean }, done: Done) => {
    resolve(name, { all: true }).then(
      (found) => {
        const inside = found.find(({ address }) => !free && !isPublicAddress(address));
        if (inside || found.length === 0) done(refused(url, guard, "its name leads to a private address"));
        else if (options.all) done(null, found);
        else done(null, found[0]?.address, found[0]?.family);
      },
      (error: Error) => done(error),
    );
  };
  const { promise, resolve: answer, reject } = Promise.withResolvers<Reply>();
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const { method, headers, signal, body, idleMs = IDLE_MS } = sent;
  const options = { method, headers, signal, lookup, timeout: idleMs } as object;
  const request = send(url, options, (reply: IncomingMessage) => {
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
  request.on("timeout", () => request.destroy(new Error(`no byte within ${idleMs / 1000} s`)));
  request.on("error", reject);
  if (body === undefined || typeof body === "string") request.end(body);
  // An error after the answer changes nothing: a server may answer before it has read the body.
  else pipeline(body, request, (error) => error && reject(error));
  return promise;
}
