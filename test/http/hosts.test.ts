/**
 * The name and path a request asks for: gate, router and errors read them alike, and what is no address is refused
 * first.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type RunningServer, startServer } from "../../src/server.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { rawText, sendRaw } from "../support/raw.ts";

/** Hosts that are no host, with and without a path that only one of two parsers would take for a trainer's. */
const BROKEN = [
  "",
  "a:b",
  "127.0.0.1:99999",
  "127.0.0.1:0",
  "x y.localhost",
  "a/b",
  "a@localhost",
  "[::1",
  "[::1]x",
  "é",
  "localhost:80:80",
  "localhost, localhost",
  "256.256.256.256",
  "a..b",
  "localhost:",
  "?",
  "#",
  "a\\b",
  "%00",
];
const FOREIGN = ["x", "ab", "abc", "abcd", "evil.example", "localhost.evil.example"];

let app: TestApp;
let server: RunningServer;
const logged: string[] = [];
beforeAll(async () => {
  app = await createTestApp({
    ctx: { log: (level, message, fields) => logged.push(`${level} ${message} ${JSON.stringify(fields)}`) },
  });
  server = startServer(app.ctx, app.app);
});
afterAll(async () => {
  await server.stop(1);
  await app.close();
});

const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
  sendRaw(server.url, rawText(method, path, headers, body));

