/**
 * What holds for every request: limits and types of bodies, error answers, host names, headers, and the description of
 * the API.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readsItself } from "../../src/http/body.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { createTestApp, type TestApp } from "../support/app.ts";

let app: TestApp;
let server: RunningServer;
beforeAll(async () => {
  app = await createTestApp();
  server = startServer(app.ctx, app.app);
});
afterAll(async () => {
  await server.stop(1);
  await app.close();
});

interface ErrorAnswer {
  error: { message: string; type: string; param: string | null; code: string };
}
const errorOf = async (answer: Response) => ((await answer.json()) as ErrorAnswer).error;
const post = (raw: string | Uint8Array<ArrayBuffer>, type: string | null = "application/json") =>
  app.request("POST", "/v1/keys", { raw, headers: type === null ? {} : { "content-type": type } });

describe("a body", () => {
  test.each([
    ["cut off", '{"name": "x"'],
    ["not JSON", "name=x"],
    ["not UTF-8", new Uint8Array([0x22, 0xff, 0x22])],
    ["with a BOM and rubbish", "\ufeff{]"],
  ])("%s is answered 400 in words", async (_what, raw) => {
    const answer = await post(raw);
    expect(answer.status).toBe(400);
    expect(await errorOf(answer)).toMatchObject({ type: "invalid_request_error", code: "body_not_parsable" });
  });

  test.each([
    ["text/plain"],
    ["application/xml"],
    ["multipart/form-data; boundary=x"],
    ["application/x-www-form-urlencoded"],
    ["<script>"],
  ])("of type %s is refused where JSON is wanted", async (type) => {
    const answer = await post("{}", type);
    expect(answer.status).toBe(415);
    const { code, message } = await errorOf(answer);
    expect(code).toBe("unsupported_content_type");
    expect(message).toContain("application/json");
    expect(message).not.toContain("<script>");
  });

  test("over the limit is refused, whether it says its length or not, and the server lives on", async () => {
    const big = JSON.stringify({ name: "x".repeat(2 ** 21) });
    const headers = { authorization: `Bearer ${app.keys.admin}`, "content-type": "application/json" };
    const withLength = await fetch(`${server.url}/v1/keys`, { method: "POST", headers, body: big });
    expect(withLength.status).toBe(413);
    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(65_536).fill(32));
        sent += 65_536;
        if (sent > 2 ** 26) controller.close();
      },
    });
    const answer = await app.request("POST", "/v1/keys", {
      raw: endless,
      headers: { "content-type": "application/json" },
    });
    expect(answer.status).toBe(413);
    expect(sent).toBeLessThan(2 ** 22);
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  test("with __proto__ or constructor keys changes nothing and is refused as unknown", async () => {
    for (const raw of [
      '{"name":"x","__proto__":{"role":"admin"}}',
      '{"name":"x","constructor":{"prototype":{"role":"admin"}}}',
    ]) {
      const answer = await post(raw);
      expect([200, 400]).toContain(answer.status);
    }
    expect(({} as Record<string, unknown>).role).toBeUndefined();
  });

  test("is left to the handler on exactly the routes that say so", () => {
    const left = (hooks: { parse?: { fn: unknown }[] | { fn: unknown } }) =>
      [hooks.parse ?? []].flat().some(({ fn }) => fn === "none");
    const routes = app.app.routes.filter(({ method }) => method !== "GET");
    const wrong = routes.filter(({ path, hooks }) => readsItself(path) !== left(hooks));
    expect(wrong.map(({ method, path }) => `${method} ${path}`)).toEqual([]);
    expect(routes.filter(({ hooks }) => left(hooks)).length).toBeGreaterThan(5);
  });

  test("of nothing at all works where nothing is needed", async () => {
    const made = await app.json<{ id: string }>("POST", "/v1/keys", { body: { name: "x" } });
    const headers = { authorization: `Bearer ${app.keys.admin}`, "content-type": "application/json" };
    expect((await fetch(`${server.url}/v1/keys/${made.id}`, { method: "DELETE", headers })).status).toBe(200);
  });
});

describe("a query", () => {
  test.each([["a,b"], ["[1]"], ['{"a":1}'], ["a+b c"], ["__proto__"], ["50%"], ["1,5"]])(
    "of %s stays text",
    async (words) => {
      for (const path of ["/jobs?q=", "/playground?prompt=", "/search?q=", "/datasets?q="]) {
        const answer = await app.request("GET", path + encodeURIComponent(words), { headers: { accept: "text/html" } });
        expect([path, answer.status]).toEqual([path, 200]);
      }
      const page = await app.request("GET", `/jobs?q=${encodeURIComponent(words)}`, {
        headers: { accept: "text/html" },
      });
      const shown = words.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
      expect(await page.text()).toContain(`value="${shown}"`);
    },
  );

  test("a value that is given twice where one belongs is refused by name", async () => {
    const answer = await app.request("GET", "/v1/jobs?limit=1&limit=2");
    expect(answer.status).toBe(400);
    expect((await errorOf(answer)).param).toBe("limit");
  });
});

describe("a refused value", () => {
  const SECRET = "ftl-thisisasecretvalue";
  test.each([
    [{}, "name", "missing_required_parameter"],
    [{ name: 5 }, "name", "invalid_type"],
    [{ name: "" }, "name", "invalid_value"],
    [{ name: "x", extra: SECRET }, "extra", "unknown_parameter"],
    [{ name: "x", expires_in_days: 0 }, "expires_in_days", "invalid_value"],
    [{ name: { deep: SECRET } }, "name", "invalid_type"],
  ] as const)("%j names the field %s", async (body, param, code) => {
    const answer = await app.request("POST", "/v1/keys", { body });
    expect(answer.status).toBe(400);
    const error = await errorOf(answer);
    expect(error).toMatchObject({ param, code, type: "invalid_request_error" });
    expect(JSON.stringify(error)).not.toContain(SECRET);
  });

  test("of a query says so too", async () => {
    for (const limit of ["0", "101", "-1", "x", "1e2"]) {
      const answer = await app.request("GET", `/v1/keys?limit=${limit}`);
      expect(answer.status).toBe(400);
      expect((await errorOf(answer)).param).toBe("limit");
    }
  });
});

describe("an answer", () => {
  test("to an unknown address is 404 for clients and a page for people", async () => {
    const api = await app.request("GET", "/v1/nothing");
    expect(api.status).toBe(404);
    expect((await errorOf(api)).code).toBe("unknown_url");
    const page = await app.request("GET", "/nothing", { headers: { accept: "text/html" } });
    expect(page.status).toBe(404);
    expect(page.headers.get("content-type")).toContain("text/html");
  });

  test("to a visitor who is not signed in leads to the sign-in page and back", async () => {
    const page = await app.request("GET", "/jobs?state=running", { as: "anonymous", headers: { accept: "text/html" } });
    expect(page.status).toBe(303);
    expect(page.headers.get("location")).toBe(`/login?next=${encodeURIComponent("/jobs?state=running")}`);
    const htmx = await app.request("GET", "/jobs", {
      as: "anonymous",
      headers: { accept: "text/html", "hx-request": "true" },
    });
    expect(htmx.headers.get("hx-redirect")).toStartWith("/login");
  });

  test("has the server's own request id and time, whatever the client sends", async () => {
    const answer = await app.request("GET", "/v1/me", {
      headers: { "x-request-id": "mine\r\nx-evil: 1".replace(/[\r\n]/g, "") },
    });
    expect(answer.headers.get("x-request-id")).toMatch(/^req_[0-9a-z]{20}$/);
    expect(Number(answer.headers.get("openai-processing-ms"))).toBeGreaterThanOrEqual(0);
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  test("never holds a stack or the words of an unexpected error", async () => {
    const logged: string[] = [];
    const broken = await createTestApp({
      ctx: { log: (_level, _message, fields) => logged.push(String(fields?.cause)) },
    });
    broken.app.get("/v1/broken", () => {
      throw new Error("secret detail of the inside");
    });
    const answer = await broken.request("GET", "/v1/broken");
    const text = await answer.text();
    expect(answer.status).toBe(500);
    expect(text).not.toContain("secret detail");
    expect(logged.join()).toContain("secret detail");
    await broken.close();
  });
});

describe("the host name", () => {
  test.each([
    ["localhost:3900", 200],
    ["127.0.0.1:3900", 200],
    ["[::1]:3900", 200],
    ["192.168.1.20:3900", 200],
    ["evil.example", 400],
    ["localhost.evil.example", 400],
    ["evil.example:80@localhost", 400],
    ["", 400],
  ])("%p is answered %p", async (host, status) => {
    const answer = await app.request("GET", "/healthz", { as: "anonymous", headers: { host } });
    expect(answer.status).toBe(status);
  });

  test("of public_url is ours", async () => {
    const behind = await createTestApp({ config: { public_url: "https://lab.example.test" } });
    const ask = (host: string) => behind.request("GET", "/healthz", { as: "anonymous", headers: { host } });
    expect((await ask("lab.example.test")).status).toBe(200);
    expect((await ask("other.example.test")).status).toBe(400);
    await behind.close();
  });
});

describe("the description", () => {
  interface Document {
    openapi: string;
    paths: Record<string, Record<string, { operationId: string; summary: string; parameters: { name: string }[] }>>;
  }
  test("holds every route under /v1, each with a summary and a name of its own", async () => {
    const document = await app.json<Document>("GET", "/openapi.json", { as: "anonymous" });
    expect(document.openapi).toBe("3.1.0");
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
    const names = operations.map((operation) => operation.operationId);
    expect(new Set(names).size).toBe(names.length);
    expect(operations.filter((operation) => !operation.summary)).toEqual([]);
    const routes = app.app.routes.filter((route) => route.path.startsWith("/v1/"));
    expect(operations.length).toBe(routes.length);
    expect(document.paths["/v1/keys"]?.get?.parameters.map((parameter) => parameter.name)).toEqual(["limit", "after"]);
  });

  test("is a page too, without scripts or styles from elsewhere", async () => {
    const page = await app.request("GET", "/docs", { headers: { accept: "text/html" } });
    const text = await page.text();
    expect(text).toContain("/v1/keys/{id}");
    expect(text).not.toMatch(/(src|href)="https?:/);
    expect(text).not.toMatch(/<script(?![^>]* src=)|<style|\son\w+=|\sstyle=/);
  });
});
