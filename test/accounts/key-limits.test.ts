/** What a key is restricted to: addresses, models, requests and tokens a minute, also for keys that it creates. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { flushRefusals } from "../../src/accounts/audit/refusals.ts";
import { type App, createApp } from "../../src/app.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { insertTuned, readyBase } from "../support/models.ts";

const clock = fakeClock(Date.now());
let app: TestApp;
let http: App;
let base = "";
let engine: TestEngine;
let tuned = "";
let trained = "";

beforeAll(async () => {
  // Behind a proxy, so that a test chooses the client's address.
  app = await createTestApp({ config: { trusted_proxies: ["127.0.0.1"] }, ctx: { clock } });
  http = createApp(app.ctx).listen({ port: 0, hostname: "127.0.0.1" }) as App;
  base = `http://127.0.0.1:${http.server?.port}`;
  engine = startEngine();
  await readyBase(app.ctx, "tiny");
  await readyBase(app.ctx, "other");
  const model = await insertTuned(app.ctx, app.orgs.a, { base: "tiny" });
  [tuned, trained] = [model.id, model.jobId];
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "tiny", name: "support bot" });
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "other", base: "other" });
});
beforeEach(() => clock.advance(61_000));
afterAll(async () => {
  await http.stop(true);
  await engine.stop();
  await app.close();
});

interface Made {
  id: string;
  key: string;
  allowed_addresses: string[] | null;
  allowed_models: string[] | null;
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
}
const make = (body: Record<string, unknown>) => app.json<Made>("POST", "/v1/keys", { body: { name: "k", ...body } });
const ask = (key: string, method: string, path: string, body?: unknown) =>
  app.request(method, path, { as: "anonymous", body, headers: { authorization: `Bearer ${key}` } });
const codeOf = async (answer: Response) => ((await answer.json()) as { error?: { code: string } }).error?.code ?? null;
const statusFrom = async (key: string, address: string) => {
  const headers = { authorization: `Bearer ${key}`, "x-forwarded-for": address };
  return (await fetch(`${base}/v1/me`, { headers })).status;
};
const messages = [{ role: "user", content: "Hi" }];
const chat = (key: string, model: string, more: object = {}) =>
  ask(key, "POST", "/v1/chat/completions", { model, messages, ...more });

describe("allowed addresses", () => {
  test.each([
    [["203.0.113.7"], "203.0.113.7", 200],
    [["203.0.113.7"], "203.0.113.8", 403],
    [["203.0.113.0/24"], "203.0.113.255", 200],
    [["203.0.113.0/24"], "203.0.114.0", 403],
    [["203.0.113.9/24"], "203.0.113.1", 200],
    [["2001:db8::/32"], "2001:db8:ffff::1", 200],
    [["2001:db8::/32"], "2001:db9::1", 403],
    [["2001:DB8::1"], "2001:db8:0:0:0:0:0:1", 200],
    [["203.0.113.0/24"], "2001:db8::1", 403],
    [["2001:db8::/32", "198.51.100.1"], "198.51.100.1", 200],
    [["203.0.113.7"], "::ffff:203.0.113.7", 200],
    [["0.0.0.0/0"], "2001:db8::1", 403],
  ] as const)("%p admits %s with %i", async (allowed_addresses, address, status) => {
    const { key } = await make({ allowed_addresses });
    expect(await statusFrom(key, address)).toBe(status);
  });

  test("a client cannot choose its address, and the refusal is in the audit log once a minute", async () => {
    const { key, id } = await make({ allowed_addresses: ["203.0.113.7"] });
    expect(await statusFrom(key, "203.0.113.7, 198.51.100.9")).toBe(403);
    const refused = await fetch(`${base}/v1/models`, {
      headers: { authorization: `Bearer ${key}`, "x-forwarded-for": "198.51.100.9" },
    });
    expect(await refused.json()).toMatchObject({
      error: {
        type: "permission_error",
        code: "key_address_not_allowed",
        message:
          "This API key may not be used from 198.51.100.9. Its owner can allow the address in Settings > API keys.",
      },
    });
    await flushRefusals(app.ctx);
    const { data } = await app.json<{ data: { detail: Record<string, unknown> }[] }>(
      "GET",
      "/v1/admin/audit?action=access.denied",
    );
    const mine = data.map(({ detail }) => detail).filter((detail) => detail.key === id);
    expect(mine).toEqual([
      expect.objectContaining({ reason: "key_address_not_allowed", address: "198.51.100.9", repeated: 1 }),
      expect.objectContaining({ reason: "key_address_not_allowed", address: "198.51.100.9" }),
    ]);
  });

  test.each([
    "203.0.113",
    "203.0.113.0/33",
    "2001:db8::/129",
    "10.0.0.0/-1",
    "fe80::1%eth0",
    "example.com",
    "1.2.3.4/8/8",
    "",
  ])("%p is neither an address nor a network", async (entry) => {
    const answer = await app.request("POST", "/v1/keys", { body: { name: "k", allowed_addresses: [entry] } });
    expect([answer.status, ((await answer.json()) as { error: { param: string } }).error.param]).toEqual([
      400,
      "allowed_addresses.0",
    ]);
  });
});

describe("allowed models", () => {
  const listed = async (key: string) =>
    ((await (await ask(key, "GET", "/v1/models")).json()) as { data: { id: string }[] }).data.map(({ id }) => id);

  test.each([
    ["its id", () => "tiny", () => ["tiny"]],
    ["the name of its deployment", () => "support bot", () => ["tiny"]],
    ["a fine-tuned model", () => tuned, () => [tuned]],
  ])("%s names the one model that is listed", async (_, name, models) => {
    const { key } = await make({ allowed_models: [name()] });
    expect(await listed(key)).toEqual(models());
  });

  test("hold on every route that uses a model", async () => {
    const { key } = await make({ allowed_models: ["tiny"] });
    // The engine of the other model is known by now: the key is checked all the same.
    expect((await chat(app.keys.admin, "other")).status).toBe(200);
    const requests: [string, unknown][] = [
      ["/v1/chat/completions", { model: "other", messages }],
      ["/v1/chat/completions", { model: "other", messages, stream: true }],
      ["/v1/completions", { model: "other", prompt: "Hi" }],
      ["/v1/embeddings", { model: "other", input: "Hi" }],
      ["/v1/responses", { model: "other", input: "Hi" }],
      ["/v1/responses", { model: "other", input: "Hi", background: true }],
      ["/v1/evaluations", { model: "other", dataset: "none" }],
      ["/v1/evaluations", { job: trained }],
      ["/v1/deployments", { model: "other" }],
      ["/v1/fine_tuning/alpha/graders/validate", { grader: grader("other") }],
    ];
    for (const [path, body] of requests) {
      const answer = await ask(key, "POST", path, body);
      expect([path, answer.status, await codeOf(answer)]).toEqual([path, 403, "model_not_allowed"]);
    }
    expect((await ask(key, "GET", "/v1/models/other")).status).toBe(403);
    expect((await ask(key, "GET", "/v1/models/tiny")).status).toBe(200);
    for (const [path, body] of requests.slice(0, 5))
      expect([path, (await ask(key, "POST", path, { ...(body as object), model: "tiny" })).status]).toEqual([
        path,
        200,
      ]);
  });

  const grader = (model: string) => ({
    type: "score_model",
    name: "judge",
    model,
    input: [{ role: "user", content: "{{sample.output_text}}" }],
  });

  test("a refusal has the shape of OpenAI's and says what the key may use", async () => {
    const { key } = await make({ allowed_models: ["support bot", tuned] });
    const answer = await chat(key, "other");
    expect(await answer.json()).toEqual({
      error: {
        type: "permission_error",
        code: "model_not_allowed",
        param: "model",
        message: `This API key may not use the model other. It may use: support bot, ${tuned}. Its owner can change that in Settings > API keys.`,
      },
    });
  });

  test("a name that is none is refused when the key is made", async () => {
    const answer = await app.request("POST", "/v1/keys", { body: { name: "k", allowed_models: ["tiny", "tyni"] } });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: "unknown_model", param: "allowed_models.1" } });
  });
});

describe("rates", () => {
  test("requests a minute of the key are answered as those of the installation", async () => {
    const { key } = await make({ requests_per_minute: 2 });
    const seen = [];
    for (let n = 0; n < 3; n++) {
      const answer = await ask(key, "GET", "/v1/me");
      seen.push([
        answer.status,
        answer.headers.get("x-ratelimit-remaining-requests"),
        answer.headers.get("retry-after"),
      ]);
    }
    expect(seen).toEqual([
      [200, "1", null],
      [200, "0", null],
      [429, "0", "30"],
    ]);
    clock.advance(30_000);
    expect((await ask(key, "GET", "/v1/me")).status).toBe(200);
  });

  test.each([
    [5, 3, "3"],
    [2, 3, "2"],
    [2, null, "2"],
  ])("an installation with %p and a key with %p allow %s a minute", async (installed, own, limit) => {
    const limited = await createTestApp({ config: { requests_per_minute: installed } });
    const { key } = await limited.json<Made>("POST", "/v1/keys", { body: { name: "k", requests_per_minute: own } });
    const headers = { authorization: `Bearer ${key}` };
    const answer = await limited.request("GET", "/v1/me", { as: "anonymous", headers });
    expect(answer.headers.get("x-ratelimit-limit-requests")).toBe(limit);
    await limited.close();
  });

  test("tokens a minute count prompts and answers, and say when more are left", async () => {
    // The engine counts 7 tokens for a prompt and 4 for its answer.
    const { key } = await make({ tokens_per_minute: 30 });
    const seen = [];
    for (let n = 0; n < 4; n++) {
      const answer = await chat(key, "tiny", n === 1 ? { stream: true } : {});
      await answer.text();
      seen.push([
        answer.status,
        answer.headers.get("x-ratelimit-limit-tokens"),
        answer.headers.get("x-ratelimit-remaining-tokens"),
        answer.headers.get("retry-after"),
      ]);
    }
    expect(seen).toEqual([
      [200, "30", "30", null],
      [200, "30", "19", null],
      [200, "30", "8", null],
      // 33 of 30 are used: one more is there after 8 s.
      [429, "30", "0", "8"],
    ]);
    const refused = await chat(key, "tiny");
    expect(await refused.json()).toMatchObject({
      error: {
        code: "rate_limit_exceeded",
        message: "This key may use 30 tokens a minute. Try again in 8s.",
      },
    });
    expect((await ask(key, "GET", "/v1/me")).status).toBe(200);
    clock.advance(8_000);
    expect((await chat(key, "tiny")).status).toBe(200);
  });

  test("requests at the same time do not spend the same tokens", async () => {
    const { key } = await make({ tokens_per_minute: 30 });
    const release = Promise.withResolvers<void>();
    engine.instead = async () => {
      await release.promise;
      engine.instead = null;
      return Response.json({ choices: [], usage: { prompt_tokens: 2, completion_tokens: 3 } });
    };
    const first = chat(key, "tiny", { max_tokens: 40 });
    while (engine.instead !== null && engine.requests.at(-1)?.body.max_tokens !== 40) await Bun.sleep(1);
    expect((await chat(key, "tiny")).status).toBe(429);
    release.resolve();
    await first;
    // What was counted too much is given back: 5 tokens were used.
    const answer = await chat(key, "tiny");
    expect([answer.status, answer.headers.get("x-ratelimit-remaining-tokens")]).toEqual([200, "25"]);
  });
});

describe("a key that a key creates", () => {
  const LIMITS = {
    allowed_addresses: ["127.0.0.0/8", "2001:db8::/32"],
    allowed_models: ["tiny"],
    requests_per_minute: 10,
    tokens_per_minute: 100,
  };

  test("has the restrictions of its creator", async () => {
    const parent = await make(LIMITS);
    expect(await (await ask(parent.key, "POST", "/v1/keys", { name: "c" })).json()).toMatchObject(LIMITS);
  });

  test.each([
    ["allowed_addresses", ["127.0.0.1", "10.0.0.1"]],
    ["allowed_addresses", ["126.0.0.0/7"]],
    ["allowed_addresses", null],
    ["allowed_models", ["tiny", "other"]],
    ["allowed_models", null],
    ["requests_per_minute", 11],
    ["requests_per_minute", null],
    ["tokens_per_minute", 101],
    ["tokens_per_minute", null],
  ])("has not more: %s %p", async (field, value) => {
    const parent = await make(LIMITS);
    const answer = await ask(parent.key, "POST", "/v1/keys", { name: "c", [field]: value });
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ error: { code: "exceeds_key", param: field } });
  });

  test.each([
    ["allowed_addresses", ["127.0.0.1", "2001:db8:1::/48"]],
    ["requests_per_minute", 9],
    ["tokens_per_minute", 1],
  ])("may have less: %s %p", async (field, value) => {
    const parent = await make(LIMITS);
    const child = await ask(parent.key, "POST", "/v1/keys", { name: "c", [field]: value });
    expect(await child.json()).toMatchObject({ [field]: value });
  });

  test("shares the rate of its creator, and follows when that is restricted further", async () => {
    const parent = await make({ requests_per_minute: 3 });
    const child = (await (await ask(parent.key, "POST", "/v1/keys", { name: "c" })).json()) as Made;
    const statuses = [];
    for (const key of [child.key, child.key, child.key, parent.key])
      statuses.push((await ask(key, "GET", "/v1/me")).status);
    // Its own creation was the first of three.
    expect(statuses).toEqual([200, 200, 429, 429]);
    clock.advance(60_000);
    await app.json("POST", `/v1/keys/${parent.id}`, { body: { allowed_addresses: ["203.0.113.7"] } });
    expect(await codeOf(await ask(child.key, "GET", "/v1/me"))).toBe("key_address_not_allowed");
  });

  test("no key changes its own restrictions or those of others, and only owners and managers do", async () => {
    const own = await make({ allowed_models: ["tiny"] });
    for (const id of [own.id, app.keyIds.admin, app.keyIds.member])
      expect(await codeOf(await ask(own.key, "POST", `/v1/keys/${id}`, { allowed_models: null }))).toBe(
        "key_changes_others",
      );
    const child = (await (await ask(own.key, "POST", "/v1/keys", { name: "c" })).json()) as Made;
    expect(await codeOf(await ask(own.key, "POST", `/v1/keys/${child.id}`, { allowed_models: null }))).toBe(
      "exceeds_key",
    );
    expect((await ask(own.key, "POST", `/v1/keys/${child.id}`, { name: "d" })).status).toBe(200);
    expect(await codeOf(await ask(app.keys.member, "POST", `/v1/keys/${own.id}`, { name: "x" }))).toBe("key_not_found");
  });
});

test("restrictions change from the next request on; what is not named stays", async () => {
  const { id, key } = await make({ allowed_models: ["tiny"], tokens_per_minute: 50 });
  expect((await ask(key, "GET", "/v1/models/other")).status).toBe(403);
  const changed = await app.json<Made>("POST", `/v1/keys/${id}`, { body: { allowed_models: null, name: "free" } });
  expect(changed).toMatchObject({ name: "free", allowed_models: null, tokens_per_minute: 50 });
  expect((await ask(key, "GET", "/v1/models/other")).status).toBe(200);
  const { data } = await app.json<{ data: { detail: object }[] }>(
    "GET",
    `/v1/admin/audit?action=key.change&target=${id}`,
  );
  expect(data.map(({ detail }) => detail)).toEqual([{ name: "free", tokens_per_minute: 50, key: app.keyIds.admin }]);
});
