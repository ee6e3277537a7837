/**
 * Bodies made to hurt, against a real server: nested JSON on every route that takes a body, bodies without credentials,
 * bodies without end.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { accessOf } from "../../src/http/access.ts";
import { isTooDeep, MAX_JSON_DEPTH } from "../../src/lib/text/json.ts";
import { readJson } from "../../src/training/trainer-protocol/body.ts";
import { createTestApp } from "../support/app.ts";
import { type Live, peakMemory, startLive, startPeak } from "../support/live.ts";
import { rawText, sendRaw } from "../support/raw.ts";

const JSON_TYPE = { "content-type": "application/json" };
const MB = 1e6;
const GROWTH = 50 * MB;
/** Routes of the API that take files and no JSON. */
const FILES_ALONE = /^\/v1\/(files|uploads\/x\/parts)$/;
const nest = (depth: number) => `{"name":${"[".repeat(depth)}1${"]".repeat(depth)}}`;

let live: Live;
let memberKey = "";
const routes: { method: string; path: string; access: string }[] = [];
beforeAll(async () => {
  live = await startLive();
  live.cli("user", "create", "--email", "member@example.test", "--password-file", `${live.dir}/password`);
  memberKey = live.cli("key", "create", "--email", "member@example.test", "--name", "test").trim();
  const app = await createTestApp();
  for (const { method, path } of app.app.routes)
    if (!["GET", "HEAD", "OPTIONS"].includes(method))
      routes.push({ method, path: path.replace(/:\w+\??|\*/g, "x"), access: accessOf(method, path) });
  await app.close();
}, 60_000);
afterAll(() => live.close(), 30_000);

const send = (method: string, path: string, body: BodyInit, headers: Record<string, string> = {}) =>
  fetch(live.url + path, {
    method,
    body,
    headers: { authorization: `Bearer ${live.key}`, "content-type": "application/json", ...headers },
    redirect: "manual",
  });

describe("the counting of levels", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  test.each([
    ["as deep as may be", "[".repeat(MAX_JSON_DEPTH) + "]".repeat(MAX_JSON_DEPTH), false],
    ["one deeper", "[".repeat(MAX_JSON_DEPTH + 1), true],
    ["lists and objects", '{"a":['.repeat(MAX_JSON_DEPTH / 2 + 1), true],
    ["one beside the other", `[${"[],".repeat(1000)}[]]`, false],
    ["inside a string", JSON.stringify("[".repeat(1000)), false],
    ["inside a string with quotes", JSON.stringify(`"[\\"${"[".repeat(1000)}`), false],
    ["after a string that ends in a backslash", `["\\\\"${",[".repeat(1000)}`, true],
    ["after an escaped quote", `["\\"${"[".repeat(1000)}"]`, false],
    ["in a string that does not end", `["${"[".repeat(1000)}`, false],
    ["as text of another alphabet", JSON.stringify({ "ключ[[[": ["ä".repeat(1000), "[".repeat(1000)] }), false],
  ])("%s", (_what, text, deep) => {
    expect(isTooDeep(bytes(text))).toBe(deep);
  });
});

