/**
 * Revoking access reaches work under way over real HTTP: completions, waiting requests, live streams and downloads end
 * at once.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { createKey, revokeKey } from "../../src/accounts/api-keys/service.ts";
import { setPassword } from "../../src/accounts/auth/service.ts";
import { changeUser } from "../../src/accounts/organizations/users.ts";
import { systemActor } from "../../src/ctx.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";

let t: TestApp;
let url: string;
let engine: TestEngine;
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
  engine.pace = 20;
  engine.words = Array.from({ length: 500 }, (_, n) => `word${n} `);
  await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" });
});
afterEach(async () => {
  await changeUser(t.ctx, systemActor(), t.users.member, { role: "member", disabled: false });
  await t.json("GET", "/v1/deployments").then(async (list) => {
    for (const one of list.data as { id: string }[]) await t.json("DELETE", `/v1/deployments/${one.id}`);
  });
  await engine.stop();
});

type Headers = Record<string, string>;
const key = async (): Promise<{ id: string; headers: Headers }> => {
  const made = await createKey(t.ctx, systemActor(), { name: "to revoke", userId: t.users.member });
  return { id: made.id, headers: { authorization: `Bearer ${made.key}` } };
};
const signIn = async (): Promise<Headers> => {
  const form = { email: t.emails.member, password: PASSWORD };
  const answer = await t.request("POST", "/login", { as: "anonymous", form });
  const cookies = answer.headers.getSetCookie().map((one) => one.split(";")[0]);
  return { cookie: cookies.join("; "), origin: url, "sec-fetch-site": "same-origin" };
};
const chat = (headers: Headers, stream = true) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "Hi" }], stream }),
  });
const live = (headers: Headers) => fetch(`${url}/v1/stream?topics=jobs`, { headers });

/** Reads a body until it ends; `text` grows while it does. */
function follow(reply: Response): { text: string; ended: Promise<void>; over: boolean } {
  const found = { text: "", over: false, ended: Promise.resolve() };
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const piece of reply.body ?? []) found.text += decoder.decode(piece, { stream: true });
  };
  found.ended = read().finally(() => {
    found.over = true;
  });
  return found;
}
const soon = <T>(work: Promise<T>) =>
  Promise.race([work, Bun.sleep(1000).then(() => Promise.reject(new Error("it goes on after a second")))]);
const words = (text: string) => text.split("word").length - 1;

/** Ways to end access, and whether they reach work that runs by key. */
const ways: [string, "key" | "session", (keyId: string, headers: Headers) => Promise<unknown>][] = [
  ["the key is revoked", "key", (id) => revokeKey(t.ctx, t.actor("admin"), id)],
  ["the user is disabled", "key", () => changeUser(t.ctx, t.actor("admin"), t.users.member, { disabled: true })],
  ["the role changes", "key", () => changeUser(t.ctx, t.actor("admin"), t.users.member, { role: "admin" })],
  ["the user is disabled", "session", () => changeUser(t.ctx, t.actor("admin"), t.users.member, { disabled: true })],
  ["the role changes", "session", () => changeUser(t.ctx, t.actor("admin"), t.users.member, { role: "admin" })],
  ["the password changes", "session", () => setPassword(t.ctx, t.actor("admin"), t.users.member, PASSWORD)],
  [
    "the session ends",
    "session",
    (_, headers) => fetch(`${url}/logout`, { method: "POST", headers, redirect: "manual" }),
  ],
];

describe.each(ways)("when %s, work by %s ends:", (_, via, end) => {
  const credentials = async () => (via === "key" ? key() : { id: "", headers: await signIn() });

  test("a streamed completion passes no further word on, says why, and stops the engine", async () => {
    const { id, headers } = await credentials();
    const stream = follow(await chat(headers));
    await until("words", async () => words(stream.text) >= 3, 5000, 5);
    await end(id, headers);
    const had = words(stream.text);
    await soon(stream.ended);
    // At most the one that was on its way when access ended.
    expect(words(stream.text)).toBeLessThanOrEqual(had + 1);
    const last = stream.text.trimEnd().split("\n\n").at(-1) ?? "";
    expect(JSON.parse(last.slice("data: ".length))).toMatchObject({
      error: { type: "authentication_error", code: "access_ended" },
    });
    await until("the engine to stop", async () => engine.aborted === 1, 2000, 10);
    await flushUsage(t.ctx);
    const rows = await t.ctx.db.select().from(inference).where(eq(inference.finish, "access_ended"));
    expect(rows.at(-1)).toMatchObject({ status: 401, streamed: true });
  });

  test("a request that waits for its answer is refused", async () => {
    let asked = false;
    engine.instead = async () => {
      asked = true;
      await Bun.sleep(3000);
      return Response.json({ choices: [] });
    };
    const { id, headers } = await credentials();
    const waiting = chat(headers, false);
    await until("the engine to be asked", async () => asked, 5000, 5);
    await end(id, headers);
    const reply = await soon(waiting);
    expect([reply.status, ((await reply.json()) as { error: { code: string } }).error.code]).toEqual([
      401,
      "access_ended",
    ]);
  });

  test("a live stream ends", async () => {
    const { id, headers } = await credentials();
    const stream = follow(await live(headers));
    await until("the first event", async () => stream.text.includes("hello"), 5000, 5);
    await end(id, headers);
    await soon(stream.ended);
  });
});

test("a long download breaks off", async () => {
  const trainer = await makeTrainer(t);
  for (let round = 0; round < 20; round++)
    await trainer.send(Array.from({ length: 1000 }, (_, n) => metrics(round * 1000 + n, { x: n })));
  const made = await key();
  // In process: nothing is read ahead of the reader, as it is on a socket.
  const path = `/v1/jobs/${trainer.jobId}/metrics.csv`;
  const reader = (await t.request("GET", path, { headers: made.headers })).body?.getReader();
  await reader?.read();
  await revokeKey(t.ctx, t.actor("admin"), made.id);
  const rest = async () => {
    for (;;) if ((await reader?.read())?.done !== false) return "whole";
  };
  await expect(soon(rest())).rejects.toMatchObject({ code: "access_ended" });
});

test("what runs by other keys and sessions of the same user goes on", async () => {
  const [cut, stays] = [await key(), await key()];
  const session = await signIn();
  const streams = [follow(await chat(cut.headers)), follow(await chat(stays.headers)), follow(await chat(session))];
  await until("words", async () => streams.every((one) => words(one.text) > 0), 5000, 5);
  await revokeKey(t.ctx, t.actor("admin"), cut.id);
  const other = await signIn();
  await fetch(`${url}/logout`, { method: "POST", headers: other, redirect: "manual" });
  await soon(streams[0]?.ended ?? Promise.reject(new Error("no stream")));
  const had = streams.map((one) => words(one.text));
  await Bun.sleep(300);
  expect(streams.map((one) => one.over)).toEqual([true, false, false]);
  for (const n of [1, 2]) expect(words(streams[n]?.text ?? "")).toBeGreaterThan(had[n] ?? 0);
  await revokeKey(t.ctx, t.actor("admin"), stays.id);
});

test("a key revoked while it is looked up is not remembered", async () => {
  for (let round = 0; round < 20; round++) {
    const made = await key();
    const asks = Array.from({ length: 5 }, () => fetch(`${url}/v1/models`, { headers: made.headers }));
    await revokeKey(t.ctx, t.actor("admin"), made.id);
    await Promise.all(asks);
    expect((await fetch(`${url}/v1/models`, { headers: made.headers })).status).toBe(401);
  }
});