describe("a host header", () => {
  test.each(BROKEN)(
    "%p is answered 400 with every header of a regular answer, and leaves no stack in the log",
    async (host) => {
      logged.length = 0;
      for (const path of ["/healthz", "/login", "/v1/me", "/trainer/v1/keys", "/assets/app.css"]) {
        const answer = await ask("GET", path, { host, accept: "text/html" });
        expect([path, answer.status]).toEqual([path, 400]);
        expect(answer.headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
        expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
        expect(answer.headers.get("x-request-id")).toMatch(/^req_/);
        expect(answer.body).toMatch(/Host header must be|does not answer under that host name/);
      }
      expect(logged).toEqual([]);
    },
  );

  test.each(FOREIGN)("%p opens nothing, under a trainer's path neither", async (host) => {
    const headers = { host, authorization: `Bearer ${app.keys.admin}` };
    for (const path of ["/healthz", "/v1/me", "/v1/keys"])
      expect([path, (await ask("GET", path, headers)).status]).toEqual([path, 400]);
    for (const path of ["/trainer/v1/me", "/trainer/v1/keys", "/trainer/v1/healthz"]) {
      expect([path, (await ask("GET", path, headers)).status]).toEqual([path, 404]);
      expect([
        path,
        (await ask("POST", path, { ...headers, "content-type": "application/json" }, "{}")).status,
      ]).toEqual([path, 404]);
    }
  });

  test("of a trainer may be any name", async () => {
    for (const host of [...FOREIGN, "localhost"])
      expect((await ask("GET", "/trainer/v1/spec", { host })).status).toBe(401);
  });

  test("that is sent twice, or not at all, is refused", async () => {
    const twice = [
      ["host", "localhost"],
      ["host", "localhost"],
    ] as [string, string][];
    expect((await sendRaw(server.url, rawText("GET", "/healthz", twice))).status).toBe(400);
    expect((await sendRaw(server.url, rawText("GET", "/healthz", {}))).status).toBe(400);
    const old = await sendRaw(server.url, "GET /v1/me HTTP/1.0\r\n\r\n");
    expect(old.status).toBeGreaterThanOrEqual(400);
  });

  test("is not replaced by an address in the request line", async () => {
    const answer = await ask("GET", "http://localhost/healthz", { host: "evil.example" });
    expect(answer.status).toBe(400);
  });
});

describe("an installation under a short name", () => {
  test("is reached by its name, signs in and keeps to its own origin", async () => {
    const lab = await createTestApp({ config: { public_url: "http://lab" } });
    const at = startServer(lab.ctx, lab.app);
    const to = (method: string, path: string, headers: Record<string, string>, body?: string) =>
      sendRaw(at.url, rawText(method, path, { host: "lab", ...headers }, body));
    for (const path of ["/healthz", "/login"]) expect([path, (await to("GET", path, {})).status]).toEqual([path, 200]);
    const bearer = { authorization: `Bearer ${lab.keys.admin}` };
    expect((await to("GET", "/v1/me", bearer)).status).toBe(200);
    expect((await to("GET", "/trainer/v1/me", bearer)).status).toBe(404);
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const login = (origin: string) => to("POST", "/login", { ...form, origin }, "email=a%40b.example&password=x");
    expect((await login("http://lab")).status).toBe(401);
    expect((await login("http://evil")).status).toBe(403);
    await at.stop(1);
    await lab.close();
  });
});

describe("a path", () => {
  const bearer = () => ({ host: "localhost", authorization: `Bearer ${app.keys.member}` });
  test.each([
    ["//trainer/v1/../v1/keys"],
    ["/v1//keys"],
    ["/%761/keys"],
    ["/v1/%61dmin/users"],
    ["/v1/admin%2fusers"],
    ["/trainer/v1//keys"],
    ["/v1/keys/../admin/users"],
    ["/v1/keys%00"],
    ["/%"],
    ["/v1/jobs/%E0%A4%A"],
  ])("%p opens nothing that its plain form does not", async (path) => {
    const answer = await ask("GET", path, bearer());
    expect([400, 403, 404]).toContain(answer.status);
    const nobody = await ask("GET", path, { host: "localhost" });
    expect([400, 401, 404]).toContain(nobody.status);
  });

  test("with a slash at its end is the same route with the same access", async () => {
    expect((await ask("GET", "/login/", { host: "localhost" })).status).toBe(200);
    expect((await ask("GET", "/v1/me/", bearer())).status).toBe(200);
    expect((await ask("GET", "/v1/me/", { host: "localhost" })).status).toBe(401);
    expect((await ask("GET", "/admin/", bearer())).status).toBe(403);
  });
});

describe("a referer", () => {
  test.each([
    ["not a url"],
    ["http://"],
    ["http://[::1"],
    ["javascript:alert(1)"],
    ["//"],
    ["http://evil.example/jobs"],
  ])("%p leads nowhere and fails nothing", async (referer) => {
    const answer = await app.request("POST", "/theme", {
      form: { theme: "dark" },
      headers: { referer, accept: "text/html" },
    });
    expect(answer.status).toBe(303);
    expect(answer.headers.get("location")).toBe("/");
  });

  test("of this site is where the answer leads", async () => {
    const answer = await app.request("POST", "/theme", {
      form: { theme: "dark" },
      headers: { referer: "http://localhost/jobs?q=a", accept: "text/html" },
    });
    expect(answer.headers.get("location")).toBe("/jobs?q=a");
  });
});

describe("a failure outside the application", () => {
  test("is answered with the policy headers and logged in one line", async () => {
    const broken = await createTestApp({
      ctx: { log: (level, message, fields) => logged.push(`${level} ${message} ${JSON.stringify(fields)}`) },
    });
    const throwing = new Proxy(broken.app, {
      get: (target, name) =>
        name === "fetch"
          ? () => {
              throw new Error("secret detail\nat inside");
            }
          : Reflect.get(target, name, target),
    });
    const at = startServer(broken.ctx, throwing);
    logged.length = 0;
    const answer = await fetch(`${at.url}/v1/me`);
    const text = await answer.text();
    expect(answer.status).toBe(500);
    expect(answer.headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(JSON.parse(text).error.code).toBe("internal_error");
    expect(text).not.toContain("secret detail");
    expect(logged).toHaveLength(1);
    expect(logged[0]).not.toContain("\n");
    await at.stop(1);
    await broken.close();
  });
});

describe("cookies", () => {
  const set = (answer: Response) => answer.headers.getSetCookie();
  test.each([
    ["http://lab.example.test", "", ""],
    ["https://lab.example.test", "__Host-", "; Secure"],
  ])("of a site at %s are named and marked for it", async (url, prefix, secure) => {
    const site = await createTestApp({ config: { public_url: url } });
    const headers = { host: "lab.example.test", origin: url, accept: "text/html" };
    const themed = await site.request("POST", "/theme", { form: { theme: "dark" }, headers });
    const theme = set(themed)[0] ?? "";
    expect(theme).toStartWith(`${prefix}theme=dark; Path=/;`);
    expect(theme.includes("; Secure")).toBe(secure !== "");
    const sample = await site.request("POST", "/datasets/sample", { form: {}, headers });
    const flash = set(sample)[0] ?? "";
    expect(flash).toStartWith(`${prefix}flash=`);
    expect(flash.includes("; Secure")).toBe(secure !== "");
    expect(flash).toContain("; HttpOnly");
    const cookie = [theme, flash].map((line) => line.split(";")[0]).join("; ");
    const authorization = `Bearer ${site.keys.admin}`;
    const page = await site.request("GET", "/jobs", { headers: { ...headers, authorization, cookie } });
    const text = await page.text();
    expect(text).toContain('data-theme="dark"');
    expect(text).toContain("sample dataset is here");
    expect(set(page)[0]).toStartWith(`${prefix}flash=; Path=/; Max-Age=0`);
    // A cookie under the other name may be another program's: it is not read.
    const other = prefix ? cookie.replaceAll("__Host-", "") : cookie.replaceAll(/(theme|flash)/g, "__Host-$1");
    const foreign = await site.request("GET", "/jobs", { headers: { ...headers, authorization, cookie: other } });
    const shown = await foreign.text();
    expect(shown).not.toContain('data-theme="dark"');
    expect(shown).not.toContain("sample dataset is here");
    const out = await site.request("POST", "/logout", { form: {}, headers: { ...headers, authorization, cookie } });
    expect(out.status).toBe(303);
    expect(set(out)[0]).toStartWith(`${prefix}ftl-session-`);
    expect(set(out)[0]?.includes("; Secure")).toBe(secure !== "");
    await site.close();
  });
});
