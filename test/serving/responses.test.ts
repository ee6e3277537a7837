/** OpenAI's Responses API with OpenAI's own client: text, streams, tools, structured output, turns, and what is stored. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import type { Response as ApiResponse, ResponseStreamEvent } from "openai/resources/responses/responses";
import { z } from "zod";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { organization } from "../../src/db/schema/auth.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { startAnswerExpiry } from "../../src/serving/stored/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

let app: TestApp;
let engine: TestEngine;
let client: OpenAI;
const clock = fakeClock(Date.now());
const model = "tiny";

/** The client's type lacks `store`. */
type Stored = ApiResponse & { store: boolean };

const fetchOf = (on: TestApp) =>
  ((input: RequestInfo | URL, init?: RequestInit) => on.app.handle(new Request(input, init))) as typeof fetch;

beforeAll(async () => {
  app = await createTestApp({ ctx: { clock } });
  engine = startEngine();
  await readyBase(app.ctx, model);
  await deployEngine(app.ctx, engine, { org: app.orgs.a, model });
  client = new OpenAI({ apiKey: app.keys.member, baseURL: "http://localhost/v1", maxRetries: 0, fetch: fetchOf(app) });
});
beforeEach(() => {
  engine.instead = null;
  engine.fail = null;
  engine.calls = [];
  engine.words = ["Hel", "lo", " wor", "ld"];
  engine.requests.length = 0;
});
afterAll(async () => {
  await engine.stop();
  await app.close();
});

const fits = (schema: string, value: unknown) => {
  if (!contractMissing) expect(contractProblems(schema, value)).toEqual([]);
};
const create = async (body: object) => (await client.responses.create({ model, input: "Hi", ...body })) as Stored;
const sent = () => engine.requests.at(-1)?.body as Record<string, unknown> & { messages: object[] };
const post = (body: unknown, as: "member" | "other" = "member", path = "") =>
  app.request("POST", `/v1/responses${path}`, { as, body });
const refused = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string | null; message: string } };
  return [answer.status, error.param, error.message] as const;
};
/** All events of a stream, checked against OpenAI's schemas. */
async function eventsOf(body: object): Promise<ResponseStreamEvent[]> {
  const stream = await client.responses.create({ model, input: "Hi", ...body, stream: true });
  const events: ResponseStreamEvent[] = [];
  for await (const event of stream) events.push(event);
  expect(events.map((each) => each.sequence_number)).toEqual(events.map((_, n) => n));
  for (const each of events) fits("ResponseStreamEvent", each);
  return events;
}
const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: true,
} as const;

