/** Chat through the gateway over real HTTP: forwarding, usage rows, disconnects, and failing engines. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { deployment } from "../../src/db/schema/deployments.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { eventSplitter } from "../../src/serving/gateway/sse.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
let url: string;
let engine: TestEngine;
let deploymentId: string;
let server: { stop(closeActive?: boolean): unknown } | null;

beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
  const app = t.app.listen({ port: 0, hostname: "127.0.0.1" });
  server = app.server;
  url = `http://127.0.0.1:${app.server?.port}`;
});
afterAll(async () => {
  await server?.stop(true);
  await t.close();
});
beforeEach(async () => {
  engine = startEngine();
  deploymentId = (await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" })).id;
});
afterEach(async () => {
  await t.ctx.write((tx) => tx.update(deployment).set({ deletedAt: 1, wanted: "stopped", state: "stopped" }));
  t.ctx.bus.emit("deployment.changed", { org: t.orgs.a, deploymentId, state: "stopped" });
  await engine.stop();
});

const messages = [{ role: "user", content: "Hi" }];
const chat = (body: unknown, options: { signal?: AbortSignal; key?: string; path?: string } = {}) =>
  fetch(`${url}${options.path ?? "/v1/chat/completions"}`, {
    method: "POST",
    headers: { authorization: `Bearer ${options.key ?? t.keys.member}`, "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    signal: options.signal,
  });
const usageRows = async () => {
  await flushUsage(t.ctx);
  return t.ctx.db.select().from(inference).where(eq(inference.deploymentId, deploymentId));
};
const codeOf = async (reply: Response) => [
  reply.status,
  ((await reply.json()) as { error: { code: string } }).error.code,
];

describe("an answer that is not streamed", () => {
  test("forwards every field, answers with the client's model name, and records usage", async () => {
    const reply = await chat({ model: "tiny", messages, temperature: 0.5, some_new_field: { a: [1] } });
    const body = (await reply.json()) as { model: string; choices: { message: { content: string } }[]; usage: object };
    expect(reply.status).toBe(200);
    expect([body.model, body.choices[0]?.message.content]).toEqual(["tiny", "Hello world"]);
    expect(reply.headers.get("x-request-id")).toMatch(/^req_/);
    expect(engine.requests).toEqual([
      { path: "/v1/chat/completions", body: { model: "tiny", messages, temperature: 0.5, some_new_field: { a: [1] } } },
    ]);
    const [row] = await usageRows();
    expect(row).toMatchObject({
      id: reply.headers.get("x-request-id"),
      org: t.orgs.a,
      userId: t.users.member,
      keyId: t.keyIds.member,
      model: "tiny",
      status: 200,
      streamed: false,
      promptTokens: 7,
      completionTokens: 4,
      finish: "stop",
    });
    expect(row?.overheadMs).toBeLessThan(row?.totalMs ?? 0);
  });

  test("plain completions go to the engine's own endpoint", async () => {
    expect((await chat({ model: "tiny", prompt: "Once" }, { path: "/v1/completions" })).status).toBe(200);
    expect(engine.requests[0]?.path).toBe("/v1/completions");
  });

  test("a fine-tuned model and its checkpoints are requested by the engine's name", async () => {
    const { id, checkpoints } = await insertTuned(t.ctx, t.orgs.a);
    const adapters = checkpoints.map((one) => ({ name: one.model, artifactId: one.artifactId }));
    await deployEngine(t.ctx, engine, {
      org: t.orgs.a,
      model: id,
      adapters: [...adapters, { name: id, artifactId: adapters[1]?.artifactId ?? "" }],
    });
    for (const model of [id, `${id}:ckpt-step-10`]) {
      const body = (await (await chat({ model, messages })).json()) as { model: string };
      expect(body.model).toBe(model);
    }
    expect(engine.requests.map((one) => one.body.model)).toEqual([id, `${id}:ckpt-step-10`]);
    expect(engine.adapters.size).toBe(0);
  });

  test("an adapter that the running engine lacks is loaded once", async () => {
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    for (const _ of [1, 2]) expect((await chat({ model: id, messages })).status).toBe(200);
    expect([...engine.adapters]).toEqual([id]);
  });
});

describe("a stream", () => {
  const events = async (reply: Response) =>
    (await reply.text())
      .split("\n\n")
      .filter(Boolean)
      .map((line) => line.slice(6));

  test("arrives byte for byte; an unrequested usage chunk is dropped, and its tokens are recorded", async () => {
    const reply = await chat({ model: "tiny", messages, stream: true });
    const direct = await fetch("http://localhost/v1/chat/completions", {
      unix: engine.address.slice(5),
      method: "POST",
      body: JSON.stringify({ model: "tiny", messages, stream: true }),
    });
    expect(await reply.text()).toBe(await direct.text());
    expect(reply.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect((await usageRows())[0]).toMatchObject({
      streamed: true,
      promptTokens: 7,
      completionTokens: 4,
      finish: "stop",
      firstTokenMs: expect.any(Number),
    });
  });

  test("contains the usage chunk on request and ends with [DONE]", async () => {
    const got = await events(
      await chat({ model: "tiny", messages, stream: true, stream_options: { include_usage: true } }),
    );
    expect(got.at(-1)).toBe("[DONE]");
    expect(JSON.parse(got.at(-2) ?? "")).toMatchObject({ choices: [], usage: { completion_tokens: 4 } });
  });

  test("text arrives while the engine still generates", async () => {
    engine.pace = 100;
    const began = performance.now();
    const reply = await chat({ model: "tiny", messages, stream: true });
    const reader = reply.body?.getReader();
    await reader?.read();
    expect(performance.now() - began).toBeLessThan(250);
    await reader?.cancel();
  });

  test("a client that disconnects stops the engine immediately", async () => {
    engine.pace = 50;
    engine.words = Array.from({ length: 200 }, () => "word ");
    const client = new AbortController();
    const reply = await chat({ model: "tiny", messages, stream: true }, { signal: client.signal });
    await reply.body?.getReader().read();
    client.abort();
    await until("the engine to notice", async () => engine.aborted === 1, 2000, 10);
    const row = await until("the usage row", async () => (await usageRows())[0], 2000, 20);
    expect(row).toMatchObject({ status: 499, finish: "left" });
  });

  test.each(["error", "close"] as const)(
    "an engine that fails in the middle (%s) ends in an error object and no [DONE]",
    async (how) => {
      engine.fail = { after: 2, how };
      const got = await events(await chat({ model: "tiny", messages, stream: true }));
      expect(JSON.parse(got.at(-1) ?? "")).toMatchObject({
        error: { message: expect.any(String), type: "server_error" },
      });
      expect(got).not.toContain("[DONE]");
      expect((await usageRows())[0]).toMatchObject({ finish: "error" });
    },
  );
});

describe("errors", () => {
  const wrong: [string, unknown, number, string][] = [
    ["not JSON", "{", 400, "body_not_parsable"],
    ["a list", [], 400, "body_not_parsable"],
    ["no model", { messages }, 400, "invalid_model"],
    ["a model that is a number", { model: 7, messages }, 400, "invalid_model"],
    ["no messages", { model: "tiny" }, 400, "invalid_value"],
    ["empty messages", { model: "tiny", messages: [] }, 400, "invalid_value"],
    ["a message without a role", { model: "tiny", messages: [{ content: "x" }] }, 400, "invalid_value"],
    ["stream as text", { model: "tiny", messages, stream: "yes" }, 400, "invalid_value"],
    ["an unknown model", { model: "gpt-4o", messages }, 404, "model_not_found"],
    ["an unknown fine-tuned model", { model: "ft:tiny:a:b:c", messages }, 404, "model_not_found"],
  ];
  test.each(wrong)("%s", async (_, body, status, code) => {
    expect(await codeOf(await chat(body))).toEqual([status, code]);
    expect(engine.requests).toEqual([]);
  });

  test("no key and a wrong key are 401", async () => {
    expect((await fetch(`${url}/v1/chat/completions`, { method: "POST", body: "{}" })).status).toBe(401);
    expect((await chat({ model: "tiny", messages }, { key: "ftl-wrong" })).status).toBe(401);
  });

  test("a body over 8 MiB is 413", async () => {
    const reply = await chat({ model: "tiny", messages: [{ role: "user", content: "x".repeat(9 * 1024 * 1024) }] });
    expect(await codeOf(reply)).toEqual([413, "request_too_large"]);
  });

  test("another organization's fine-tuned model is not found", async () => {
    const { id } = await insertTuned(t.ctx, t.orgs.a);
    expect(await codeOf(await chat({ model: id, messages }, { key: t.keys.other }))).toEqual([404, "model_not_found"]);
  });

  test("the engine's own 4xx error reaches the client unchanged", async () => {
    engine.instead = () =>
      Response.json(
        {
          error: {
            message: "too long",
            type: "invalid_request_error",
            param: "messages",
            code: "context_length_exceeded",
          },
        },
        { status: 400 },
      );
    expect(await codeOf(await chat({ model: "tiny", messages }))).toEqual([400, "context_length_exceeded"]);
    expect((await usageRows())[0]).toMatchObject({ status: 400, finish: "error" });
  });

  test.each([
    [500, "an engine's crash report", () => new Response("Traceback: secret", { status: 500 })],
    [500, "an engine's own 500", () => Response.json({ error: { message: "secret" } }, { status: 500 })],
    [503, "an engine that is overloaded", () => Response.json({ error: { message: "secret" } }, { status: 503 })],
    [503, "an answer that is not JSON", () => new Response("<html>")],
  ])("is %d for %s, without the engine's text", async (status, _, instead) => {
    engine.instead = instead;
    const reply = await chat({ model: "tiny", messages });
    const text = await reply.text();
    expect(reply.status).toBe(status);
    expect(text).toContain("engine_failed");
    expect(text).not.toContain("secret");
  });

  test("a request on which the engine hangs up fails alone: the endpoint stays ready for the others", async () => {
    const hangsUp = Bun.listen({
      unix: `${engine.address.slice(5)}.2`,
      socket: {
        data(socket, data) {
          if (data.toString().startsWith("GET /health")) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
          else socket.end();
        },
      },
    });
    await t.ctx.write((tx) =>
      tx
        .update(deployment)
        .set({ address: `${engine.address}.2` })
        .where(eq(deployment.id, deploymentId)),
    );
    t.ctx.bus.emit("deployment.changed", { org: t.orgs.a, deploymentId, state: "ready" });
    expect(await codeOf(await chat({ model: "tiny", messages }))).toEqual([500, "engine_failed"]);
    const [row] = await t.ctx.db.select().from(deployment).where(eq(deployment.id, deploymentId));
    expect([row?.state, row?.address]).toEqual(["ready", `${engine.address}.2`]);
    hangsUp.stop(true);
  });

  test("a request to a stopped endpoint is refused and does not wake it", async () => {
    await t.json("POST", `/v1/deployments/${deploymentId}/stop`);
    expect(await codeOf(await chat({ model: "tiny", messages }))).toEqual([409, "endpoint_stopped"]);
  });
});

test("a thousand requests write a thousand usage rows", async () => {
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let n = 0; n < 50; n++) expect((await chat({ model: "tiny", messages })).status).toBe(200);
    }),
  );
  expect((await usageRows()).length).toBe(1000);
});

test("events are split at blank lines wherever the pieces end", () => {
  const text = 'data: {"a":1}\n\n: comment\r\n\r\ndata: x\ndata: y\n\ndata: [DONE]\n\n';
  for (let size = 1; size < text.length; size++) {
    const splitter = eventSplitter();
    const events: string[] = [];
    for (let at = 0; at < text.length; at += size)
      for (const event of splitter.feed(Buffer.from(text.slice(at, at + size))))
        events.push(Buffer.from(event).toString());
    expect([events.length, events.join(""), splitter.rest()]).toEqual([4, text, null]);
  }
});
