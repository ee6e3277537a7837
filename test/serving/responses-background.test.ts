/** Responses in the background: read later, followed as a stream, canceled; and stored ones as streams. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import type { ResponseStreamEvent } from "openai/resources/responses/responses";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { endInterruptedResponses } from "../../src/serving/responses/background.ts";
import { until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
const model = "tiny";
beforeAll(async () => {
  served = await createServed();
});
beforeEach(() => served.reset());
afterAll(() => served.close());

const fits = (schema: string, value: unknown) => {
  if (!contractMissing) expect(contractProblems(schema, value)).toEqual([]);
};
const responses = () => served.client.responses;
const retrieve = (id: string) => served.app.json<{ status: string }>("GET", `/v1/responses/${id}`);
const ended = (id: string) =>
  until(
    `${id} to end`,
    async () => {
      const found = await responses().retrieve(id);
      return ["queued", "in_progress"].includes(found.status ?? "") ? null : found;
    },
    45_000,
    5,
  );
/** All events of a stream, or those until `last`. */
async function collect(stream: AsyncIterable<ResponseStreamEvent>, last = Number.POSITIVE_INFINITY) {
  const events: ResponseStreamEvent[] = [];
  for await (const event of stream) {
    events.push(event);
    if (event.sequence_number >= last) break;
  }
  return events;
}
/** Events for webhooks about a response. */
const eventsOf = async (id: string) => {
  const found = await served.app.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.subject, id));
  return found.map(({ type, userId }) => [type, userId]);
};
const refusal = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => null,
    (thrown) => thrown as { status: number; code: string },
  );
  return [error?.status, error?.code];
};

test("a response in the background is queued at once and can be read when it has ended", async () => {
  const first = await responses().create({ model, input: "Hi", background: true, metadata: { a: "b" } });
  expect(first).toMatchObject({ status: "queued", background: true, output: [], metadata: { a: "b" } });
  const response = await ended(first.id);
  expect(response).toMatchObject({ status: "completed", background: true, output_text: "Hello world" });
  expect(response.usage?.output_tokens).toBeGreaterThan(0);
  fits("Response", await retrieve(first.id));
  // It is stored, not only remembered.
  const [row] = await served.app.ctx.db.select().from(storedAnswer).where(eq(storedAnswer.id, first.id));
  expect(row?.answer).toMatchObject({ status: "completed" });
  expect(await eventsOf(first.id)).toEqual([["response.completed", null]]);
  await responses().create({ model, input: "And?", previous_response_id: first.id });
  expect(served.sent().messages).toHaveLength(3);
});

test("a client that lost the stream gets the remaining events, whenever it comes back", async () => {
  served.engine.pace = 20;
  const stream = await responses().create({ model, input: "Hi", background: true, stream: true });
  const begin = await collect(stream, 4);
  expect(begin.slice(0, 3).map(({ type }) => type)).toEqual([
    "response.created",
    "response.queued",
    "response.in_progress",
  ]);
  const created = begin[0] as Extract<ResponseStreamEvent, { type: "response.created" }>;
  const { id } = created.response;
  const follow = (after: number) => responses().retrieve(id, { stream: true, starting_after: after });
  const rest = await collect(await follow(4));
  const all = [...begin, ...rest];
  expect(all.map((event) => event.sequence_number)).toEqual(all.map((_, n) => n));
  const text = all.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
  expect([text, all.at(-1)?.type]).toEqual(["Hello world", "response.completed"]);
  for (const event of all) fits("ResponseStreamEvent", event);
  expect(await collect(await follow(4))).toEqual(rest);
});

test("canceling stops the engine, and keeps the response as canceled", async () => {
  Object.assign(served.engine, { pace: 30, words: Array.from({ length: 200 }, () => "word ") });
  const before = served.engine.aborted;
  const stream = await responses().create({ model, input: "Hi", background: true, stream: true });
  const [created] = await collect(stream, 5);
  const { id } = (created as Extract<ResponseStreamEvent, { type: "response.created" }>).response;
  expect(await refusal(responses().create({ model, input: "x", previous_response_id: id }))).toEqual([
    400,
    "previous_response_pending",
  ]);
  for (let n = 0; n < 2; n++) expect(await responses().cancel(id)).toMatchObject({ id, status: "cancelled" });
  await until("the engine to stop", async () => served.engine.aborted > before, 5000, 5);
  expect(await retrieve(id)).toMatchObject({ status: "cancelled" });
  const kept = await served.app.ctx.db.select().from(storedAnswer).where(eq(storedAnswer.id, id));
  expect(kept[0]?.answer).toMatchObject({ status: "cancelled" });
  expect(await eventsOf(id)).toEqual([["response.cancelled", null]]);
  // Its stream ends, too.
  expect((await collect(await responses().retrieve(id, { stream: true }))).at(-1)?.type).toStartWith("response.");
  await responses().delete(id);
  expect((await served.app.request("GET", `/v1/responses/${id}`)).status).toBe(404);
});