describe("a response", () => {
  test("has the text, the usage and every field of OpenAI's object, and one usage row", async () => {
    const call = client.responses.create({ model, input: "Hi", instructions: "Be short.", metadata: { a: "b" } });
    const { data, response: http } = await call.withResponse();
    fits("Response", data);
    expect([data.output_text, data.status, data.model, (data as Stored).store]).toEqual([
      "Hello world",
      "completed",
      model,
      true,
    ]);
    expect(data.usage).toMatchObject({ input_tokens: 7, output_tokens: 4, total_tokens: 11 });
    expect([data.instructions, data.metadata, data.id.slice(0, 5)]).toEqual(["Be short.", { a: "b" }, "resp_"]);
    expect(sent()).toEqual({
      model,
      messages: [
        { role: "system", content: "Be short." },
        { role: "user", content: "Hi" },
      ],
    });
    await flushUsage(app.ctx);
    const id = http.headers.get("x-request-id") ?? "";
    const rows = await app.ctx.db.select().from(inference).where(eq(inference.id, id));
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ promptTokens: 7, completionTokens: 4, status: 200, keyId: app.keyIds.member });
  });

  test("passes sampling options on, and ends incomplete at max_output_tokens", async () => {
    const data = await create({ max_output_tokens: 2, temperature: 0, top_p: 0.5, parallel_tool_calls: false });
    fits("Response", data);
    expect([data.status, data.incomplete_details]).toEqual(["incomplete", { reason: "max_output_tokens" }]);
    expect([data.temperature, data.top_p, data.max_output_tokens]).toEqual([0, 0.5, 2]);
    expect(sent()).toMatchObject({ max_completion_tokens: 2, temperature: 0, top_p: 0.5 });
  });

  test("takes items: roles, parts, calls with outputs, and history of other services", async () => {
    await create({
      instructions: "One.",
      input: [
        { role: "developer", content: "Two." },
        {
          role: "user",
          content: [
            { type: "input_text", text: "a" },
            { type: "input_text", text: "b" },
          ],
        },
        { type: "reasoning", id: "rs_1", summary: [] },
        {
          type: "message",
          role: "assistant",
          id: "msg_x",
          status: "completed",
          content: [{ type: "output_text", text: "c", annotations: [] }],
        },
        { type: "function_call", call_id: "c1", name: "f", arguments: "{}" },
        { type: "function_call", call_id: "c2", name: "g", arguments: "{}" },
        { type: "function_call_output", call_id: "c1", output: "1" },
        { type: "function_call_output", call_id: "c2", output: [{ type: "input_text", text: "2" }] },
      ],
    });
    const call = (id: string, name: string) => ({ id, type: "function", function: { name, arguments: "{}" } });
    expect(sent().messages).toEqual([
      { role: "system", content: "One.\n\nTwo." },
      { role: "user", content: "ab" },
      { role: "assistant", content: "c", tool_calls: [call("c1", "f"), call("c2", "g")] },
      { role: "tool", tool_call_id: "c1", content: "1" },
      { role: "tool", tool_call_id: "c2", content: "2" },
    ]);
  });

  test("is parsed by a zod schema, which reaches the engine as response_format", async () => {
    engine.words = ['{"city":', '"Oslo"}'];
    const format = zodTextFormat(z.object({ city: z.string() }), "place");
    const parsed = await client.responses.parse({ model, input: "Where?", text: { format } });
    expect(parsed.output_parsed).toEqual({ city: "Oslo" });
    expect(sent().response_format).toMatchObject({
      type: "json_schema",
      json_schema: { name: "place", strict: true, schema: { type: "object", required: ["city"] } },
    });
    await create({ text: { format: { type: "json_object" } } });
    expect(sent().response_format).toEqual({ type: "json_object" });
  });

  test("counts its input tokens as the engine does", async () => {
    const counted = await client.responses.inputTokens.count({ model, input: "Hi", instructions: "Be short." });
    expect(counted).toMatchObject({ object: "response.input_tokens", input_tokens: 7 });
    fits("TokenCountsResource", counted);
    expect(sent()).toMatchObject({ max_completion_tokens: 1 });
  });
});

describe("tools", () => {
  test("a call is an item, and its output continues the conversation", async () => {
    engine.words = [];
    engine.calls = [{ name: "get_weather", arguments: '{"city":"Oslo"}' }];
    const tools = [zodResponsesFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })];
    const first = await client.responses.parse({ model, input: "Weather in Oslo?", tools, tool_choice: "required" });
    fits("Response", first);
    const [item] = first.output;
    if (item?.type !== "function_call") throw new Error("no call");
    expect([item.name, item.parsed_arguments, item.status]).toEqual(["get_weather", { city: "Oslo" }, "completed"]);
    expect(sent()).toMatchObject({
      tool_choice: "required",
      tools: [{ type: "function", function: { name: "get_weather", strict: true } }],
    });
    engine.words = ["Sunny"];
    engine.calls = [];
    // Once with the items, once by the id of the response before.
    for (const turn of [
      { input: [{ role: "user", content: "Weather in Oslo?" }, item], store: false },
      { input: [], previous_response_id: first.id },
    ]) {
      const output = { type: "function_call_output", call_id: item.call_id, output: "sunny" };
      const last = await create({ ...turn, tools, input: [...turn.input, output] });
      expect(last.output_text).toBe("Sunny");
      expect(sent().messages).toEqual([
        { role: "user", content: "Weather in Oslo?" },
        {
          role: "assistant",
          content: null,
          tool_calls: [
            { id: "call_0", type: "function", function: { name: "get_weather", arguments: '{"city":"Oslo"}' } },
          ],
        },
        { role: "tool", tool_call_id: "call_0", content: "sunny" },
      ]);
    }
  });

  test("a named choice names the function for the engine; a choice without tools is refused", async () => {
    await create({ tools: [weather], tool_choice: { type: "function", name: "get_weather" } });
    expect(sent().tool_choice).toEqual({ type: "function", function: { name: "get_weather" } });
    expect((await refused(await post({ model, input: "a", tool_choice: "required" }))).slice(0, 2)).toEqual([
      400,
      "tool_choice",
    ]);
  });
});

