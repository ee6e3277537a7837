/** API keys over HTTP: shown once, revoked at once, bounded in use, and nothing else taken for one. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { flushRefusals } from "../../src/accounts/audit/refusals.ts";
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

  describe("with scopes", () => {
    const ask = (key: string, method: string, path: string, body?: unknown) =>
      app.request(method, path, { as: "anonymous", body, headers: { authorization: `Bearer ${key}` } });
    const keyWith = async (scopes: string[], as: "admin" | "member" = "admin") =>
      (await app.json<{ key: string }>("POST", "/v1/keys", { as, body: { name: scopes.join(), scopes } })).key;
    const codeOf = async (answer: Response) => ((await answer.json()) as { error?: { code: string } }).error?.code;
    const REQUESTS: [string, string, unknown?][] = [
      ["GET", "/v1/datasets"],
      ["POST", "/v1/fine_tuning/jobs", {}],
      ["POST", "/v1/chat/completions", {}],
      ["GET", "/v1/admin/users"],
    ];

    test.each([
      ["read", [true, false, false, false]],
      ["train", [true, true, false, false]],
      ["infer", [false, false, true, false]],
      ["admin", [true, false, false, true]],
    ] as const)("%s does what it says and nothing else", async (scope, allowed) => {
      const key = await keyWith([scope]);
      const codes = [];
      for (const [method, path, body] of REQUESTS) codes.push(await codeOf(await ask(key, method, path, body)));
      expect(codes.map((code) => code !== "insufficient_scope")).toEqual([...allowed]);
    });

    test("a refusal names the missing scope and is in the audit log", async () => {
      const key = await keyWith(["read", "infer"]);
      const answer = await ask(key, "POST", "/v1/files", {});
      await ask(key, "POST", "/v1/files", {});
      expect(answer.status).toBe(403);
      expect(await answer.json()).toMatchObject({
        error: {
          type: "permission_error",
          code: "insufficient_scope",
          message:
            "This API key has the scope read, infer. To upload and change data it needs train: create a key with that scope in Settings > API keys.",
        },
      });
      await flushRefusals(app.ctx);
      const { data } = await app.json<{ data: { detail: { reason?: string } }[] }>(
        "GET",
        "/v1/admin/audit?action=access.denied",
      );
      expect(data.map(({ detail }) => detail.reason)).toContain("insufficient_scope");
    });

    test("a key never does more than its user, now and later", async () => {
      const key = await keyWith(["admin"], "member");
      expect(await codeOf(await ask(key, "GET", "/v1/admin/users"))).toBe("admin_only");
      const train = await keyWith(["train"], "member");
      await app.json("POST", `/v1/admin/users/${app.users.member}`, { body: { organization_role: "viewer" } });
      expect(await codeOf(await ask(train, "POST", "/v1/fine_tuning/jobs", {}))).toBe("permission_denied");
      expect((await ask(train, "GET", "/v1/datasets")).status).toBe(200);
    });

    test("a key creates keys with at most its own scopes", async () => {
      const key = await keyWith(["train", "admin"]);
      expect(await codeOf(await ask(key, "POST", "/v1/keys", { name: "x", scopes: ["infer"] }))).toBe(
        "scope_exceeds_key",
      );
      const child = await ask(key, "POST", "/v1/keys", { name: "x" });
      expect(await child.json()).toMatchObject({ scopes: ["train", "admin"] });
    });

    test("a key without scopes does everything, as before", async () => {
      const made = await app.json("POST", "/v1/keys", { body: { name: "all" } });
      expect(made).toMatchObject({ scopes: ["read", "train", "infer", "admin"] });
      expect((await app.request("POST", "/v1/keys", { body: { name: "none", scopes: [] } })).status).toBe(400);
    });
  });

  interface Made {
    id: string;
    key: string;
    expires_at: number | null;
    created_by_key: string | null;
  }
  const create = (body: Record<string, unknown>, key: string) =>
    app.request("POST", "/v1/keys", {
      as: "anonymous",
      body: { name: "minted", ...body },
      headers: { authorization: `Bearer ${key}` },
    });
  const created = async (body: Record<string, unknown>, key: string) =>
    (await (await create(body, key)).json()) as Made;
  const works = async (key: string) => (await me({ authorization: `Bearer ${key}` })).status === 200;
  const DAY_S = 86_400;

  test("a key lasts 90 days unless its creator says otherwise", async () => {
    const now = Math.floor(clock.now() / 1000);
    expect((await created({}, app.keys.admin)).expires_at).toBe(now + 90 * DAY_S);
    expect((await created({ expires_in_days: 7 }, app.keys.admin)).expires_at).toBe(now + 7 * DAY_S);
    expect((await created({ expires_in_days: null }, app.keys.admin)).expires_at).toBeNull();
  });

  test("a key that a key creates does not outlive it, and is revoked with it", async () => {
    const parent = await created({ expires_in_days: 1 }, app.keys.admin);
    const child = await created({}, parent.key);
    expect(child).toMatchObject({ expires_at: parent.expires_at, created_by_key: parent.id });
    for (const days of [null, 2]) {
      const answer = await create({ expires_in_days: days }, parent.key);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({
        error: { code: "key_outlives_parent", param: "expires_in_days" },
      });
    }
    const grandchild = await created({}, child.key);
    expect([await works(child.key), await works(grandchild.key)]).toEqual([true, true]);
    await app.json("DELETE", `/v1/keys/${parent.id}`);
    expect([await works(child.key), await works(grandchild.key)]).toEqual([false, false]);
  });

  test("with a longest life, no key is created beyond it", async () => {
    const own = await createTestApp({ config: { key_max_days: 30 }, ctx: { clock } });
    const status = async (days: number | null | undefined) =>
      (await own.request("POST", "/v1/keys", { body: { name: "k", expires_in_days: days } })).status;
    expect([await status(31), await status(null), await status(30), await status(undefined)]).toEqual([
      400, 400, 200, 200,
    ]);
    const { data } = await own.json<{ data: Made[] }>("GET", "/v1/keys?limit=1");
    expect(data[0]?.expires_at).toBe(Math.floor(clock.now() / 1000) + 30 * DAY_S);
    await own.close();
  });

  test("a changed password keeps this browser and the keys, unless the form says to revoke them", async () => {
    const signIn = async (password: string) => {
      const form = { email: app.emails.member, password };
      const answer = await app.request("POST", "/login", { as: "anonymous", form });
      return answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    };
    const [cookie, other] = [await signIn(PASSWORD), await signIn(PASSWORD)];
    const change = (form: Record<string, string>) =>
      app.request("POST", "/settings/password", { as: "anonymous", form, headers: { cookie } });
    expect((await change({ current: "wrong", password: "river-otter-plays-chess" })).status).toBe(403);
    expect((await change({ current: PASSWORD, password: "river-otter-plays-chess" })).status).toBe(303);
    expect([(await me({ cookie })).status, (await me({ cookie: other })).status]).toEqual([200, 401]);
    expect(await works(app.keys.member)).toBe(true);
    const again = { current: "river-otter-plays-chess", password: "river-otter-plays-go", keys: "yes" };
    expect((await change(again)).status).toBe(303);
    expect([await works(app.keys.member), await works(app.keys.admin)]).toEqual([false, true]);
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

  describe("rotated", () => {
    const rotate = (id: string, overlap_seconds: number, key = app.keys.admin) =>
      app.request("POST", `/v1/keys/${id}/rotate`, {
        as: "anonymous",
        body: { overlap_seconds },
        headers: { authorization: `Bearer ${key}` },
      });
    const rotated = async (id: string, overlap: number) => (await (await rotate(id, overlap)).json()) as Made;
    const codeOf = async (answer: Response) => ((await answer.json()) as { error?: { code: string } }).error?.code;

    test("both secrets work until the overlap is over, as one key with its restrictions", async () => {
      const limits = {
        scopes: ["read"],
        allowed_models: null,
        allowed_addresses: ["127.0.0.1"],
        requests_per_minute: 900,
      };
      const old = await created({ ...limits, expires_in_days: 30 }, app.keys.admin);
      const fresh = await rotated(old.id, 3600);
      const until = Math.floor(clock.now() / 1000) + 3600;
      expect(fresh).toMatchObject({
        ...limits,
        id: old.id,
        expires_at: old.expires_at,
        rotated_at: Math.floor(clock.now() / 1000),
        previous_secret: { prefix: old.key.slice(0, 8), expires_at: until },
      });
      expect(fresh.key).not.toBe(old.key);
      expect([await works(old.key), await works(fresh.key)]).toEqual([true, true]);
      clock.advance(3600_000);
      expect([await works(old.key), await works(fresh.key)]).toEqual([false, true]);
      expect(await app.json("GET", `/v1/keys/${old.id}`)).toMatchObject({ previous_secret: null });
      const { data } = await app.json<{ data: { action: string; detail: object }[] }>(
        "GET",
        `/v1/admin/audit?target=${old.id}`,
      );
      expect(data.map(({ action, detail }) => [action, detail])).toEqual([
        ["key.refused", expect.objectContaining({ reason: "rotated" })],
        ["key.rotate", expect.objectContaining({ name: "minted", overlap_seconds: 3600 })],
        [
          "key.create",
          expect.objectContaining({ scopes: ["read"], allowed_addresses: ["127.0.0.1"], requests_per_minute: 900 }),
        ],
      ]);
    });

    test("it does not outlive what it was, nor does the old secret", async () => {
      const old = await created({ expires_in_days: 1 }, app.keys.admin);
      const fresh = await rotated(old.id, 7 * DAY_S);
      expect(fresh).toMatchObject({
        expires_at: old.expires_at,
        previous_secret: { expires_at: old.expires_at },
      });
      clock.advance(DAY_S * 1000);
      expect([await works(old.key), await works(fresh.key)]).toEqual([false, false]);
      expect(await codeOf(await rotate(old.id, 0))).toBe("key_expired");
    });

    test("an overlap of 0 ends the old secret at once; a running one is ended by hand or by 0", async () => {
      const old = await created({}, app.keys.admin);
      const second = await rotated(old.id, 60);
      expect(await codeOf(await rotate(old.id, 60))).toBe("overlap_running");
      await app.json("DELETE", `/v1/keys/${old.id}/previous_secret`);
      expect([await works(old.key), await works(second.key)]).toEqual([false, true]);
      const third = await rotated(old.id, 60);
      const fourth = await rotated(old.id, 0);
      expect([await works(second.key), await works(third.key), await works(fourth.key)]).toEqual([false, false, true]);
      for (const overlap of [-1, 7 * DAY_S + 1, 1.5]) expect((await rotate(old.id, overlap)).status).toBe(400);
    });

    test("only its owner rotates a key, and a key only itself and what it created", async () => {
      const own = await created({}, app.keys.admin);
      const child = await created({}, own.key);
      expect((await rotate(own.id, 0, app.keys.member)).status).toBe(404);
      // Whoever manages the keys of others sees no secret of theirs.
      expect((await rotate(app.keyIds.member, 0)).status).toBe(404);
      expect(await codeOf(await rotate(app.keyIds.admin, 0, own.key))).toBe("key_changes_others");
      expect(await codeOf(await rotate(own.id, 0, child.key))).toBe("key_changes_others");
      expect((await rotate(child.id, 0, own.key)).status).toBe(200);
      expect((await rotate(own.id, 0, own.key)).status).toBe(200);
    });

    test("the owner is notified, and a key revoked with both secrets", async () => {
      const events: string[] = [];
      app.ctx.bus.on("security.event", ({ kind, userId }) => events.push(`${kind} ${userId}`));
      const old = await created({}, app.keys.admin);
      const fresh = await rotated(old.id, 60);
      expect(events).toEqual([`key.created ${app.users.admin}`, `key.rotated ${app.users.admin}`]);
      await app.json("DELETE", `/v1/keys/${old.id}`);
      expect([await works(old.key), await works(fresh.key)]).toEqual([false, false]);
    });
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