test("what the engine refuses or breaks off has failed, with its reason", async () => {
  const run = async () => {
    const response = await ended((await responses().create({ model, input: "Hi", background: true })).id);
    fits("Response", await retrieve(response.id));
    const [kept] = await served.app.ctx.db.select().from(storedAnswer).where(eq(storedAnswer.id, response.id));
    expect(kept?.answer).toMatchObject({ status: "failed" });
    expect(await eventsOf(response.id)).toEqual([["response.failed", null]]);
    return [response.status, response.error?.message, response.output_text];
  };
  served.engine.fail = { after: 2, how: "close" };
  const broken = "The model's engine stopped in the middle of this answer. Try again.";
  expect(await run()).toEqual(["failed", broken, "Hello"]);
  served.engine.instead = () => Response.json({ error: { message: "The queue is full." } }, { status: 429 });
  expect(await run()).toEqual(["failed", "The queue is full.", ""]);
});

test("a response that was pending when the server stopped has failed, with one event for webhooks", async () => {
  const { ctx } = served.app;
  const { id } = await responses().create({ model, input: "Hi", metadata: { a: "b" } });
  const [row] = await ctx.db.select().from(storedAnswer).where(eq(storedAnswer.id, id));
  // As a killed server leaves it.
  const left = { answer: { ...row?.answer, status: "in_progress", background: true }, pending: true };
  await ctx.write((tx) => tx.update(storedAnswer).set(left).where(eq(storedAnswer.id, id)));
  const failed = ["failed", "The server was restarted while it generated this response. Create it again."];
  const now = async () => {
    const response = await responses().retrieve(id);
    return [response.status, response.error?.message];
  };
  expect(await now()).toEqual(failed);
  expect(await refusal(responses().retrieve(id, { stream: true, starting_after: 3 }))).toEqual([400, "events_expired"]);
  expect(await eventsOf(id)).toEqual([]);
  // One that runs now continues.
  Object.assign(served.engine, { pace: 30 });
  const { id: other } = await responses().create({ model, input: "Hi", background: true });
  for (let starts = 0; starts < 2; starts++) {
    endInterruptedResponses({ ...ctx, clock: { ...ctx.clock, now: () => (row?.createdAt ?? 0) + 1 } });
    await until("the event", async () => (await eventsOf(id)).length > 0, 10_000, 5);
  }
  expect((await ended(other)).status).toBe("completed");
  expect(await eventsOf(id)).toEqual([["response.failed", null]]);
  expect(await now()).toEqual(failed);
  const [stored] = await ctx.db.select().from(storedAnswer).where(eq(storedAnswer.id, id));
  expect(stored).toMatchObject({ pending: false, metadata: { a: "b" }, answer: { status: "failed" } });
});

test("a stored response is streamed again, the same way every time", async () => {
  served.engine.calls = [{ name: "get_weather", arguments: '{"city":"Oslo"}' }];
  const { id } = await responses().create({ model, input: "Hi" });
  const all = await collect(await responses().retrieve(id, { stream: true }));
  expect(all.map((event) => event.sequence_number)).toEqual(all.map((_, n) => n));
  for (const event of all) fits("ResponseStreamEvent", event);
  const last = all.at(-1) as Extract<ResponseStreamEvent, { type: "response.completed" }>;
  expect(last.type).toBe("response.completed");
  expect(last.response as unknown).toEqual(await retrieve(id));
  const done = all.find((event) => event.type === "response.function_call_arguments.done");
  expect(done).toMatchObject({ name: "get_weather", arguments: '{"city":"Oslo"}' });
  expect(await collect(await responses().retrieve(id, { stream: true, starting_after: 2 }))).toEqual(all.slice(3));
  expect(await refusal(responses().cancel(id))).toEqual([400, "not_cancellable"]);
});

test("only stored responses of models that exist are generated in the background", async () => {
  const unknown = responses().create({ model: "none", input: "Hi", background: true });
  expect(await refusal(unknown)).toEqual([404, "model_not_found"]);
  const refused = responses().create({ model, input: "Hi", background: true, store: false });
  expect(await refusal(refused)).toEqual([400, "invalid_value"]);
});
