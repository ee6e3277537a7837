/** API keys over HTTP: shown once, revoked at once, bounded in use, and nothing else taken for one. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { flushKeyUse } from "../../src/accounts/keys/cache.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";

let app: TestApp;
let clock: FakeClock;
beforeEach(async () => {
  clock = fakeClock(Date.now());
  app = await createTestApp({ ctx: { clock } });
});
afterEach(() => app.close());

const me = (headers: Record<string, string>) => app.request("GET", "/v1/me", { as: "anonymous", headers });

describe("API keys", () => {
  test("the secret is shown once and kept nowhere", async () => {
    const made = await app.json<{ id: string; key: string }>("POST", "/v1/keys", { body: { name: "laptop" } });
    expect(made.key).toMatch(/^ftl-[0-9a-z]{32}$/);
    expect((await me({ authorization: `Bearer ${made.key}` })).status).toBe(200);
    const list = await (await app.request("GET", "/v1/keys")).text();
    expect(list).toContain(made.id);
    expect(list).not.toContain(made.key);
    const files = await Promise.all(
      ["lab.db", "lab.db-wal"].map((name) => Bun.file(join(app.dir, name)).arrayBuffer()),
    );
    const stored = files.map((file) => Buffer.from(file).toString("latin1")).join();
    expect(stored).toContain(made.id);
    expect(stored).not.toContain(made.key.slice(8));
  });

  test("a revoked key stops with the next request, though it was just used", async () => {
    const made = await app.json<{ id: string; key: string }>("POST", "/v1/keys", { body: { name: "short-lived" } });
    const headers = { authorization: `Bearer ${made.key}` };
    expect((await me(headers)).status).toBe(200);
    expect(await app.json("DELETE", `/v1/keys/${made.id}`)).toMatchObject({ deleted: true });
    expect((await me(headers)).status).toBe(401);
  });

  test("a key that expires stops then", async () => {
    const made = await app.json<{ key: string }>("POST", "/v1/keys", { body: { name: "week", expires_in_days: 7 } });
    const headers = { authorization: `Bearer ${made.key}` };
    clock.advance(6 * 86_400_000);
    expect((await me(headers)).status).toBe(200);
    clock.advance(2 * 86_400_000);
    expect((await me(headers)).status).toBe(401);
  });

  test("the time of last use is written afterwards, in batches", async () => {
    await app.request("GET", "/v1/me", { as: "member" });
    await flushKeyUse(app.ctx);
    const list = await app.json<{ data: { id: string; last_used_at: number | null }[] }>("GET", "/v1/keys");
    const used = list.data.find((key) => key.id === app.keyIds.member)?.last_used_at;
    expect(used).toBe(Math.floor(clock.now() / 1000));
  });

  test("members see and revoke their own keys only", async () => {
    const list = await app.json<{ data: { id: string }[] }>("GET", "/v1/keys", { as: "member" });
    expect(list.data.map((key) => key.id)).toEqual([app.keyIds.member]);
    expect((await app.request("DELETE", `/v1/keys/${app.keyIds.admin}`, { as: "member" })).status).toBe(404);
    expect((await app.request("DELETE", `/v1/keys/${app.keyIds.admin}`, { as: "otherAdmin" })).status).toBe(404);
  });

  test("pages of keys are complete and without doubles", async () => {
    for (let i = 0; i < 7; i++) await app.json("POST", "/v1/keys", { body: { name: `k${i}` } });
    const seen: string[] = [];
    for (let after = ""; ; ) {
      const page = await app.json<{ data: { id: string }[]; last_id: string; has_more: boolean }>(
        "GET",
        `/v1/keys?limit=2${after && `&after=${after}`}`,
      );
      seen.push(...page.data.map((key) => key.id));
      if (!page.has_more) break;
      after = page.last_id;
    }
    expect(seen.length).toBe(9);
    expect(new Set(seen).size).toBe(9);
  });

  const HOSTILE = [
    "' OR '1'='1",
    "ftl-' OR 1=1 --",
    'ftl-"; DROP TABLE api_key; --',
    "ftl-00000000000000000000000000000000",
    `ftl-${"a".repeat(100_000)}`,
    "ftl-\u0000",
    "%27%20OR%201%3D1",
    "null",
    "undefined",
    "[object Object]",
    "../../etc/passwd",
    "ftl-{{7*7}}",
  ];
  test("whatever is sent as a key that is none is answered 401, alike", async () => {
    const answers = new Set<string>();
    for (const key of HOSTILE) {
      const answer = await me({ authorization: `Bearer ${encodeURI(key)}` });
      expect(answer.status).toBe(401);
      answers.add(await answer.text());
    }
    for (const header of [
      "",
      "Bearer",
      "Bearer ",
      `Basic ${btoa(`x:${app.keys.admin}`)}`,
      app.keys.admin,
      `Token ${app.keys.admin}`,
    ])
      expect((await me({ authorization: header })).status).toBe(401);
    expect(answers.size).toBe(1);
  });

  test("a wrong key is not saved by a good cookie", async () => {
    const form = { email: app.emails.admin, password: PASSWORD };
    const answer = await app.request("POST", "/login", { as: "anonymous", form });
    const cookie = answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    expect((await me({ cookie })).status).toBe(200);
    expect((await me({ cookie, authorization: "Bearer ftl-wrong" })).status).toBe(401);
  });
});
