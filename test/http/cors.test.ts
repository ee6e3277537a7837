/** Pages of other sites: allowed origins call /v1 with a key; cookies never count there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";

const CHAT = "https://chat.example";
let app: TestApp;
let closed: TestApp;
beforeAll(async () => {
  app = await createTestApp({ config: { allowed_origins: [CHAT, "http://localhost:5173"], requests_per_minute: 100 } });
  closed = await createTestApp();
});
afterAll(async () => {
  await app.close();
  await closed.close();
});

const preflight = (on: TestApp, origin: string, path = "/v1/chat/completions") =>
  on.request("OPTIONS", path, {
    as: "anonymous",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,x-stainless-lang",
      "sec-fetch-site": "cross-site",
    },
  });
const allowed = (answer: Response) => answer.headers.get("access-control-allow-origin");

describe("a page of an allowed origin", () => {
  test("learns from a preflight which requests it may send", async () => {
    const answer = await preflight(app, CHAT);
    expect([answer.status, allowed(answer)]).toEqual([204, CHAT]);
    expect(answer.headers.get("access-control-allow-headers")).toBe("authorization,content-type,x-stainless-lang");
    expect(answer.headers.get("access-control-allow-methods")).toContain("POST");
    expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    expect(answer.headers.get("vary")).toBe("origin");
  });

  test("reads answers and errors to requests with a key, and their headers", async () => {
    for (const [path, status] of [
      ["/v1/me", 200],
      ["/v1/files/none", 404],
    ] as const) {
      const answer = await app.request("GET", path, { headers: { origin: CHAT, "sec-fetch-site": "cross-site" } });
      expect([answer.status, allowed(answer)]).toEqual([status, CHAT]);
      expect(answer.headers.get("access-control-expose-headers")).toContain("x-ratelimit-remaining-requests");
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
    }
    const posted = await app.request("POST", "/v1/keys", {
      body: { name: "from a page" },
      headers: { origin: "http://localhost:5173" },
    });
    expect([posted.status, allowed(posted)]).toEqual([200, "http://localhost:5173"]);
  });

  test("is nobody with a cookie", async () => {
    const signedIn = await app.request("POST", "/login", {
      as: "anonymous",
      form: { email: app.emails.member, password: PASSWORD },
    });
    const cookie = signedIn.headers
      .getSetCookie()
      .map((each) => each.split(";")[0] ?? "")
      .join("; ");
    expect((await app.request("GET", "/v1/me", { headers: { cookie } })).status).toBe(200);
    for (const method of ["GET", "POST"]) {
      const answer = await app.request(method, method === "GET" ? "/v1/me" : "/v1/keys", {
        headers: { cookie, origin: CHAT, "sec-fetch-site": "cross-site" },
        ...(method === "POST" ? { body: { name: "x" } } : {}),
      });
      expect([method, answer.status]).toEqual([method, 401]);
    }
  });

  test("has no access to pages", async () => {
    expect(allowed(await app.request("GET", "/login", { as: "anonymous", headers: { origin: CHAT } }))).toBeNull();
    expect((await preflight(app, CHAT, "/login")).status).not.toBe(204);
  });
});

test("other origins, and all origins without the setting, get no permission", async () => {
  for (const [on, origin] of [
    [app, "https://evil.example"],
    [app, "https://chat.example.evil.example"],
    [app, "null"],
    [closed, CHAT],
  ] as const) {
    const asked = await preflight(on, origin);
    expect([origin, asked.status, allowed(asked)]).toEqual([origin, 401, null]);
    const answer = await on.request("GET", "/v1/me", { headers: { origin } });
    expect([answer.status, allowed(answer)]).toEqual([200, null]);
  }
});

describe("what clients of other servers send", () => {
  test("a key as `api-key`, as Azure's clients do; a bearer key takes precedence", async () => {
    const me = (headers: Record<string, string>) => app.request("GET", "/v1/me", { as: "anonymous", headers });
    const answer = await me({ "api-key": app.keys.member });
    expect([answer.status, ((await answer.json()) as { email: string }).email]).toEqual([200, app.emails.member]);
    expect(answer.headers.get("x-ratelimit-limit-requests")).toBe("100");
    expect((await me({ "api-key": "ftl-wrong" })).status).toBe(401);
    expect((await me({ "api-key": app.keys.member, authorization: "Bearer ftl-wrong" })).status).toBe(401);
    expect((await me({ "api-key": "" })).status).toBe(401);
  });

  test("/health, as inference servers have it", async () => {
    const answer = await app.request("GET", "/health", { as: "anonymous" });
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ok" }]);
  });
});
