/** The trainer protocol over HTTP: tokens, reading inputs, and posting events. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { SpecReply } from "../../src/contract/trainer.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics, trainSpec } from "../support/attempt.ts";

let t: TestApp;
let local = false;
const compute: ComputeRegistry = {
  get: () => ({ plugin: { capabilities: { local } } as ProviderPlugin, provider: {} as Provider }),
  list: () => [],
};
beforeAll(async () => {
  t = await createTestApp({ ctx: { compute } });
});
afterAll(() => t.close());

describe("tokens", () => {
  test("an unknown token and an API key are refused on every route", async () => {
    const trainer = await makeTrainer(t);
    const routes = [
      ["GET", "/spec"],
      ["GET", "/data/train"],
      ["GET", "/inputs/base/config.json"],
      ["POST", "/events"],
      ["POST", "/artifacts"],
      ["PUT", "/artifacts/art_x/a.json?offset=0"],
      ["POST", "/artifacts/art_x/complete"],
    ] as const;
    for (const [method, path] of routes) {
      for (const token of ["fta-00000000000000000000000000000000", t.keys.admin, ""])
        expect([method, path, (await trainer.call(method, path, { token })).status]).toEqual([method, path, 401]);
    }
  });

  test("a replaced attempt gets 409, and one whose job has ended 410", async () => {
    const first = await makeTrainer(t);
    const second = await makeTrainer(t, { jobId: first.jobId, number: 2 });
    const events = { events: [{ seq: 1, at: 1, ...metrics(1, { x: 1 }) }] };
    for (const [method, path] of [
      ["GET", "/spec"],
      ["GET", "/data/train"],
      ["POST", "/events"],
      ["POST", "/artifacts"],
    ] as const)
      expect((await first.call(method, path, method === "POST" ? { body: events } : {})).status).toBe(409);
    expect((await second.call("GET", "/spec")).status).toBe(200);
    await t.ctx.write((tx) => tx.update(job).set({ state: "cancelled" }).where(eq(job.id, first.jobId)));
    expect((await second.call("POST", "/events", { body: events })).status).toBe(410);
    expect((await second.call("POST", "/artifacts", { body: {} })).status).toBe(410);
  });

  test("an attempt of a paused job has ended", async () => {
    const trainer = await makeTrainer(t);
    await t.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(eq(attempt.id, trainer.attemptId)));
    await t.ctx.write((tx) => tx.update(job).set({ state: "paused" }).where(eq(job.id, trainer.jobId)));
    expect((await trainer.call("GET", "/spec")).status).toBe(409);
  });
});

describe("reading", () => {
  test("the spec has local paths only on this machine", async () => {
    const trainer = await makeTrainer(t);
    local = false;
    const remote = await trainer.json<SpecReply & Record<string, unknown>>("GET", "/spec");
    expect(remote).toMatchObject({
      protocol: 1,
      job_id: trainer.jobId,
      attempt_id: trainer.attemptId,
      attempt: 1,
      kind: "train",
      resume: null,
      last_seq: 0,
    });
    expect(remote.inputs.base).toMatchObject({ local_path: null, files: [{ path: "config.json", size: 13 }] });
    local = true;
    const here = await trainer.json<SpecReply & Record<string, unknown>>("GET", "/spec");
    expect(here.inputs.base?.local_path).toBe(t.ctx.files.path("models", "tiny"));
    local = false;
  });

  test("rows are read by split, and unknown splits are not found", async () => {
    const trainer = await makeTrainer(t);
    const rows = async (split: string) =>
      (await (await trainer.call("GET", `/data/${split}`)).text())
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).id);
    expect(await rows("train")).toEqual([0, 1]);
    expect(await rows("holdout")).toEqual([2]);
    for (const split of ["validation", "..%2f..%2flab.db", "constructor"])
      expect((await trainer.call("GET", `/data/${split}`)).status).toBe(404);
  });

  test("all rows of a validation file are used", async () => {
    const base = trainSpec();
    const trainer = await makeTrainer(t, { spec: trainSpec({ validation: base.dataset }) });
    const answer = await trainer.call("GET", "/data/validation");
    const text = await answer.text();
    expect(
      text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).id),
    ).toEqual([0, 1, 2]);
    expect(answer.headers.get("content-length")).toBe(String(text.length));
    const part = await trainer.call("GET", "/data/validation", { headers: { range: "bytes=10-200" } });
    expect(await part.text()).toBe(text.slice(10, 201));
  });

  const { dataset: given } = trainSpec();
  const mixed = (train_rows: number, holdout_rows: number) => ({
    ...given,
    version_id: "dsv_mixed",
    train_rows,
    holdout_rows,
  });
  test.each([
    ["own validation split", { dataset: mixed(3, 2) }, [0, 2, 3], [1, 4]],
    ["no validation rows", { dataset: mixed(5, 0) }, [0, 1, 2, 3, 4], []],
    [
      "a validation file: nothing of the training file is withheld",
      { dataset: mixed(5, 0), validation: { ...given, train_rows: 0, holdout_rows: 3 } },
      [0, 1, 2, 3, 4],
      [0, 1, 2],
    ],
    [
      "a validation file, in a spec of an older server: its run continues as it began",
      { dataset: mixed(3, 2), validation: given },
      [0, 2, 3],
      [1, 4],
    ],
  ] as const)("a training with %s", async (_name, changes, train, holdout) => {
    const folder = t.ctx.files.path("datasets", "dsv_mixed");
    mkdirSync(folder, { recursive: true });
    const line = (id: number) => `${JSON.stringify({ id, messages: [{ role: "user", content: "é".repeat(id) }] })}\n`;
    writeFileSync(join(folder, "train.jsonl"), [0, 2, 3].map(line).join(""));
    writeFileSync(join(folder, "holdout.jsonl"), [1, 4].map(line).join(""));
    const trainer = await makeTrainer(t, { spec: trainSpec(changes) });
    for (const [split, ids] of [
      ["train", train],
      ["holdout", holdout],
    ] as const) {
      const answer = await trainer.call("GET", `/data/${split}`);
      const text = await answer.text();
      const lines = text.split("\n").slice(0, -1);
      expect([split, lines.map((one) => JSON.parse(one).id)]).toEqual([split, [...ids]]);
      expect(answer.headers.get("content-length")).toBe(String(Buffer.byteLength(text)));
      for (const [from, to] of [
        [0, 1],
        [7, 60],
        [30, 9999],
      ] as const) {
        if (from >= Buffer.byteLength(text)) continue;
        const part = await trainer.call("GET", `/data/${split}`, { headers: { range: `bytes=${from}-${to}` } });
        const bytes = Buffer.from(await part.arrayBuffer());
        expect(bytes.toString("hex")).toBe(
          Buffer.from(text)
            .subarray(from, to + 1)
            .toString("hex"),
        );
      }
    }
  });

  test("input files are read by range, and unlisted files are not found", async () => {
    const trainer = await makeTrainer(t);
    const get = (path: string, range?: string) =>
      trainer.call("GET", `/inputs/${path}`, { headers: range ? { range } : {} });
    expect(await (await get("base/config.json")).text()).toBe('{"tiny":true}');
    const cases = [
      ["bytes=2-5", 206, "tiny", "bytes 2-5/13"],
      ["bytes=9-", 206, "rue}", "bytes 9-12/13"],
      ["bytes=-3", 206, "ue}", "bytes 10-12/13"],
      ["bytes=0-999", 206, '{"tiny":true}', "bytes 0-12/13"],
      ["bytes=13-", 416, "", "bytes */13"],
      ["items=1-2", 200, '{"tiny":true}', null],
    ] as const;
    for (const [range, status, text, content] of cases) {
      const answer = await get("base/config.json", range);
      expect([range, answer.status, await answer.text(), answer.headers.get("content-range")]).toEqual([
        range,
        status,
        text,
        content,
      ]);
    }
    for (const path of [
      "base/manifest.json",
      "base/../tiny/config.json",
      "base/%2e%2e%2ftiny%2fconfig.json",
      "other/config.json",
    ])
      expect((await get(path)).status).toBe(404);
  });

  test("a base model that was replaced after the job was created is refused", async () => {
    const trainer = await makeTrainer(t);
    await t.ctx.write((tx) => tx.update(baseModel).set({ hash: "h2" }).where(eq(baseModel.id, "tiny")));
    const answer = await trainer.call("GET", "/spec");
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([
      400,
      "base_model_changed",
    ]);
    await t.ctx.write((tx) => tx.update(baseModel).set({ hash: "h1" }).where(eq(baseModel.id, "tiny")));
  });
});

