/** Stored chat completions with OpenAI's client: what `store` keeps, and who sees it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { ChatCompletionCreateParamsNonStreaming } from "openai/resources/chat/completions";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
let n = 0;
beforeAll(async () => {
  served = await createServed();
});
/** Every answer of the engine has an id of its own, as real engines give them. */
beforeEach(() => {
  served.reset();
  served.engine.id = `chatcmpl-test${n++}`;
});
afterAll(() => served.close());

const fits = (schema: string, value: unknown) => {
  if (!contractMissing) expect(contractProblems(schema, value)).toEqual([]);
};
const chat = (body: Partial<ChatCompletionCreateParamsNonStreaming> = {}) =>
  served.client.chat.completions.create({
    model: "tiny",
    messages: [
      { role: "system", content: "Be short." },
      { role: "user", content: [{ type: "text", text: "Hi" }] },
    ],
    store: true,
    ...body,
  });
const stored = () => served.client.chat.completions;

describe("a completion with store", () => {
  test("is retrieved with its settings and messages, gets other metadata, and is deleted", async () => {
    const given = await chat({ metadata: { topic: "a" }, temperature: 0.5 });
    const kept = await stored().retrieve(given.id);
    fits("CreateChatCompletionResponse", kept);
    expect(kept).toMatchObject({ id: given.id, model: "tiny", metadata: { topic: "a" }, temperature: 0.5 });
    expect([kept.choices, kept.usage]).toEqual([given.choices, given.usage]);
    const messages = [];
    for await (const message of stored().messages.list(given.id, { limit: 1 })) messages.push(message);
    expect(messages.map(({ id, role, content }) => [id, role, content])).toEqual([
      [`${given.id}-0`, "system", "Be short."],
      [`${given.id}-1`, "user", "Hi"],
    ] as never);
    const list = await served.app.json("GET", `/v1/chat/completions/${given.id}/messages`);
    // The schema allows only messages of the assistant; its own example shows the user's.
    const role = (n: number) => `ChatCompletionMessageList/data/${n}/role must be equal to one of the allowed values`;
    if (!contractMissing) expect(contractProblems("ChatCompletionMessageList", list)).toEqual([role(0), role(1)]);
    expect(await stored().update(given.id, { metadata: { topic: "b" } })).toMatchObject({ metadata: { topic: "b" } });
    expect(await stored().delete(given.id)).toMatchObject({ id: given.id, deleted: true });
    expect((await served.app.request("GET", `/v1/chat/completions/${given.id}`)).status).toBe(404);
  });

  test("that is streamed is kept whole, with its tool calls", async () => {
    served.engine.calls = [{ name: "get_weather", arguments: '{"city":"Oslo"}' }];
    const stream = await served.client.chat.completions.create({
      model: "tiny",
      messages: [{ role: "user", content: "Hi" }],
      store: true,
      stream: true,
    });
    for await (const _ of stream);
    const id = served.engine.id;
    const read = () => served.app.request("GET", `/v1/chat/completions/${id}`);
    await until("the row", async () => (await read()).ok, 5000, 5);
    const kept = await stored().retrieve(id);
    fits("CreateChatCompletionResponse", kept);
    expect(kept.choices).toMatchObject([
      {
        index: 0,
        finish_reason: "tool_calls",
        message: {
          content: "Hello world",
          tool_calls: [{ id: "call_0", function: { name: "get_weather", arguments: '{"city":"Oslo"}' } }],
        },
      },
    ]);
    expect(kept.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 4 });
  });

  test("is listed by page, order, model and metadata", async () => {
    const ids: string[] = [];
    for (const lot of ["x", "x", "y"]) {
      served.engine.id = `chatcmpl-test${n++}`;
      ids.push((await chat({ metadata: { lot } })).id);
    }
    const listed = async (query: object) => {
      const found: string[] = [];
      for await (const each of stored().list({ limit: 2, ...query })) found.push(each.id);
      return found.filter((id) => ids.includes(id));
    };
    expect([...(await listed({}))].sort()).toEqual([...ids].sort());
    expect(await listed({ order: "desc" })).toEqual((await listed({ order: "asc" })).reverse());
    expect((await listed({ metadata: { lot: "x" } })).sort()).toEqual(ids.slice(0, 2).sort());
    expect(await listed({ model: "other" })).toEqual([]);
    fits("ChatCompletionList", await served.app.json("GET", "/v1/chat/completions"));
  });

  test("belongs to its organization", async () => {
    const { id } = await chat();
    const ask = (method: string, path: string, body?: object) =>
      served.app.request(method, `/v1/chat/completions${path}`, { as: "other", body });
    expect((await ask("GET", `/${id}`)).status).toBe(404);
    expect((await ask("GET", `/${id}/messages`)).status).toBe(404);
    expect((await ask("POST", `/${id}`, { metadata: {} })).status).toBe(404);
    expect((await ask("DELETE", `/${id}`)).status).toBe(404);
    expect(((await (await ask("GET", "")).json()) as { data: unknown[] }).data).toEqual([]);
  });
});

test("nothing is kept without store, for a refused request, or for a stream that broke off", async () => {
  const rows = async () => (await served.app.ctx.db.select().from(storedAnswer)).length;
  const before = await rows();
  await chat({ store: false });
  await chat({ store: undefined });
  const refused = await served.app.request("POST", "/v1/chat/completions", {
    body: { model: "tiny", messages: [{ role: "user", content: "a" }], store: true, metadata: { a: 1 } },
  });
  const { error } = (await refused.json()) as { error: { param: string } };
  expect([refused.status, error.param]).toEqual([400, "metadata"]);
  served.engine.fail = { after: 1, how: "close" };
  const broken = await served.app.request("POST", "/v1/chat/completions", {
    body: { model: "tiny", messages: [{ role: "user", content: "a" }], store: true, stream: true },
  });
  expect(await broken.text()).toContain("engine_failed");
  expect(await rows()).toBe(before);
});
