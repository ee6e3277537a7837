/** The rate limit of API keys: one count for every route, and the headers that OpenAI's clients read. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { shortDuration } from "../../src/http/limits.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { readyBase } from "../support/models.ts";

let app: TestApp;
let engine: TestEngine;
const clock = fakeClock(Date.now());

beforeAll(async () => {
  app = await createTestApp({ config: { requests_per_minute: 5 }, ctx: { clock } });
  engine = startEngine();
  await readyBase(app.ctx, "tiny");
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model: "tiny" });
});
beforeEach(() => clock.advance(60_000));
afterAll(async () => {
  await engine.stop();
  await app.close();
});

const me = (as: "admin" | "member" = "member") => app.request("GET", "/v1/me", { as });
const chat = (stream = false) =>
  app.request("POST", "/v1/chat/completions", {
    as: "member",
    body: { model: "tiny", messages: [{ role: "user", content: "Hi" }], stream },
  });
const read = async (answer: Response) => {
  await answer.text();
  const { headers } = answer;
  expect(headers.get("x-ratelimit-limit-requests")).toBe("5");
  return [
    answer.status,
    headers.get("x-ratelimit-remaining-requests"),
    headers.get("x-ratelimit-reset-requests"),
    headers.get("retry-after"),
  ];
};

describe("the rate limit of a key", () => {
  test("is one count for reads, chats and streams", async () => {
    const answers = [];
    for (const ask of [me, me, me, chat, () => chat(true), chat, me]) answers.push(await read(await ask()));
    expect(answers).toEqual([
      [200, "4", "12s", null],
      [200, "3", "24s", null],
      [200, "2", "36s", null],
      [200, "1", "48s", null],
      [200, "0", "1m0s", null],
      [429, "0", "1m0s", "12"],
      [429, "0", "1m0s", "12"],
    ]);
  });

  test("refills evenly and belongs to one key", async () => {
    for (let n = 0; n < 5; n++) expect((await me()).status).toBe(200);
    const refused = await me();
    expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([
      429,
      "rate_limit_exceeded",
    ]);
    expect((await me("admin")).status).toBe(200);
    clock.advance(12_000);
    expect((await me()).status).toBe(200);
    expect((await me()).status).toBe(429);
  });

  test("does not apply to sessions", async () => {
    const form = { email: app.emails.member, password: PASSWORD };
    const signedIn = await app.request("POST", "/login", { as: "anonymous", form });
    const cookie = signedIn.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    for (let n = 0; n < 7; n++) {
      const answer = await app.request("GET", "/v1/me", { headers: { cookie } });
      expect([answer.status, answer.headers.get("x-ratelimit-limit-requests")]).toEqual([200, null]);
    }
  });

  test("of 0 is no limit", async () => {
    const free = await createTestApp({ config: { requests_per_minute: 0 } });
    expect((await free.request("GET", "/v1/me")).headers.get("x-ratelimit-limit-requests")).toBeNull();
    await free.close();
  });
});

describe("durations in OpenAI's format", () => {
  const table: [ms: number, text: string][] = [
    [0, "0ms"],
    [20, "20ms"],
    [999.2, "999ms"],
    [999.6, "1s"],
    [1000, "1s"],
    [1500, "1.5s"],
    [1501, "1.6s"],
    [12_000.000_001, "12s"],
    [59_900, "59.9s"],
    [59_940, "1m0s"],
    [59_960, "1m0s"],
    [60_000, "1m0s"],
    [90_000, "1m30s"],
    [119_600, "2m0s"],
    [119_960, "2m0s"],
    [360_000, "6m0s"],
  ];
  for (const [ms, text] of table) test(`${ms} ms is ${text}`, () => expect(shortDuration(ms)).toBe(text));
});
