/** Whose address a request counts as, with proxies in front and with people who pretend to be behind one. */
import { expect, test } from "bun:test";
import { loadConfig } from "../../src/config.ts";
import { peerReader } from "../../src/http/peer.ts";

const PROXIES = "127.0.0.1, 10.0.0.0/8, fd00::/8";

const cases: [name: string, trusted: string, peer: string | null, forwarded: string | null, client: string][] = [
  ["nobody in front", PROXIES, "203.0.113.9", null, "203.0.113.9"],
  ["a stranger who claims to be somebody else", PROXIES, "203.0.113.9", "198.51.100.1", "203.0.113.9"],
  ["no proxy trusted: the header means nothing", "", "127.0.0.1", "198.51.100.1", "127.0.0.1"],
  ["one proxy", PROXIES, "127.0.0.1", "198.51.100.1", "198.51.100.1"],
  ["two proxies", PROXIES, "127.0.0.1", "198.51.100.1, 10.2.3.4", "198.51.100.1"],
  ["a client that writes addresses before its own", PROXIES, "127.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"],
  ["IPv4 written as IPv6", PROXIES, "::ffff:10.0.0.7", "::ffff:198.51.100.1", "198.51.100.1"],
  ["IPv6", PROXIES, "fd00::1", "2001:db8::5", "2001:db8::5"],
  ["a header of nonsense", PROXIES, "127.0.0.1", "unknown, \u0000", "127.0.0.1"],
  ["only proxies", PROXIES, "127.0.0.1", "10.0.0.2", "10.0.0.2"],
  ["a Unix socket", PROXIES, null, "198.51.100.1", "local"],
];

test.each(cases)("%s", (_, trusted, peer, forwarded, client) => {
  const config = loadConfig({ data_dir: "/nowhere", trusted_proxies: trusted }, {});
  const headers: Record<string, string> =
    forwarded === null ? {} : { "x-forwarded-for": forwarded.replace("\u0000", "") };
  const request = new Request("http://localhost/", { headers });
  const server = { requestIP: () => (peer === null ? null : { address: peer }) };
  expect(peerReader(config)(server, request)).toBe(client);
});

test("a proxy that is not an address is refused at the start, by the name of the setting", () => {
  expect(() => loadConfig({ data_dir: "/nowhere", trusted_proxies: "my-proxy" }, {})).toThrow("trusted_proxies");
});
