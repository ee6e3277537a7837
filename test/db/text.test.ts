/**
 * Text that no reader can hold, and characters nobody sees: what is refused, what is replaced, and what is repaired.
 * The server runs as a process of its own, since broken text in the database would end it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toJsonSchema } from "@valibot/to-json-schema";
import type * as v from "valibot";
import { accessOf } from "../../src/http/access.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer } from "../support/attempt.ts";
import { type Everything, makeEverything } from "../support/everything.ts";
import { type Live, startLive } from "../support/live.ts";
import { BODIES, PARAMS, QUERIES } from "../support/requests.ts";

const HALF = "half \ud800 of a pair";
const FIXTURE = join(import.meta.dir, "../fixtures/db");
type Json = Record<string, unknown>;

interface Route {
  method: string;
  path: string;
  body: unknown;
}

/** Routes of the application for people, whose answers end. */
function routesOf(t: TestApp): Route[] {
  return t.app.routes
    .map(({ method, path, hooks }) => ({ method, path, body: hooks?.body }))
    .filter(({ method, path }) => accessOf(method, path) !== "trainer" && !/\/stream$|logout/.test(path));
}

function pathOf({ method, path }: Route, made: Everything): string {
  const start = Object.keys(PARAMS)
    .filter((prefix) => path.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
  const params = start ? (PARAMS[start]?.(made) ?? {}) : {};
  const query = QUERIES[`${method} ${path}`]?.(made);
  const filled = path.replace(/:(\w+)\??|\*/g, (_, name: string | undefined) =>
    encodeURIComponent(params[name ?? "*"] ?? "unknown"),
  );
  return query ? `${filled}?${new URLSearchParams(query)}` : filled;
}

/**
 * `body` once for every text in it and every field its schema knows, with `bad` there instead; and with a key of `bad`.
 */
function variants(body: Json, schema: Json | null, bad: string): [field: string, body: Json][] {
  const found: [string, Json][] = [["(key)", { ...body, [bad]: "x" }]];
  const fields = new Set([...Object.keys(body), ...propertiesOf(schema)]);
  for (const field of fields) {
    const value = body[field];
    found.push([field, { ...body, [field]: bad }]);
    if (typeof value !== "object" || value === null) continue;
    const inner: [string, unknown][] = Array.isArray(value)
      ? value.map((each, n) => [String(n), each])
      : Object.entries(value);
    for (const [key, each] of inner) {
      const put = (other: unknown) => {
        const copy: unknown = structuredClone(value);
        (copy as Json)[key] = other;
        return { ...body, [field]: copy };
      };
      if (typeof each === "string") found.push([`${field}.${key}`, put(bad)]);
      else if (typeof each === "object" && each !== null)
        for (const [name, text] of Object.entries(each))
          if (typeof text === "string") found.push([`${field}.${key}.${name}`, put({ ...each, [name]: bad })]);
    }
  }
  return found;
}

/** Names of all properties of a schema, of every alternative it has. */
function propertiesOf(schema: unknown): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const { properties, anyOf, oneOf, allOf } = schema as Record<string, Json & Json[]>;
  return [
    ...Object.keys(properties ?? {}),
    ...[anyOf, oneOf, allOf].flatMap((each) => (each ?? []).flatMap(propertiesOf)),
  ];
}

function schemaOf(schema: unknown): Json | null {
  if (typeof schema !== "object" || schema === null || !("kind" in schema)) return null;
  return toJsonSchema(schema as v.GenericSchema, { typeMode: "input", errorMode: "ignore" }) as unknown as Json;
}

/** What went wrong in reading every route: a 5xx, or a server that is gone. */
async function readAll(live: Live, routes: Route[], made: Everything): Promise<string[]> {
  const wrong: string[] = [];
  for (const route of routes.filter(({ method }) => method === "GET")) {
    const path = pathOf(route, made);
    const answer = await fetch(live.url + path, { headers: { authorization: `Bearer ${live.key}`, accept: "*/*" } });
    const text = await answer.text();
    // The base model of the test has no tokenizer.
    if (answer.status >= 500 && !text.includes("tokens_not_counted"))
      wrong.push(`GET ${path} answered ${answer.status}: ${text.slice(0, 300)}`);
  }
  return wrong;
}

const alive = async (live: Live) => (await fetch(`${live.url}/healthz`).catch(() => null))?.status;

let app: TestApp;
let made: Everything;
let live: Live;
let routes: Route[];

