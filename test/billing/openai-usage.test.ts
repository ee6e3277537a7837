/** OpenAI's usage and costs of an organization, read by its own client: its format, and figures computed by hand. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import OpenAI from "openai";
import { inference } from "../../src/db/schema/gateway.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { addUse, NOW, on } from "../support/metered.ts";

let t: TestApp;
let client: OpenAI;

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
  const request = (
    id: string,
    as: "admin" | "member" | "other",
    at: number,
    more: Partial<typeof inference.$inferInsert>,
  ) => {
    const { org, userId, keyId } = t.actor(as);
    const shared = { status: 200, streamed: false, totalMs: 1, model: "tiny", promptTokens: 10, completionTokens: 5 };
    return { id, org, userId, keyId, at, ...shared, ...more };
  };
  await t.ctx.write((tx) =>
    tx
      .insert(inference)
      .values([
        request("r1", "admin", on(18, 1), {}),
        request("r2", "member", on(18, 2), { promptTokens: 100, completionTokens: 1 }),
        request("r3", "member", on(19, 23) + 3_599_999, { model: "large" }),
        request("r4", "member", on(18, 2), { status: 503, promptTokens: 0, completionTokens: 0 }),
        request("r5", "other", on(18, 2), {}),
        request("r6", "admin", on(20), {}),
      ]),
  );
  client = new OpenAI({
    baseURL: "http://localhost/v1",
    apiKey: t.keys.admin,
    adminAPIKey: t.keys.admin,
    fetch: (url, init) => t.app.handle(new Request(String(url), init as RequestInit)),
  });
});
afterAll(() => t.close());

const seconds = (at: number) => at / 1000;
const none = { project_id: null, user_id: null, api_key_id: null, model: null, batch: null, service_tier: null };
const result = (input: number, output: number, requests: number, more = {}) => ({
  object: "organization.usage.completions.result",
  input_tokens: input,
  input_cached_tokens: 0,
  output_tokens: output,
  input_audio_tokens: 0,
  output_audio_tokens: 0,
  num_model_requests: requests,
  ...none,
  ...more,
});

test("completions by day: whole buckets in UTC, requests that failed and other teams left out", async () => {
  const page = await client.admin.organization.usage.completions({ start_time: seconds(on(17)) });
  expect(page as unknown).toEqual({
    object: "page",
    data: [
      { object: "bucket", start_time: seconds(on(17)), end_time: seconds(on(18)), results: [] },
      { object: "bucket", start_time: seconds(on(18)), end_time: seconds(on(19)), results: [result(110, 6, 2)] },
      { object: "bucket", start_time: seconds(on(19)), end_time: seconds(on(20)), results: [result(10, 5, 1)] },
      { object: "bucket", start_time: seconds(on(20)), end_time: seconds(on(21)), results: [result(10, 5, 1)] },
    ],
    has_more: false,
    next_page: null,
  });
});

test("groups and filters, as the client writes lists of them", async () => {
  const day = { start_time: seconds(on(18)), end_time: seconds(on(19)) };
  const ask = async (more: object) =>
    (await client.admin.organization.usage.completions({ ...day, ...more })).data[0]?.results as unknown;
  expect(await ask({ group_by: ["user_id", "model"] })).toEqual(
    [
      result(10, 5, 1, { user_id: t.users.admin, model: "tiny" }),
      result(100, 1, 1, { user_id: t.users.member, model: "tiny" }),
    ].sort((a, b) => String(a.user_id).localeCompare(String(b.user_id))),
  );
  expect(
    await ask({ group_by: ["api_key_id", "batch", "service_tier", "project_id"], user_ids: [t.users.member] }),
  ).toEqual([
    result(100, 1, 1, { api_key_id: t.keyIds.member, batch: false, service_tier: "default", project_id: t.orgs.a }),
  ]);
  expect(await ask({ models: ["large"] })).toEqual([]);
  expect(await ask({ api_key_ids: [t.keyIds.admin, "key_other"] })).toEqual([result(10, 5, 1)]);
  expect(await ask({ project_ids: [t.orgs.b] })).toEqual([]);
  expect(await ask({ batch: true })).toEqual([]);
});

test("hours in pages: next_page leads through every bucket once", async () => {
  const query = { start_time: seconds(on(18)), end_time: seconds(on(18, 5)), bucket_width: "1h" as const, limit: 2 };
  const starts: number[] = [];
  const requests: number[] = [];
  let page: string | undefined;
  do {
    const found = await client.admin.organization.usage.completions({ ...query, page });
    for (const { start_time, results } of found.data as {
      start_time: number;
      results: { num_model_requests: number }[];
    }[]) {
      starts.push(start_time);
      requests.push(results[0]?.num_model_requests ?? 0);
    }
    expect(found.has_more).toBe(found.next_page !== null);
    page = found.next_page ?? undefined;
  } while (page);
  expect(starts).toEqual([0, 1, 2, 3, 4].map((hour) => seconds(on(18, hour))));
  expect(requests).toEqual([0, 1, 1, 0, 0]);
});

test("a period that begins within a bucket counts from its beginning on", async () => {
  const found = await client.admin.organization.usage.completions({
    start_time: seconds(on(18, 2)),
    end_time: seconds(on(19)),
  });
  expect(found.data as unknown).toEqual([
    { object: "bucket", start_time: seconds(on(18)), end_time: seconds(on(19)), results: [result(100, 1, 1)] },
  ]);
});

test("costs by day, line item and key", async () => {
  const found = await client.admin.organization.usage.costs({
    start_time: seconds(on(10)),
    end_time: seconds(on(20)),
    limit: 10,
    group_by: ["line_item", "api_key_id"],
  });
  const cost = (
    value: number,
    line_item: string,
    quantity: number,
    quantity_unit: string,
    api_key_id: string | null,
  ) => ({
    object: "organization.costs.result",
    amount: { value, currency: "usd" },
    line_item,
    project_id: null,
    api_key_id,
    quantity,
    quantity_unit,
  });
  const of = (day: number) => found.data[day - 10]?.results as unknown;
  expect(of(10)).toEqual([cost(3.6, "gpu_seconds", 3600, "duration_seconds", null)]);
  expect(of(11)).toEqual([cost(3.6, "gpu_seconds", 4200, "duration_seconds", null)]);
  expect(of(19)).toEqual([
    cost(2, "input_tokens", 1_000_000, "tokens", t.keyIds.member),
    cost(2, "output_tokens", 500_000, "tokens", t.keyIds.member),
  ]);
  const all = await client.admin.organization.usage.costs({ start_time: seconds(on(1)), limit: 180 });
  const sum = (all.data as { results: { amount: { value: number } }[] }[])
    .flatMap(({ results }) => results)
    .reduce((total, { amount }) => total + amount.value, 0);
  expect(sum).toBeCloseTo(11.2, 9);
});

test("kinds of use that are not counted apart have buckets without results", async () => {
  const { usage } = client.admin.organization;
  const query = { start_time: seconds(on(19)), end_time: seconds(on(20)) };
  for (const page of [
    await usage.embeddings({ ...query, group_by: ["model"] }),
    await usage.moderations(query),
    await usage.images({ ...query, sizes: ["1024x1024"], group_by: ["size"] }),
    await usage.audioSpeeches(query),
    await usage.audioTranscriptions(query),
    await usage.vectorStores(query),
    await usage.codeInterpreterSessions(query),
    await usage.fileSearchCalls({ ...query, vector_store_ids: ["vs_1"] }),
    await usage.webSearchCalls(query),
  ])
    expect(page as unknown).toEqual({
      object: "page",
      data: [{ object: "bucket", start_time: seconds(on(19)), end_time: seconds(on(20)), results: [] }],
      has_more: false,
      next_page: null,
    });
});

test("answers have the fields of OpenAI's specification, and no others", async () => {
  // From UsageCompletionsResult and CostsResult of OpenAI's OpenAPI document; ? = not required.
  const completions =
    "api_key_id? batch? input_audio_tokens? input_cached_tokens? input_tokens model? num_model_requests object output_audio_tokens? output_tokens project_id? service_tier? user_id?";
  const costs = "amount? api_key_id? line_item? object project_id? quantity? quantity_unit?";
  for (const [path, specified] of [
    ["usage/completions", completions],
    ["costs", costs],
  ] as const) {
    const found = await t.json<{ data: { results: object[] }[] }>(
      "GET",
      `/v1/organization/${path}?start_time=${seconds(on(18))}&group_by=project_id`,
    );
    const [first = {}] = found.data.flatMap(({ results }) => results);
    expect(Object.keys(first).sort()).toEqual(specified.split(" ").map((name) => name.replace("?", "")));
  }
});

test("members may not read the usage of the team; limits and unknown fields are refused", async () => {
  const ask = async (query: string, as: "admin" | "member" = "admin", path = "usage/completions") => {
    const answer = await t.request("GET", `/v1/organization/${path}?${query}`, { as });
    return [answer.status, (await answer.json()).error?.message];
  };
  expect(await ask("start_time=1", "member")).toEqual([403, expect.stringContaining("usage.team")]);
  expect(await ask("start_time=1", "member", "costs")).toEqual([403, expect.stringContaining("usage.team")]);
  expect(await ask("start_time=1&limit=32")).toEqual([400, "'limit' is at most 31 for buckets of 1d."]);
  expect(await ask("start_time=1&limit=181", "admin", "costs")).toEqual([
    400,
    "'limit' is at most 180 for buckets of 1d.",
  ]);
  expect(await ask("start_time=20&end_time=10")).toEqual([400, "'end_time' must be later than 'start_time'."]);
  expect(await ask("")).toEqual([400, expect.stringContaining("start_time")]);
  expect(await ask("start_time=1&shape=round")).toEqual([400, "Unknown parameter: 'shape'."]);
});