describe("invalid batches are refused with the event and field", () => {
  const at = Date.now();
  const cases: [name: string, body: unknown, status: number, param: string | null][] = [
    ["no list", { events: 1 }, 400, "events"],
    ["not an object", [], 400, "events"],
    ["a null event", { events: [null] }, 400, "events[0]"],
    ["seq zero", { events: [{ seq: 0, at, type: "log", level: "info", message: "x" }] }, 400, "events[0].seq"],
    ["no time", { events: [{ seq: 1, type: "log", level: "info", message: "x" }] }, 400, "events[0].at"],
    ["unknown type", { events: [{ seq: 1, at, type: "exec" }] }, 400, "events[0].type"],
    ["a property of Object as type", { events: [{ seq: 1, at, type: "constructor" }] }, 400, "events[0].type"],
    ["a string as value", { events: [{ seq: 1, at, ...metrics(1, { x: "high" }) }] }, 400, "events[0].values"],
    ["an invalid name", { events: [{ seq: 1, at, ...metrics(1, { "=cmd": 1 }) }] }, 400, "events[0].values"],
    ["a negative step", { events: [{ seq: 1, at, ...metrics(-1, { x: 1 }) }] }, 400, "events[0].step"],
    ["a fractional step", { events: [{ seq: 1, at, ...metrics(0.5, { x: 1 }) }] }, 400, "events[0].step"],
    ["a huge step", { events: [{ seq: 1, at, ...metrics(2 ** 52, { x: 1 }) }] }, 400, "events[0].step"],
    ["a wrong outcome", { events: [{ seq: 1, at, type: "finished", outcome: "won" }] }, 400, "events[0].outcome"],
  ];
  test.each(cases)("%s", async (_name, body, status, param) => {
    const trainer = await makeTrainer(t);
    const answer = await trainer.call("POST", "/events", { body });
    const { error } = (await answer.json()) as { error: { param: string | null } };
    expect([answer.status, error.param]).toEqual([status, param]);
    expect((await trainer.json<SpecReply & Record<string, unknown>>("GET", "/spec")).last_seq).toBe(0);
  });

  test("invalid JSON, a wrong content type, and bodies over 8 MiB with and without a length are refused", async () => {
    const trainer = await makeTrainer(t);
    const post = (raw: RequestInit["body"], headers: Record<string, string>) =>
      trainer.call("POST", "/events", { raw, headers });
    const json = { "content-type": "application/json" };
    expect((await post("{", json)).status).toBe(400);
    expect((await post(new Uint8Array([0x22, 0xff, 0x22]), json)).status).toBe(400);
    expect((await post("{}", { "content-type": "text/plain" })).status).toBe(415);
    const large = new Uint8Array(8 * 1024 ** 2 + 1).fill(32);
    expect((await post(large, json)).status).toBe(413);
    const stream = new ReadableStream({
      start(controller) {
        for (let n = 0; n < 9; n++) controller.enqueue(new Uint8Array(1024 ** 2));
        controller.close();
      },
    });
    expect((await post(stream, json)).status).toBe(413);
    const deep = `{"events":${"[".repeat(1_000_000)}`;
    expect((await post(deep, json)).status).toBe(400);
  });
});