describe("a streamed response", () => {
  test("of text has OpenAI's events in OpenAI's order", async () => {
    const events = await eventsOf({});
    expect(events.map((each) => each.type)).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      ...new Array(4).fill("response.output_text.delta"),
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    const last = events.at(-1);
    if (last?.type !== "response.completed") throw new Error("not completed");
    expect(last.response).toMatchObject({ status: "completed", usage: { input_tokens: 7, output_tokens: 4 } });
    expect((await client.responses.retrieve(last.response.id)).output_text).toBe("Hello world");
    const first = events[0];
    expect(first?.type === "response.created" && first.response).toMatchObject({ status: "in_progress", output: [] });
  });

  test("of text and two calls ends every item before the next one begins", async () => {
    engine.words = ["Wait."];
    engine.calls = [
      { name: "get_weather", arguments: '{"city":"Oslo"}' },
      { name: "get_time", arguments: "{}" },
    ];
    const events = await eventsOf({ tools: [weather, { ...weather, name: "get_time" }] });
    expect(events.map((each) => each.type.replace("response.", "")).slice(2)).toEqual([
      "output_item.added",
      "content_part.added",
      "output_text.delta",
      "output_text.done",
      "content_part.done",
      "output_item.done",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "completed",
    ]);
    const last = events.at(-1);
    expect(last?.type === "response.completed" && last.response.output.map((item) => item.type)).toEqual([
      "message",
      "function_call",
      "function_call",
    ]);
  });

  test("is assembled by OpenAI's stream helper", async () => {
    const stream = client.responses.stream({ model, input: "Hi" });
    const deltas: string[] = [];
    stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
    const final = await stream.finalResponse();
    expect([deltas.join(""), final.output_text, final.status]).toEqual(["Hello world", "Hello world", "completed"]);
  });

  test("ends incomplete, or failed without a word of the engine's crash", async () => {
    const short = (await eventsOf({ max_output_tokens: 1 })).at(-1);
    expect(short).toMatchObject({ type: "response.incomplete", response: { status: "incomplete" } });
    engine.fail = { after: 2, how: "close" };
    const broken = (await eventsOf({})).at(-1);
    expect(broken).toMatchObject({
      type: "response.failed",
      response: { status: "failed", error: { code: "server_error" } },
    });
    expect(broken?.type === "response.failed" && broken.response.error?.message).toContain("stopped in the middle");
  });

  test("stops the engine when the client disconnects", async () => {
    engine.pace = 20;
    engine.words = new Array(200).fill("x");
    const before = engine.aborted;
    const stream = await client.responses.create({ model, input: "Hi", stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    stream.controller.abort();
    await until("the engine to notice", async () => engine.aborted > before, 5000, 10);
    engine.pace = 0;
  });
});

describe("a stored response", () => {
  test("is retrieved, continued over turns, listed by its input, and deleted", async () => {
    const first = await create({ instructions: "Only now.", metadata: { turn: "1" } });
    const { output_text: _, ...stored } = await client.responses.retrieve(first.id);
    expect(JSON.parse(JSON.stringify(stored))).toEqual(
      JSON.parse(JSON.stringify({ ...first, output_text: undefined, _request_id: undefined })),
    );
    const second = await create({ input: "And?", previous_response_id: first.id });
    expect(second.previous_response_id).toBe(first.id);
    await create({ input: "So?", previous_response_id: second.id });
    const roles = ["user", "assistant", "user", "assistant", "user"];
    expect(sent().messages).toEqual(
      ["Hi", "Hello world", "And?", "Hello world", "So?"].map((content, n) => ({ role: roles[n] ?? "", content })),
    );
    const many = await create({ input: ["a", "b", "c"].map((content) => ({ role: "user", content })) });
    const items: string[] = [];
    for await (const item of client.responses.inputItems.list(many.id, { limit: 2, order: "asc" }))
      items.push(item.type === "message" ? JSON.stringify(item.content) : "");
    expect(items).toEqual(["a", "b", "c"].map((text) => JSON.stringify([{ type: "input_text", text }])));
    const page = await app.json("GET", `/v1/responses/${many.id}/input_items`, { as: "member" });
    fits("ResponseItemList", page);
    await client.responses.delete(first.id);
    expect((await app.request("GET", `/v1/responses/${first.id}`)).status).toBe(404);
    const gone = await refused(await post({ model, input: "x", previous_response_id: second.id }));
    expect(gone.slice(0, 2)).toEqual([400, "previous_response_id"]);
  });

  test("is referred to by the ids of its items", async () => {
    const first = await create({});
    const [message] = first.output;
    await create({
      input: [
        { type: "item_reference", id: message?.id },
        { role: "user", content: "More" },
      ],
    });
    expect(sent().messages).toEqual([
      { role: "assistant", content: "Hello world" },
      { role: "user", content: "More" },
    ]);
    for (const id of ["msg_none", message?.id?.replace(/_\d+$/, "_9")])
      expect((await refused(await post({ model, input: [{ type: "item_reference", id }] }))).slice(0, 2)).toEqual([
        400,
        "input.0.id",
      ]);
  });

  test("belongs to its organization", async () => {
    const { id, output } = await create({});
    for (const [method, path] of [
      ["GET", ""],
      ["DELETE", ""],
      ["GET", "/input_items"],
      ["POST", "/cancel"],
    ] as const)
      expect((await app.request(method, `/v1/responses/${id}${path}`, { as: "other" })).status).toBe(404);
    await deployEngine(app.ctx, engine, { org: app.orgs.b, model });
    const item = [{ type: "item_reference", id: output[0]?.id }];
    for (const body of [{ input: "x", previous_response_id: id }, { input: item }])
      expect((await post({ model, ...body }, "other")).status).toBe(400);
    expect((await client.responses.retrieve(id)).id).toBe(id);
  });

  test("cannot be canceled, because it has ended", async () => {
    const { id } = await create({});
    expect((await refused(await post({}, "member", `/${id}/cancel`)))[0]).toBe(400);
  });

  test("is not kept with store: false, nor where the installation keeps none", async () => {
    const { id, store } = await create({ store: false });
    expect([store, (await app.request("GET", `/v1/responses/${id}`)).status]).toEqual([false, 404]);
    const none = await createTestApp({ config: { answer_retention_days: 0 } });
    await readyBase(none.ctx, model);
    await deployEngine(none.ctx, engine, { org: none.orgs.a, model });
    const answer = await none.json<Stored>("POST", "/v1/responses", { body: { model, input: "a", store: true } });
    expect([answer.store, (await none.ctx.db.select().from(storedAnswer)).length]).toEqual([false, 0]);
    await none.close();
  });

  test("counts against the quota, expires, and goes with its organization", async () => {
    const small = await createTestApp({ config: { quota_bytes: 3000, disk_reserve_bytes: 0 }, ctx: { clock } });
    await readyBase(small.ctx, model);
    await deployEngine(small.ctx, engine, { org: small.orgs.a, model });
    const ask = (body: object = {}) => small.request("POST", "/v1/responses", { body: { model, input: "a", ...body } });
    const { id } = (await (await ask()).json()) as { id: string };
    const used = (await small.json<{ bytes: { used: number } }>("GET", "/v1/limits")).bytes.used;
    expect(used).toBeGreaterThan(500);
    let last = await ask();
    for (let n = 0; n < 10 && last.ok; n++) last = await ask();
    expect([last.status, ((await last.json()) as { error: { code: string } }).error.code]).toEqual([
      403,
      "quota_exceeded",
    ]);
    expect((await ask({ store: false })).status).toBe(200);
    clock.advance(30 * 86_400_000 + 1000);
    expect((await small.request("GET", `/v1/responses/${id}`)).status).toBe(404);
    const stop = startAnswerExpiry(small.ctx);
    await until("no rows", async () => (await small.ctx.db.select().from(storedAnswer)).length === 0, 5000, 5);
    stop();
    expect((await ask()).status).toBe(200);
    await small.ctx.write((tx) => tx.delete(organization).where(eq(organization.id, small.orgs.a)));
    expect(await small.ctx.db.select().from(storedAnswer)).toEqual([]);
    await small.close();
  });
});

describe("what is not supported is refused by name", () => {
  const one = (item: object) => ({ input: [item] });
  test.each([
    [{ tools: [{ type: "web_search" }] }, "tools.0.type", "tools of the type web_search are not supported"],
    [{ tools: [{ type: "file_search", vector_store_ids: [] }] }, "tools.0.type", "file_search"],
    [{ tools: [{ type: "computer_use_preview" }] }, "tools.0.type", "computer_use_preview"],
    [one({ type: "computer_call_output", call_id: "a" }), "input.0.type", "computer_call_output"],
    [
      one({ role: "user", content: [{ type: "input_image", image_url: "data:" }] }),
      "input.0.content.0.type",
      "input_image",
    ],
    [
      one({ type: "function_call_output", call_id: "a", output: [{ type: "input_file" }] }),
      "input.0.output.0.type",
      "input_file",
    ],
    [{ background: true }, "background", "not supported"],
    [{ conversation: "conv_1" }, "conversation", "previous_response_id"],
    [{ prompt: { id: "pmpt_1" } }, "prompt", "not supported"],
    [{ truncation: "auto" }, "truncation", "disabled"],
    [{ include: ["file_search_call.results"] }, "include.0", "can only list"],
    [{ reasoning: { summary: "auto" } }, "reasoning.summary", "not supported"],
    [{ text: { verbosity: "low" } }, "text.verbosity", "medium"],
    [{ tool_choice: { type: "file_search" } }, "tool_choice", "function"],
    [{ input: undefined }, "input", "Missing"],
    [{ input: [] }, "input", "Missing"],
    [{ model: "none" }, "model", "none"],
    [{ no_such: 1 }, "no_such", "Unknown parameter"],
    [one({ role: "wizard", content: "a" }), "input.0.role", "role"],
    [{ temperature: 3 }, "temperature", "at most 2"],
  ])("%j", async (body, param, words) => {
    const [status, named, message] = await refused(await post({ model, input: "a", ...body }));
    expect([status, named]).toEqual([param === "model" ? 404 : 400, param]);
    expect(message).toContain(words);
    expect(engine.requests).toEqual([]);
  });

  test("the engine's refusals name the field of the Responses API", async () => {
    for (const [param, ours] of [
      ["response_format.json_schema.schema", "text.format.schema"],
      ["messages", "input"],
      ["messages.3.content", "input"],
      ["max_completion_tokens", "max_output_tokens"],
      ["tools.0.function.parameters", "tools.0.parameters"],
      ["temperature", "temperature"],
    ]) {
      const error = { message: "No.", type: "invalid_request_error", param, code: "invalid_value" };
      engine.instead = () => Response.json({ error }, { status: 400 });
      for (const stream of [false, true])
        expect((await refused(await post({ model, input: "a", stream }))).slice(0, 2)).toEqual([400, ours as string]);
    }
  });
});
