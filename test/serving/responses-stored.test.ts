/** Stored responses: turns, references, isolation, retention; and what the Responses API refuses by name. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import type { Response as ApiResponse } from "openai/resources/responses/responses";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { organization } from "../../src/db/schema/auth.ts";
import { startAnswerExpiry } from "../../src/serving/stored/store.ts";
import { createTestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { deployEngine } from "../support/engine.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
const clock = fakeClock(Date.now());
const model = "tiny";
/** The client's type lacks `store`. */
type Stored = ApiResponse & { store: boolean };

beforeAll(async () => {
  served = await createServed({ ctx: { clock } });
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
describe("a compacted conversation", () => {
  const compact = (body: object) => served.client.responses.compact({ model, ...body });

  test("is the user's messages and a summary by the model, which the next response continues", async () => {
    const first = await create({ input: "My name is Ada.", instructions: "Only now." });
    const call = { type: "function_call" as const, call_id: "c1", name: "look_up", arguments: '{"id":7}' };
    const output = { type: "function_call_output" as const, call_id: "c1", output: "open" };
    const more = [
      call,
      output,
      { role: "user" as const, content: [{ type: "input_text" as const, text: "And now?" }] },
    ];
    served.engine.words = ["Ada asked", " twice. "];
    const compacted = await compact({ previous_response_id: first.id, input: more, instructions: "Be exact." });
    fits("CompactResource", compacted);
    const [system, task, ...rest] = sent().messages as { role: string; content: string }[];
    expect(system).toEqual({ role: "system", content: "Be exact." });
    expect(rest).toEqual([]);
    expect(task?.content).toEndWith(
      [
        "<conversation>\nuser: My name is Ada.",
        "assistant: Hello world",
        'assistant calls look_up({"id":7})',
        "result of the call: open",
        "user: And now?\n</conversation>",
      ].join("\n\n"),
    );
    expect(compacted.usage).toMatchObject({ input_tokens: 7, output_tokens: 2, total_tokens: 9 });
    const types = compacted.output.map((item) => (item.type === "message" ? JSON.stringify(item.content) : item.type));
    const part = (text: string) => JSON.stringify([{ type: "input_text", text }]);
    expect(types).toEqual([part("My name is Ada."), part("And now?"), "compaction"]);
    expect(JSON.stringify(compacted)).not.toContain("Ada asked");

    served.engine.words = ["Yes."];
    const next = await create({ input: [...compacted.output, { role: "user", content: "Go on." }] });
    const turns = [
      { role: "user", content: "My name is Ada.\n\nAnd now?" },
      { role: "assistant", content: "Summary of our conversation so far:\nAda asked twice." },
      { role: "user", content: "Go on." },
    ];
    expect(sent().messages).toEqual(turns);
    await create({ input: "More?", previous_response_id: next.id });
    expect(sent().messages).toEqual([
      ...turns,
      { role: "assistant", content: "Yes." },
      { role: "user", content: "More?" },
    ]);
    await compact({ previous_response_id: next.id });
    expect((sent().messages[0] as { content: string }).content).toContain("Ada asked twice.");
    const page = await served.app.json("GET", `/v1/responses/${next.id}/input_items?order=asc`, { as: "member" });
    fits("ResponseItemList", page);
    const counted = await served.client.responses.inputTokens.count({ model, input: compacted.output as never });
    expect(counted.input_tokens).toBe(7);
  });

  test("is only read by this server for the same organization, and needs something to compact", async () => {
    const [, sealed] = (await compact({ input: "Hi" })).output as { type: string; encrypted_content: string }[];
    const item = { ...sealed, encrypted_content: `${sealed?.encrypted_content.slice(0, -8)}AAAAAAA=` };
    expect((await refused(await post({ model, input: ["x", item].slice(1) }))).slice(0, 2)).toEqual([
      400,
      "input.0.encrypted_content",
    ]);
    await readyBase(served.app.ctx, "theirs");
    const other = await refused(await post({ model: "theirs", input: [sealed] }, "other"));
    expect(other.slice(0, 2)).toEqual([400, "input.0.encrypted_content"]);
    expect((await refused(await post({ model }, "member", "/compact"))).slice(0, 2)).toEqual([400, "input"]);
    const unknown = await refused(await post({ model, input: "Hi", tools: [] }, "member", "/compact"));
    expect(unknown.slice(0, 2)).toEqual([400, "tools"]);
    served.engine.words = [" "];
    expect((await refused(await post({ model, input: "Hi" }, "member", "/compact")))[0]).toBe(422);
  });
});

describe("a stored response", () => {
  test("is retrieved, continued over turns, listed by its input, and deleted", async () => {
    const first = await create({ instructions: "Only now.", metadata: { turn: "1" } });
    const { output_text: _, ...stored } = await served.client.responses.retrieve(first.id);
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
    for await (const item of served.client.responses.inputItems.list(many.id, { limit: 2, order: "asc" }))
      items.push(item.type === "message" ? JSON.stringify(item.content) : "");
    expect(items).toEqual(["a", "b", "c"].map((text) => JSON.stringify([{ type: "input_text", text }])));
    const page = await served.app.json("GET", `/v1/responses/${many.id}/input_items`, { as: "member" });
    fits("ResponseItemList", page);
    await served.client.responses.delete(first.id);
    expect((await served.app.request("GET", `/v1/responses/${first.id}`)).status).toBe(404);
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
      expect((await served.app.request(method, `/v1/responses/${id}${path}`, { as: "other" })).status).toBe(404);
    await deployEngine(served.app.ctx, served.engine, { org: served.app.orgs.b, model });
    const item = [{ type: "item_reference", id: output[0]?.id }];
    for (const body of [{ input: "x", previous_response_id: id }, { input: item }])
      expect((await post({ model, ...body }, "other")).status).toBe(400);
    expect((await served.client.responses.retrieve(id)).id).toBe(id);
  });

  test("cannot be canceled, because it has ended", async () => {
    const { id } = await create({});
    expect((await refused(await post({}, "member", `/${id}/cancel`)))[0]).toBe(400);
  });

  test("is not kept with store: false, nor where the installation keeps none", async () => {
    const { id, store } = await create({ store: false });
    expect([store, (await served.app.request("GET", `/v1/responses/${id}`)).status]).toEqual([false, 404]);
    const none = await createTestApp({ config: { answer_retention_days: 0 } });
    await readyBase(none.ctx, model);
    await deployEngine(none.ctx, served.engine, { org: none.orgs.a, model });
    const answer = await none.json<Stored>("POST", "/v1/responses", { body: { model, input: "a", store: true } });
    expect([answer.store, (await none.ctx.db.select().from(storedAnswer)).length]).toEqual([false, 0]);
    await none.close();
  });

  test("counts against the quota, expires, and goes with its organization", async () => {
    const small = await createTestApp({ config: { quota_bytes: 3000, disk_reserve_bytes: 0 }, ctx: { clock } });
    await readyBase(small.ctx, model);
    await deployEngine(small.ctx, served.engine, { org: small.orgs.a, model });
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
    expect(served.engine.requests).toEqual([]);
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
      served.engine.instead = () => Response.json({ error }, { status: 400 });
      for (const stream of [false, true])
        expect((await refused(await post({ model, input: "a", stream }))).slice(0, 2)).toEqual([400, ours as string]);
    }
  });
});
