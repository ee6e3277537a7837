/** What attackers do is recorded and limited, without locking the owner of an account out. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { flushRefusals } from "../../src/accounts/audit/refusals.ts";
import { type App, createApp, createCtx, type OpenCtx } from "../../src/app.ts";
import type { BusEvents } from "../../src/lib/bus.ts";
import { networkOf } from "../../src/lib/net/network.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";

const clock = fakeClock(Date.now());
const events: BusEvents["security.event"][] = [];
let t: TestApp;
let http: App;
let base = "";

function listen(ctx: OpenCtx): void {
  http = createApp(ctx).listen({ port: 0, hostname: "127.0.0.1" }) as App;
  base = `http://127.0.0.1:${http.server?.port}`;
}
beforeAll(async () => {
  // Behind a proxy, so that a test chooses the client's address.
  t = await createTestApp({ config: { trusted_proxies: ["127.0.0.1"] }, ctx: { clock } });
  t.ctx.bus.on("security.event", (event) => events.push(event));
  listen(t.ctx);
});
afterAll(async () => {
  await http?.stop(true);
  await t?.close();
});

interface Row {
  action: string;
  actor: string;
  target: string;
  detail: Record<string, unknown>;
}
const entries = async (query: string) =>
  (await t.json<{ data: Row[] }>("GET", `/v1/admin/audit?limit=100&${query}`)).data;
const nextMinute = () => clock.advance(61_000);

interface From {
  address: string;
  cookie?: string;
}
const login = (email: string, password: string, from: From) =>
  fetch(`${base}/login`, {
    method: "POST",
    redirect: "manual",
    headers: {
      origin: base,
      "user-agent": "Attacker/1.0",
      "x-forwarded-for": from.address,
      ...(from.cookie ? { cookie: from.cookie } : {}),
    },
    body: new URLSearchParams({ email, password, next: "/" }),
  });
const statusOf = async (email: string, password: string, from: From) => (await login(email, password, from)).status;
const guess = async (email: string, times: number, addressOf: (n: number) => string) => {
  const statuses: number[] = [];
  for (let n = 0; n < times; n++) statuses.push(await statusOf(email, `guess ${n}`, { address: addressOf(n) }));
  return statuses;
};
const withKey = (method: string, path: string, key: string, address: string) =>
  fetch(base + path, {
    method,
    headers: { authorization: `Bearer ${key}`, "x-forwarded-for": address, "user-agent": "Attacker/1.0" },
  });

test.each([
  ["203.0.113.7", "203.0.113.7"],
  ["local", "local"],
  ["2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::", "2001:db8:1:2::/64"],
  ["2001:0DB8:0001:0002:0003:0004:0005:0006", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["64:ff9b::192.0.2.33", "64:ff9b:0:0::/64"],
])("the network of %s is %s", (address, network) => {
  expect(networkOf(address)).toBe(network);
});

test("a stranger who guesses is stopped, and the owner signs in from another address", async () => {
  const { member: email } = t.emails;
  events.length = 0;
  expect(await guess(email, 9, () => "198.51.100.9")).toEqual([...Array(8).fill(401), 429]);
  expect(await statusOf(email, PASSWORD, { address: "198.51.100.9" })).toBe(429);
  expect(events).toEqual([
    {
      org: t.orgs.a,
      userId: t.users.member,
      kind: "account.locked",
      ip: "198.51.100.9",
      userAgent: "Attacker/1.0",
      at: clock.now(),
    },
  ]);
  for (let n = 0; n < 44; n++) expect(await statusOf(email, "guess", { address: `198.51.101.${n}` })).toBe(401);
  expect(await statusOf(email, PASSWORD, { address: "192.0.2.1" })).toBe(303);
}, 30_000);

test("failures and the lock-out are recorded with address and browser: one entry a minute, then a count", async () => {
  nextMinute();
  const { other: email } = t.emails;
  await guess(email, 10, () => "198.51.100.20");
  await flushRefusals(t.ctx);
  const of = async (action: string) => (await entriesOfOther(`action=${action}&target=${t.users.other}`)).reverse();
  const source = { address: "198.51.100.20", user_agent: "Attacker/1.0", email };
  expect((await of("session.fail")).map((row) => row.detail)).toEqual([
    { ...source, reason: "password" },
    { ...source, reason: "password", repeated: 7 },
  ]);
  expect((await of("session.lock")).map((row) => row.detail)).toEqual([
    { ...source, reason: "too_many_attempts" },
    { ...source, reason: "too_many_attempts", repeated: 1 },
  ]);
});
const entriesOfOther = async (query: string) =>
  (await t.json<{ data: Row[] }>("GET", `/v1/admin/audit?limit=100&${query}`, { as: "otherAdmin" })).data;

test("addresses of one IPv6 network count together", async () => {
  nextMinute();
  const statuses = await guess(t.emails.admin, 9, (n) => `2001:db8:5:6:${n}::${n}`);
  expect(statuses).toEqual([...Array(8).fill(401), 429]);
  expect(await statusOf(t.emails.admin, PASSWORD, { address: "2001:db8:5:7::1" })).toBe(303);
});

test("a browser that has signed in before is not locked out by guesses from its own address", async () => {
  const address = "192.0.2.50";
  events.length = 0;
  const first = await login(t.emails.otherAdmin, PASSWORD, { address });
  const cookie = first.headers
    .getSetCookie()
    .map((each) => each.split(";")[0] ?? "")
    .find((each) => each.startsWith("ftl-device-"));
  expect(await guess(t.emails.otherAdmin, 9, () => address)).toContain(429);
  expect(await statusOf(t.emails.otherAdmin, PASSWORD, { address, cookie })).toBe(303);
  expect(await statusOf(t.emails.otherAdmin, PASSWORD, { address, cookie: `${cookie}x` })).toBe(429);
  // The cookie of one account helps no other.
  expect(await guess(t.emails.admin, 9, () => address)).toContain(429);
  expect(await statusOf(t.emails.admin, PASSWORD, { address, cookie })).toBe(429);
  expect(await statusOf(t.emails.otherAdmin, PASSWORD, { address: "192.0.2.51", cookie })).toBe(303);
  expect(events.map(({ kind, userId }) => [kind, userId])).toEqual([
    ["sign_in.new_device", t.users.otherAdmin],
    ["account.locked", t.users.otherAdmin],
    ["account.locked", t.users.admin],
    ["sign_in.new_network", t.users.otherAdmin],
  ]);
});

test("refused keys and denied permissions are recorded with the account, address and browser", async () => {
  nextMinute();
  const address = "203.0.113.4";
  const made = await t.json<{ id: string; key: string }>("POST", "/v1/keys", {
    body: { name: "short", expires_in_days: 1 },
  });
  const gone = await t.json<{ id: string; key: string }>("POST", "/v1/keys", { body: { name: "gone" } });
  await t.json("DELETE", `/v1/keys/${gone.id}`);
  clock.advance(86_400_000 + 1);
  for (const key of [made.key, gone.key, "ftl-00000000000000000000000000000000"])
    for (let n = 0; n < 3; n++) expect((await withKey("GET", "/v1/me", key, address)).status).toBe(401);
  for (let n = 0; n < 3; n++)
    expect((await withKey("GET", "/v1/admin/users", t.keys.member, address)).status).toBe(403);
  await flushRefusals(t.ctx);

  const source = { address, user_agent: "Attacker/1.0" };
  const refused = (await entries("action=key.refused")).reverse();
  expect(refused).toMatchObject([
    { actor: t.users.admin, target: made.id, detail: { ...source, reason: "expired", name: "short" } },
    { actor: t.users.admin, target: gone.id, detail: { ...source, reason: "revoked", name: "gone" } },
    { actor: "anonymous", target: "none", detail: { ...source, reason: "unknown" } },
    { detail: { reason: "expired", repeated: 2 } },
    { detail: { reason: "revoked", repeated: 2 } },
    { detail: { reason: "unknown", repeated: 2 } },
  ]);
  const denied = (await entries("action=access.denied")).reverse();
  expect(denied).toMatchObject([
    {
      actor: t.users.member,
      target: "GET /v1/admin/users",
      detail: { ...source, reason: "admin_only", key: t.keyIds.member },
    },
    { actor: t.users.member, detail: { reason: "admin_only", repeated: 2 } },
  ]);
  expect(JSON.stringify(refused)).not.toContain(made.key);
});

test("the counts survive a restart of the server", async () => {
  const address = "198.51.100.77";
  await guess(t.emails.admin, 8, () => address);
  await http.stop(true);
  const { config } = t.ctx;
  await t.ctx.close();
  const again = await createCtx(config, { log: () => {}, clock });
  listen(again);
  expect(await statusOf(t.emails.admin, PASSWORD, { address })).toBe(429);
  clock.advance(15 * 60_000);
  expect(await statusOf(t.emails.admin, PASSWORD, { address })).toBe(303);
  t.ctx.close = () => again.close();
}, 30_000);