beforeAll(async () => {
  app = await createTestApp();
  made = await makeEverything(app);
  routes = routesOf(app);
  const trainer = await makeTrainer(app);
  made.job = trainer.jobId;
  const answer = await trainer.send([
    { type: "phase", phase: "training", message: HALF },
    {
      type: "log",
      level: "info",
      message: `${HALF}, and \u001b[31mred\u001b[0m, \u0007 10%\r20%\r\nnext\ttab 🤗\u0000`,
    },
    { type: "log", level: "info", message: `${"a".repeat(8190)}🤗🤗` },
    { type: "sample", step: 1, row_id: 0, prompt: [{ role: "user", content: HALF }], expected: HALF, output: HALF },
    {
      type: "answer",
      row_id: 0,
      side: "base",
      prompt: [{ role: HALF, content: HALF }],
      expected: HALF,
      output: HALF,
      exact: false,
      loss: 1,
      token_accuracy: 0,
      tokens: 1,
    },
    { type: "ready", address: "unix:/nowhere", models: [HALF] },
    { type: "failed", reason: HALF, message: HALF, advice: HALF, retry: false, detail: HALF },
  ]);
  expect(answer.last_seq).toBe(7);
  await app.ctx.close();
  live = await startLive({ prepare: (dir) => cpSync(app.dir, dir, { recursive: true }) });
}, 60_000);

afterAll(async () => {
  await live?.close();
});

