/** OpenAI's Responses API with OpenAI's own client: text, streams, tools and structured output. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import type { Response as ApiResponse, ResponseStreamEvent } from "openai/resources/responses/responses";
import { z } from "zod";
import { inference } from "../../src/db/schema/gateway.ts";
import { flushUsage } from "../../src/serving/gateway/usage.ts";
import { until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
const model = "tiny";
/** The client's type lacks `store`. */
type Stored = ApiResponse & { store: boolean };

beforeAll(async () => {
  served = await createServed();
});
beforeEach(() => served.reset());
afterAll(() => served.close());

const fits = (schema: string, value: unknown) => {
  if (!contractMissing) expect(contractProblems(schema, value)).toEqual([]);
};
const create = async (body: object) =>
  (await served.client.responses.create({ model, input: "Hi", ...body })) as Stored;
const sent = () => served.sent();
const post = (body: unknown, as: "member" | "other" = "member", path = "") =>
  served.app.request("POST", `/v1/responses${path}`, { as, body });
const refused = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string | null; message: string } };
  return [answer.status, error.param, error.message] as const;
};
/** All events of a stream, checked against OpenAI's schemas. */
async function eventsOf(body: object): Promise<ResponseStreamEvent[]> {
  const stream = await served.client.responses.create({ model, input: "Hi", ...body, stream: true });
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
    const call = served.client.responses.create({
      model,
      input: "Hi",
      instructions: "Be short.",
      metadata: { a: "b" },
    });
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
    await flushUsage(served.app.ctx);
    const id = http.headers.get("x-request-id") ?? "";
    const rows = await served.app.ctx.db.select().from(inference).where(eq(inference.id, id));
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({
      promptTokens: 7,
      completionTokens: 4,
      status: 200,
      keyId: served.app.keyIds.member,
    });
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
    served.engine.words = ['{"city":', '"Oslo"}'];
    const format = zodTextFormat(z.object({ city: z.string() }), "place");
    const parsed = await served.client.responses.parse({ model, input: "Where?", text: { format } });
    expect(parsed.output_parsed).toEqual({ city: "Oslo" });
    expect(sent().response_format).toMatchObject({
      type: "json_schema",
      json_schema: { name: "place", strict: true, schema: { type: "object", required: ["city"] } },
    });
    await create({ text: { format: { type: "json_object" } } });
    expect(sent().response_format).toEqual({ type: "json_object" });
  });

  test("counts its input tokens as the engine does", async () => {
    const counted = await served.client.responses.inputTokens.count({ model, input: "Hi", instructions: "Be short." });
    expect(counted).toMatchObject({ object: "response.input_tokens", input_tokens: 7 });
    fits("TokenCountsResource", counted);
    expect(sent()).toMatchObject({ max_completion_tokens: 1 });
  });
});

describe("tools", () => {
  test("a call is an item, and its output continues the conversation", async () => {
    served.engine.words = [];
    served.engine.calls = [{ name: "get_weather", arguments: '{"city":"Oslo"}' }];
    const tools = [zodResponsesFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })];
    const first = await served.client.responses.parse({
      model,
      input: "Weather in Oslo?",
      tools,
      tool_choice: "required",
    });
    fits("Response", first);
    const [item] = first.output;
    if (item?.type !== "function_call") throw new Error("no call");
    expect([item.name, item.parsed_arguments, item.status]).toEqual(["get_weather", { city: "Oslo" }, "completed"]);
    expect(sent()).toMatchObject({
      tool_choice: "required",
      tools: [{ type: "function", function: { name: "get_weather", strict: true } }],
    });
    served.engine.words = ["Sunny"];
    served.engine.calls = [];
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
    expect((await served.client.responses.retrieve(last.response.id)).output_text).toBe("Hello world");
    const first = events[0];
    expect(first?.type === "response.created" && first.response).toMatchObject({ status: "in_progress", output: [] });
  });

  test("of text and two calls ends every item before the next one begins", async () => {
    served.engine.words = ["Wait."];
    served.engine.calls = [
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
    const stream = served.client.responses.stream({ model, input: "Hi" });
    const deltas: string[] = [];
    stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
    const final = await stream.finalResponse();
    expect([deltas.join(""), final.output_text, final.status]).toEqual(["Hello world", "Hello world", "completed"]);
  });

  test("ends incomplete, or failed without the text of the engine's crash", async () => {
    const short = (await eventsOf({ max_output_tokens: 1 })).at(-1);
    expect(short).toMatchObject({ type: "response.incomplete", response: { status: "incomplete" } });
    served.engine.fail = { after: 2, how: "close" };
    const broken = (await eventsOf({})).at(-1);
    expect(broken).toMatchObject({
      type: "response.failed",
      response: { status: "failed", error: { code: "server_error" } },
    });
    expect(broken?.type === "response.failed" && broken.response.error?.message).toContain("stopped in the middle");
  });

  test("stops the engine when the client disconnects", async () => {
    served.engine.pace = 20;
    served.engine.words = new Array(200).fill("x");
    const before = served.engine.aborted;
    const stream = await served.client.responses.create({ model, input: "Hi", stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    stream.controller.abort();
    await until("the engine to notice", async () => served.engine.aborted > before, 5000, 10);
    served.engine.pace = 0;
  });
});