describe("nested JSON", () => {
  test.each([10, 1_000, 100_000])(
    "of %d levels is refused by every route, at no cost in memory",
    async (depth) => {
      // What a first request loads is not what a deep one costs.
      await send("POST", "/v1/keys", nest(2));
      const before = peakMemory(live.pid());
      const wrong: string[] = [];
      for (const { method, path, access } of routes) {
        for (const key of access === "trainer" ? ["fta-none"] : [live.key, ""]) {
          const answer = await send(method, path, nest(depth), { authorization: key ? `Bearer ${key}` : "" });
          const { status } = answer;
          const text = await answer.text();
          const page = !/^\/(v1|trainer|scim)\//.test(path);
          // Not set up here; its body is read only with a signature.
          if (path === "/v1/stripe/webhook") {
            if (status !== 409) wrong.push(`${method} ${path} answered ${status}`);
            continue;
          }
          const fine = !key
            ? [400, 401, 415].includes(status)
            : page
              ? status === 415
              : access === "trainer"
                ? status === 401
                : access === "scim"
                  ? depth > MAX_JSON_DEPTH
                    ? status === 400 && text.includes("nested more than")
                    : status === 401
                  : depth > MAX_JSON_DEPTH
                    ? FILES_ALONE.test(path)
                      ? status === 415
                      : status === 400 && text.includes("body_too_deep")
                    : status < 500;
          if (!fine || text.includes("[[[[")) wrong.push(`${method} ${path} answered ${status} ${text.slice(0, 200)}`);
        }
      }
      expect(wrong).toEqual([]);
      expect(routes.length).toBeGreaterThan(50);
      expect(peakMemory(live.pid()) - before).toBeLessThan(GROWTH);
    },
    120_000,
  );

  test("in chunks of unknown length is refused too", async () => {
    const pieces = async function* () {
      yield new TextEncoder().encode(nest(1000).slice(0, 500));
      yield new TextEncoder().encode(nest(1000).slice(500));
    };
    for (const path of ["/v1/keys", "/v1/datasets", "/v1/chat/completions"]) {
      const answer = await send(
        "POST",
        path,
        new ReadableStream({
          async start(controller) {
            for await (const piece of pieces()) controller.enqueue(piece);
            controller.close();
          },
        }),
      );
      expect([path, answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([
        path,
        400,
        "body_too_deep",
      ]);
    }
  });

  test("inside a field of a form is refused like other nonsense", async () => {
    const deep = nest(100_000);
    const form = {
      "content-type": "application/x-www-form-urlencoded",
      origin: live.url,
      "sec-fetch-site": "same-origin",
    };
    for (const [path, name] of [
      ["/sweeps/plan", "training"],
      ["/jobs/plan", "grader"],
    ] as const) {
      const fields = new URLSearchParams({ [name]: deep, method: "grpo", data: "x", model: "x" });
      const answer = await send("POST", path, fields.toString(), form);
      expect(answer.status).toBeLessThan(500);
      await answer.body?.cancel();
    }
    const answer = await fetch(`${live.url}/sweeps/new?training=${encodeURIComponent(nest(1000))}`, {
      headers: { authorization: `Bearer ${live.key}` },
    });
    expect(answer.status).toBe(400);
  });
});

describe("a trainer's JSON", () => {
  const read = (depth: number) =>
    readJson(new Request("http://localhost/", { method: "POST", body: nest(depth), headers: JSON_TYPE }));

  test("may hold a row as deep as rows may be, and nothing much deeper", async () => {
    expect(await read(110)).toHaveProperty("name");
    await expect(read(1_000)).rejects.toMatchObject({ kind: "invalid", code: "body_too_deep" });
  });
});

describe("a refused value", () => {
  test("of a mebibyte is not formatted for an error nobody reads: the server runs in production mode", async () => {
    const wide = `{"name":${"[".repeat(60)}${"0,".repeat(500_000)}0${"]".repeat(60)}}`;
    // The same size once before, refused while it is parsed: what reading and parsing take is not what is measured.
    expect((await send("POST", "/v1/keys", `${wide}]`)).status).toBe(400);
    await send("POST", "/v1/keys", nest(2));
    // What formatting costs, it costs each time; when memory is collected depends on the moment.
    const grown: number[] = [];
    for (let n = 0; n < 3; n++) {
      const before = startPeak(live.pid());
      const answer = await send("POST", "/v1/keys", wide);
      expect(answer.status).toBe(400);
      expect((await answer.text()).length).toBeLessThan(500);
      grown.push(peakMemory(live.pid()) - before);
    }
    // Formatting the value takes more than 500 MB.
    expect(Math.min(...grown)).toBeLessThan(GROWTH);
    expect(live.log()).not.toContain("0,0,0");
  });
});

describe("a body without credentials", () => {
  /** Writes chunks for as long as the server takes them; how many bytes it took, and its answer. */
  async function pour(path: string, headers: Record<string, string>, most: number) {
    const head = rawText("POST", path, { host: new URL(live.url).host, "transfer-encoding": "chunked", ...headers });
    const size = 65_536;
    const chunk = `${size.toString(16)}\r\n${" ".repeat(size)}\r\n`;
    const answer = await sendRaw(live.url, head + chunk.repeat(Math.ceil(most / size)));
    return answer.status;
  }

  test("is refused before it is read, in chunks too", async () => {
    const before = peakMemory(live.pid());
    expect(await pour("/v1/keys", JSON_TYPE, 60 * MB)).toBe(401);
    expect(await pour("/trainer/v1/events", JSON_TYPE, 60 * MB)).toBe(401);
    expect(await pour("/v1/admin/users", { ...JSON_TYPE, authorization: `Bearer ${memberKey}` }, 60 * MB)).toBe(403);
    expect(await pour("/v1/base_models/import", { ...JSON_TYPE, authorization: `Bearer ${memberKey}` }, 60 * MB)).toBe(
      403,
    );
    expect(peakMemory(live.pid()) - before).toBeLessThan(GROWTH);
  }, 60_000);

  test("that is not JSON at all is answered by the credentials that are missing", async () => {
    const broken = rawText("POST", "/v1/keys", { host: "localhost", "content-type": "application/json" }, "{");
    expect((await sendRaw(live.url, broken)).status).toBe(401);
    const member = { host: "localhost", "content-type": "application/json", authorization: `Bearer ${memberKey}` };
    expect((await sendRaw(live.url, rawText("POST", "/v1/admin/users", member, "{"))).status).toBe(403);
  });
});

describe("a body of a page", () => {
  test.each(["application/json", "multipart/form-data; boundary=x", "text/plain", "application/jsonl"])(
    "is a form, never %s",
    async (type) => {
      for (const path of ["/login", "/setup", "/invite", "/settings/keys", "/datasets/x/delete"]) {
        const answer = await send("POST", path, "{}", { "content-type": type });
        expect([path, answer.status]).toEqual([path, 415]);
        expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("unsupported_content_type");
      }
    },
  );

  test("a route of JSON below an upload's path takes no file", async () => {
    for (const path of ["/v1/datasets/x", "/v1/datasets/x/rows", "/v1/uploads", "/v1/uploads/x/complete"]) {
      const answer = await send("POST", path, "{}", { "content-type": "application/jsonl" });
      expect([path, answer.status]).toEqual([path, 415]);
    }
  });
});

test("a declared length above every limit is refused", async () => {
  const head = rawText("POST", "/v1/files", {
    host: new URL(live.url).host,
    authorization: `Bearer ${live.key}`,
    "content-type": "application/octet-stream",
    "content-length": String(2 ** 52),
  });
  expect((await sendRaw(live.url, head)).status).toBe(413);
});