describe("half of a surrogate pair", () => {
  test("in any text of any body is refused by the name of its field, and everything can be read afterwards", async () => {
    const wrong: string[] = [];
    let refused = 0;
    for (const route of routes.filter(({ method }) => method === "POST" || method === "PATCH" || method === "PUT")) {
      const key = `${route.method} ${route.path}`;
      // The job is read afterwards, without the texts that a form may bring.
      if (key === "POST /jobs/:id/delete" || key === "POST /jobs/:id/edit") continue;
      const body = BODIES[key]?.(made) ?? {};
      if (body instanceof FormData) continue;
      const api = route.path.startsWith("/v1/");
      for (const [field, bad] of variants(body as Json, schemaOf(route.body), HALF)) {
        // A form cannot bring the half itself; JSON written in one of its fields can.
        const form = new URLSearchParams(
          Object.entries(bad).map(([name, value]) => [
            name,
            value === HALF ? JSON.stringify({ a: HALF }) : String(value),
          ]),
        );
        const answer = await fetch(live.url + pathOf(route, made), {
          method: route.method,
          redirect: "manual",
          headers: {
            authorization: `Bearer ${live.key}`,
            "content-type": api ? "application/json" : "application/x-www-form-urlencoded",
          },
          body: api ? JSON.stringify(bad) : form,
        });
        const text = await answer.text();
        // The base model of the test has no tokenizer.
        if (answer.status >= 500 && !text.includes("tokens_not_counted"))
          wrong.push(`${key} ${field}: ${answer.status} ${text.slice(0, 200)}`);
        if (!api || route.body === undefined) continue;
        const { error } = JSON.parse(text) as { error?: { code: string; message: string } };
        if (answer.status === 400 && error?.code === "invalid_text") refused++;
        else wrong.push(`${key} ${field}: ${answer.status} ${text.slice(0, 200)}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(refused).toBeGreaterThan(200);
    // Usage rows are written half a second later.
    await Bun.sleep(800);
    expect(await readAll(live, routes, made)).toEqual([]);
    expect(await alive(live)).toBe(200);
  }, 300_000);

  test("as the model of a completion is refused, and the words of a client are not kept as a model", async () => {
    const ask = async (model: string) => {
      const answer = await fetch(`${live.url}/v1/chat/completions`, {
        method: "POST",
        headers: { authorization: `Bearer ${live.key}`, "content-type": "application/json" },
        body: JSON.stringify({ model, messages: [{ role: "user", content: "x" }] }),
      });
      const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
      return [answer.status, error.code, error.param];
    };
    expect(await ask("\ud800")).toEqual([400, "invalid_text", "model"]);
    expect(await ask("no/such model")).toEqual([404, "model_not_found", "model"]);
    await Bun.sleep(800);
    type Usage = { data: { id: string }[] };
    const groups = (await live.call<Usage>("GET", "/v1/usage/inference?group_by=model")).data.map((one) => one.id);
    expect(groups).toContain("no such model");
    expect(groups.join()).not.toContain("no/such");
    expect(JSON.stringify(await live.call("GET", "/v1/usage?group_by=model"))).toContain('"no such model"');
  }, 30_000);

  test("of a trainer is U+FFFD in logs, events and errors; logs have no control characters", async () => {
    const said = HALF.toWellFormed();
    type List = { data: { message: string }[] };
    const logs = (await live.call<List>("GET", `/v1/jobs/${made.job}/logs`)).data.map((line) => line.message);
    expect(logs[0]).toBe(`${said}, and red,  10%\n20%\nnext\ttab 🤗�`);
    expect(logs[1]).toBe(`${"a".repeat(8190)}…`);
    const events = JSON.stringify(await live.call("GET", `/v1/fine_tuning/jobs/${made.job}/events?limit=100`));
    expect(events).toContain(said);
    expect(events).not.toMatch(/\\ud8/);
    expect(JSON.stringify(await live.call("GET", `/v1/jobs/${made.job}`))).not.toMatch(/\\ud8/);
  });
});

test("a NUL is refused in bodies and queries, with the field named", async () => {
  const headers = { authorization: `Bearer ${live.key}`, "content-type": "application/json" };
  const body = JSON.stringify({ name: "a\0b" });
  for (const answer of [
    await fetch(`${live.url}/v1/keys`, { method: "POST", headers, body }),
    await fetch(`${live.url}/v1/jobs?search=a%00b`, { headers }),
  ]) {
    const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
    expect([answer.status, error.code]).toEqual([400, "invalid_text"]);
    expect(["name", "search"]).toContain(error.param);
    expect(error.message).toContain("U+0000");
  }
});

describe("characters nobody sees", () => {
  const NAMED: [method: string, path: (e: Everything) => string, body: (e: Everything, name: string) => Json][] = [
    ["POST", () => "/v1/keys", (_, name) => ({ name })],
    ["POST", () => "/v1/admin/orgs", (_, name) => ({ name })],
    ["POST", (e) => `/v1/datasets/${e.dataset}`, (_, name) => ({ name })],
    ["POST", (e) => `/v1/datasets/${e.dataset}`, (_, description) => ({ description })],
    ["POST", () => "/v1/datasets", (e, name) => ({ file_id: e.file, name })],
    ["POST", () => "/v1/jobs", (e, name) => ({ model: e.base, training_file: e.file, name })],
    ["POST", () => "/v1/jobs", (e, name) => ({ model: e.base, training_file: e.file, metadata: { a: name } })],
    ["POST", () => "/v1/jobs", (e, name) => ({ model: e.base, training_file: e.file, metadata: { [name]: "a" } })],
    ["POST", () => "/v1/sweeps", (e, name) => ({ ...(BODIES["POST /v1/sweeps"]?.(e) as Json), name })],
    ["POST", () => "/v1/deployments", (e, name) => ({ model: e.model, name })],
    ["POST", () => "/v1/evaluations", (e, name) => ({ job: e.job, name })],
    ["POST", (e) => `/v1/hosts/${e.host}`, (_, note) => ({ state: "ready", note })],
    [
      "POST",
      () => "/v1/fine_tuning/alpha/graders/validate",
      (_, name) => ({ grader: { type: "string_check", name, input: "a", reference: "b", operation: "eq" } }),
    ],
  ];

  test("are refused in names, titles and descriptions, with the character named", async () => {
    for (const [method, path, body] of NAMED)
      for (const [char, code] of [
        ["\u001b", "U+001B"],
        ["\u0085", "U+0085"],
        ["\u202e", "U+202E"],
        ["\u2066", "U+2066"],
        ["\u200b", "U+200B"],
      ]) {
        const answer = await fetch(live.url + path(made), {
          method,
          headers: { authorization: `Bearer ${live.key}`, "content-type": "application/json" },
          body: JSON.stringify(body(made, `a${char}b`)),
        });
        const text = await answer.text();
        expect([method, path(made), answer.status, text]).toEqual([
          method,
          path(made),
          400,
          expect.stringContaining(code ?? ""),
        ]);
      }
  }, 60_000);

  test("that scripts and emoji need stay, and a description may have lines", async () => {
    const name = "می‌خواهم 👩‍🚀 नमस्‍ते";
    await live.call("POST", `/v1/datasets/${made.dataset}`, { name, description: "one\r\ntwo\tthree" });
    expect(await live.call("GET", `/v1/datasets/${made.dataset}`)).toMatchObject({
      name,
      description: "one\ntwo\tthree",
    });
  });
});

test("a database with broken text of an older build is repaired once, and everything can be read", async () => {
  // Written by the build before: its rows hold halves of surrogate pairs as bytes and as escapes of JSON.
  const made = JSON.parse(readFileSync(join(FIXTURE, "half-surrogates.json"), "utf8")) as Everything & {
    failed: string;
  };
  const old = await startLive({
    prepare: (dir) =>
      writeFileSync(
        join(dir, "lab.db"),
        Bun.gunzipSync(new Uint8Array(readFileSync(join(FIXTURE, "half-surrogates.db.gz")))),
      ),
  });
  try {
    // The files of that installation are not here, only its rows.
    const rows = routes.filter(({ path }) => !/\/content(\/|$)/.test(path));
    for (const job of [made.job, made.failed]) expect(await readAll(old, rows, { ...made, job })).toEqual([]);
    const said = "half � surrogate 🤗 � end";
    type List = { data: { message: string }[] };
    const logs = (await old.call<List>("GET", `/v1/jobs/${made.failed}/logs`)).data.map((line) => line.message);
    // Whole text stays as it was, be it Korean or words about escapes.
    expect(logs).toEqual([`${said} 한국어`, "한국어 – says \\ud800 in words"]);
    const job = await old.call<Json>("GET", `/v1/jobs/${made.failed}`);
    expect(job).toMatchObject({ metadata: { [said]: said } });
    const usage = JSON.stringify(await old.call("GET", "/v1/usage?group_by=model&month=2026-11"));
    expect(usage).toContain('"�"');
    expect(old.cli("audit", "verify")).toContain("Intact: ");
    expect(await alive(old)).toBe(200);
  } finally {
    await old.close();
  }
}, 120_000);
