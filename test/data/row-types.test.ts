/** Preference rows, labeled rows, prompts and texts over HTTP: every dialect becomes the canonical form of its type. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { canonicalRows, validated } from "../support/datasets.ts";
import { gpt, human, type Json, LINES, linesOf, result, says, user } from "./support/rows.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

const sys = { role: "system", content: "Be brief." };
const part = (value: string) => [{ type: "text", value }];
const PAIR = { messages: [user("2+2?")], chosen: [says("4")], rejected: [says("5")] };
const call = { id: "c1", type: "function", function: { name: "add", arguments: '{"a":2}' } };
const calls = { role: "assistant", content: "", tool_calls: [call] };
const TOOLS = [{ type: "function", function: { name: "add" } }];

const forms: { name: string; row: Json; format: string; type: string; expected: Json; ignored?: string[] }[] = [
  {
    name: "OpenAI's, with tools and several turns in an answer",
    row: {
      input: { messages: [sys, user("2+2?")], tools: TOOLS, parallel_tool_calls: true },
      preferred_output: [calls, result, says("4")],
      non_preferred_output: [says("5")],
    },
    format: "openai_preference",
    type: "preference",
    expected: {
      messages: [sys, user("2+2?")],
      tools: TOOLS,
      chosen: [calls, result, says("4")],
      rejected: [says("5")],
    },
  },
  {
    name: "OpenAI's older names",
    row: {
      input: { messages: [user("2+2?")] },
      preferred_completion: [says("4")],
      non_preferred_completion: [says("5")],
    },
    format: "openai_preference",
    type: "preference",
    expected: PAIR,
  },
  {
    name: "ShareGPT with one turn each",
    row: { conversations: [human], chosen: gpt("4"), rejected: gpt("5"), system: "Be brief.", id: "x" },
    format: "sharegpt_preference",
    type: "preference",
    expected: { ...PAIR, messages: [sys, user("2+2?")] },
  },
  {
    name: "ShareGPT with a call and its result in one answer",
    row: {
      conversations: [human],
      chosen: [
        { from: "function_call", value: '{"name": "add", "arguments": {"a":2}}' },
        { from: "observation", value: "4" },
        gpt("4"),
      ],
      rejected: [gpt("5")],
      tools: '[{"name": "add"}]',
    },
    format: "sharegpt_preference",
    type: "preference",
    expected: {
      messages: [user("2+2?")],
      tools: TOOLS,
      rejected: [says("5")],
      chosen: [{ ...calls, tool_calls: [{ ...call, id: "call_1" }] }, { ...result, tool_call_id: "call_1" }, says("4")],
    },
  },
  {
    name: "TRL's texts",
    row: { prompt: "2+2?", chosen: "4", rejected: "5" },
    format: "preference",
    type: "preference",
    expected: PAIR,
  },
  {
    name: "TRL's messages",
    row: { prompt: [user("2+2?")], chosen: [says("4")], rejected: [says("5")] },
    format: "preference",
    type: "preference",
    expected: PAIR,
  },
  {
    name: "instruction, input and system before two texts",
    row: { system: "Be brief.", instruction: "2+2?", input: "hurry", chosen: "4", rejected: "5" },
    format: "preference",
    type: "preference",
    expected: { ...PAIR, messages: [sys, user("2+2?\nhurry")] },
  },
  {
    name: "two whole conversations, with the prompt and scores beside them",
    row: {
      prompt: "2+2?",
      score_chosen: 9,
      chosen: [user("hi"), says("hello"), user("2+2?"), says("4")],
      rejected: [user("hi"), says("hello"), user("2+2?"), says("5")],
    },
    format: "mapped",
    type: "preference",
    expected: { ...PAIR, messages: [user("hi"), says("hello"), user("2+2?")] },
  },
  {
    name: "two whole conversations that share the call of a tool but not its result",
    row: {
      chosen: [user("2+2?"), calls, result, says("4")],
      rejected: [user("2+2?"), calls, { ...result, content: "?" }, says("5")],
    },
    format: "preference",
    type: "preference",
    expected: {
      messages: [user("2+2?")],
      chosen: [calls, result, says("4")],
      rejected: [calls, { ...result, content: "?" }, says("5")],
    },
  },
  {
    name: "whole conversations with content parts and loss_weight",
    row: {
      chosen_messages: [
        { ...user(part("2+2?")), loss_weight: 0 },
        { ...says(part("4")), loss_weight: 1 },
      ],
      rejected_messages: [
        { ...user(part("2+2?")), loss_weight: 0 },
        { ...says(part("5")), loss_weight: 1 },
      ],
    },
    format: "preference",
    type: "preference",
    expected: PAIR,
  },
  { name: "the server's own form", row: PAIR, format: "preference", type: "preference", expected: PAIR },
  ...[
    { row: { messages: [user("2+2?"), says("4")], label: true }, label: true },
    { row: { messages: [user("2+2?"), { ...says("4"), weight: 1 }], kto_tag: false }, label: false },
    { row: { conversations: [human, gpt("4")], label: false }, label: false },
    { row: { prompt: "2+2?", completion: "4", label: true }, label: true },
    { row: { prompt: [user("2+2?")], completion: [says("4")], label: true }, label: true },
    { row: { instruction: "2+2?", output: "4", kto_tag: true }, label: true },
  ].map(({ row, label }) => ({
    name: `a labeled row as ${Object.keys(row).join(", ")}`,
    row,
    format: "unpaired",
    type: "unpaired",
    expected: { messages: [user("2+2?"), says("4")], label },
  })),
  ...[
    {
      name: "a prompt with fields for graders, as in OpenAI's reinforcement fine-tuning",
      row: { messages: [{ ...user("2+2?"), role: "developer" }, user("2+2?")], answer: "4", parts: { a: [2, 2] } },
      expected: {
        messages: [{ role: "system", content: "2+2?" }, user("2+2?")],
        item: { answer: "4", parts: { a: [2, 2] } },
      },
    },
    {
      name: "a prompt in the stored form",
      row: { messages: [user("2+2?")], item: { answer: "4" } },
      expected: { messages: [user("2+2?")], item: { answer: "4" } },
    },
  ].map((one) => ({ ...one, format: "prompt", type: "prompt" })),
  { name: "plain text", row: { text: "Once.\n" }, format: "text", type: "text", expected: { text: "Once.\n" } },
  {
    name: "plain text with its source",
    row: { text: "Once.", url: "https://example.test", timestamp: 1 },
    format: "text",
    type: "text",
    expected: { text: "Once." },
  },
];

describe("every dialect becomes the canonical form of its type", () => {
  test.each(forms)("$name", async ({ row, format, type, expected, ignored = [] }) => {
    const { version, report } = await validated(lab, JSON.stringify([row]), "a.json", "holdout_fraction=0");
    expect(version).toMatchObject({ status: "ready", format, row_type: type, rows: 1 });
    expect(
      report.problems.filter(
        ({ severity, code }) => severity !== "info" && code !== "few_rows" && code !== "ignored_field",
      ),
    ).toEqual([]);
    expect(Object.keys(report.ignored_fields)).toEqual(ignored);
    expect(canonicalRows(lab, version.id) as unknown[]).toEqual([{ id: 1, ...expected }]);
  });
});

describe("split, duplicates, hash, counts and pages of rows", () => {
  const counts: Record<string, { turns: number; roles: Json; labels?: Json }> = {
    openai: { turns: 2 * 303, roles: { system: 0, user: 303, assistant: 606, tool: 0 } },
    marked: {
      turns: 2 * 303,
      roles: { system: 0, user: 303, assistant: 303, tool: 0 },
      labels: { good: 202, bad: 101 },
    },
    text: { turns: 0, roles: { system: 0, user: 0, assistant: 0, tool: 0 } },
  };
  test.each(["openai", "marked", "text"])("%s", async (kind) => {
    const lines = [...linesOf(kind, 300), ...linesOf(kind, 3)];
    const content = lines.join("\n");
    const { dataset, version, report } = await validated(lab, content);
    expect(version).toMatchObject({ status: "ready", rows: 303, holdout_rows: 30 });
    expect(report.duplicates).toMatchObject({ rows: 3, complete: true });
    expect(report.turns.total).toBe(counts[kind]?.turns ?? 0);
    expect(report.roles).toEqual(counts[kind]?.roles as Record<string, number>);
    expect(report.labels as Json | undefined).toEqual(counts[kind]?.labels);
    const sides = (["train", "holdout"] as const).map((split) => canonicalRows(lab, version.id, split));
    const ids = sides.flat().map(({ id }) => id);
    expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 303 }, (_, n) => n + 1));
    // The same content has the same hash, and other content has another.
    expect((await validated(lab, content)).version.hash).toBe(version.hash);
    expect((await validated(lab, `${content}\n${JSON.stringify(LINES[kind]?.(999))}`)).version.hash).not.toBe(
      version.hash,
    );
    // After the first entry of the index, and by words in any part of a row.
    const page = await lab.json<{ data: unknown[] }>("GET", `/v1/datasets/${dataset.id}/rows?after=290&limit=5`);
    expect(page.data).toEqual((sides[0] ?? []).filter(({ id }) => id > 290).slice(0, 5));
    const word = { openai: "bad 7", marked: "answer 7", text: "number 7." }[kind] ?? "";
    const hits = await lab.json<{ data: { id: number }[] }>(
      "GET",
      `/v1/datasets/${dataset.id}/rows?search=${encodeURIComponent(word.toUpperCase())}`,
    );
    const expected = (sides[0] ?? []).filter((row) => JSON.stringify(row).includes(word)).slice(0, 20);
    expect(hits.data.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    expect(hits.data.length).toBeGreaterThan(0);
  });
});

test("the list of rows has numbers and keys as the file has them", async () => {
  const item = '{"b":1.0,"10":9007199254740993,"2":{"1":1e2}}';
  const { dataset } = await validated(lab, `{"messages":[{"role":"user","content":"2+2?"}],"item":${item}}`);
  const answer = await lab.request("GET", `/v1/datasets/${dataset.id}/rows`);
  expect(answer.headers.get("content-type")).toContain("application/json");
  expect(await answer.text()).toContain(`"item":${item}`);
});

test("a chat row cannot be added to rows of another type, and the message says what to do instead", async () => {
  const { dataset } = await validated(lab, linesOf("trl", 12).join("\n"));
  const answer = await lab.request("POST", `/v1/datasets/${dataset.id}/rows`, { body: LINES.chat?.(1) });
  const { error } = (await answer.json()) as { error: { code: string; message: string; param: string } };
  expect([answer.status, error.code, error.param]).toEqual([400, "wrong_row_type", "messages"]);
  expect(error.message).toContain("preference rows");
});
