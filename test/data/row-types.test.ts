/**
 * Preference rows, marked answers and plain text over HTTP: every dialect becomes the one form of its type, and what is
 * wrong is told by line and field.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { canonicalRows, chatLine, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

type Json = Record<string, unknown>;
const user = (content: unknown) => ({ role: "user", content });
const says = (content: unknown) => ({ role: "assistant", content });
const sys = { role: "system", content: "Be brief." };
const human = { from: "human", value: "2+2?" };
const gpt = (value: string) => ({ from: "gpt", value });
const part = (value: string) => [{ type: "text", value }];
const PAIR = { messages: [user("2+2?")], chosen: [says("4")], rejected: [says("5")] };
const call = { id: "c1", type: "function", function: { name: "add", arguments: '{"a":2}' } };
const calls = { role: "assistant", content: "", tool_calls: [call] };
const result = { role: "tool", content: "4", tool_call_id: "c1" };
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
    format: "preference",
    type: "preference",
    ignored: ["score_chosen"],
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
    name: `a marked answer as ${Object.keys(row).join(", ")}`,
    row,
    format: "unpaired",
    type: "unpaired",
    expected: { messages: [user("2+2?"), says("4")], label },
  })),
  ...[
    {
      name: "a prompt with what a grader is to know, as OpenAI's reinforcement fine-tuning has it",
      row: { messages: [{ ...user("2+2?"), role: "developer" }, user("2+2?")], answer: "4", parts: { a: [2, 2] } },
      expected: {
        messages: [{ role: "system", content: "2+2?" }, user("2+2?")],
        item: { answer: "4", parts: { a: [2, 2] } },
      },
    },
    {
      name: "a prompt in the server's own form",
      row: { messages: [user("2+2?")], item: { answer: "4" } },
      expected: { messages: [user("2+2?")], item: { answer: "4" } },
    },
  ].map((one) => ({ ...one, format: "prompt", type: "prompt" })),
  { name: "plain text", row: { text: "Once.\n" }, format: "text", type: "text", expected: { text: "Once.\n" } },
  {
    name: "plain text and where it comes from",
    row: { text: "Once.", url: "https://example.test", timestamp: 1 },
    format: "text",
    type: "text",
    expected: { text: "Once." },
  },
];

describe("every dialect becomes the one form of its type", () => {
  test.each(forms)("$name", async ({ row, format, type, expected, ignored = [] }) => {
    const { version, report } = await validated(lab, JSON.stringify([row]), "a.json", "holdout_fraction=0");
    expect(version).toMatchObject({ status: "ready", format, row_type: type, rows: 1 });
    expect(report.problems.filter(({ code }) => code !== "few_rows" && code !== "ignored_field")).toEqual([]);
    expect(Object.keys(report.ignored_fields)).toEqual(ignored);
    expect(canonicalRows(lab, version.id) as unknown[]).toEqual([{ id: 1, ...expected }]);
  });
});

const LINES: Record<string, (n: number) => Json> = {
  openai: (n) => ({
    input: { messages: [user(`q ${n}`)] },
    preferred_output: [says(`good ${n}`)],
    non_preferred_output: [says(`bad ${n}`)],
  }),
  trl: (n) => ({ prompt: `q ${n}`, chosen: `good ${n}`, rejected: `bad ${n}` }),
  sharegpt: (n) => ({ conversations: [human], chosen: gpt(`good ${n}`), rejected: gpt(`bad ${n}`) }),
  marked: (n) => ({ messages: [user(`q ${n}`), says(`answer ${n}`)], label: n % 3 > 0 }),
  text: (n) => ({ text: `Text number ${n}.` }),
  chat: (n) => JSON.parse(chatLine(n)) as Json,
};
const linesOf = (kind: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => JSON.stringify(LINES[kind]?.(n + 1)));

const faults: { name: string; kind: string; row: Json; code: string; path: string; detail?: string }[] = [
  ...[
    {
      name: "the same answer twice",
      row: { prompt: "q", chosen: "a", rejected: "a" },
      code: "same_answers",
      path: "rejected",
    },
    { name: "no prompt", row: { chosen: "a", rejected: "b" }, code: "no_prompt", path: "prompt" },
    { name: "an empty prompt", row: { prompt: " ", chosen: "a", rejected: "b" }, code: "no_prompt", path: "prompt" },
    { name: "no rejected answer", row: { prompt: "q", chosen: "a" }, code: "missing_field", path: "rejected" },
    { name: "an empty answer", row: { prompt: "q", chosen: "", rejected: "b" }, code: "no_answer", path: "chosen" },
    {
      name: "conversations that begin differently",
      row: { chosen: [user("a"), says("b")], rejected: [user("c"), says("d")] },
      code: "no_prompt",
      path: "chosen",
    },
    {
      name: "conversations that part before a question",
      row: { chosen: [user("a"), says("b")], rejected: [user("a"), says("c"), user("d"), says("e")] },
      code: "answer_role",
      path: "rejected[2].role",
    },
    { name: "a number", row: { prompt: "q", chosen: 1, rejected: "b" }, code: "wrong_type", path: "chosen" },
    { name: "a chat row", row: LINES.chat?.(1) ?? {}, code: "other_type", path: "", detail: "a chat row" },
    { name: "a text row", row: { text: "a" }, code: "other_type", path: "", detail: "a plain text row" },
  ].map((fault) => ({ kind: "trl", ...fault })),
  ...[
    { name: "no messages", change: { input: {} }, code: "missing_field", path: "input.messages" },
    { name: "no input", change: { input: undefined }, code: "missing_field", path: "input" },
    { name: "an empty prompt", change: { input: { messages: [] } }, code: "no_prompt", path: "input.messages" },
    {
      name: "a prompt that is answered",
      change: { input: { messages: [user("q"), says("a")] } },
      code: "prompt_answered",
      path: "input.messages[1]",
    },
    { name: "no answer", change: { preferred_output: [] }, code: "no_answer", path: "preferred_output" },
    {
      name: "a result without an answer",
      change: { preferred_output: [result], input: { messages: [user("q")] } },
      code: "no_answer",
      path: "preferred_output",
    },
    {
      name: "a user turn in an answer",
      change: { non_preferred_output: [says("a"), user("b")] },
      code: "answer_role",
      path: "non_preferred_output[1].role",
    },
    {
      name: "an unknown role in an answer",
      change: { preferred_output: [{ role: "robot", content: "x" }] },
      code: "unknown_role",
      path: "preferred_output[0].role",
    },
  ].map(({ change, ...fault }) => ({ kind: "openai", row: { ...LINES.openai?.(1), ...change }, ...fault })),
  ...[
    {
      name: "an unknown speaker",
      row: { conversations: [human], chosen: { from: "x", value: "" }, rejected: gpt("b") },
      code: "unknown_role",
      path: "chosen.from",
    },
    {
      name: "an answered question, after a system text of its own",
      row: { conversations: [human, gpt("4")], system: "s", chosen: gpt("a"), rejected: gpt("b") },
      code: "prompt_answered",
      path: "conversations[1]",
    },
    {
      name: "no conversation",
      row: { conversations: [], chosen: gpt("a"), rejected: gpt("b") },
      code: "no_prompt",
      path: "conversations",
    },
  ].map((fault) => ({ kind: "sharegpt", ...fault })),
  ...[
    { name: "a label in words", change: { label: "good" }, code: "bad_label", path: "label" },
    { name: "a label in quotes", change: { label: "true" }, code: "bad_label", path: "label" },
    { name: "a label of 1", change: { label: 1 }, code: "bad_label", path: "label" },
    { name: "no label", change: { label: undefined }, code: "missing_field", path: "label" },
    {
      name: "a question at the end",
      change: { messages: [user("a"), says("b"), user("c")] },
      code: "nothing_marked",
      path: "messages",
    },
    { name: "no assistant turn", change: { messages: [user("a")] }, code: "nothing_marked", path: "messages" },
    { name: "an answer to nothing", change: { messages: [says("a")] }, code: "no_prompt", path: "messages" },
    { name: "an empty answer", change: { messages: [user("a"), says(" ")] }, code: "no_answer", path: "messages" },
  ].map(({ change, ...fault }) => ({ kind: "marked", row: { ...LINES.marked?.(1), ...change }, ...fault })),
  ...[
    { name: "an empty text", row: { text: " \n" }, code: "empty_text", path: "text" },
    { name: "a number", row: { text: 5 }, code: "wrong_type", path: "text" },
    { name: "pairs", row: LINES.trl?.(1) ?? {}, code: "other_type", path: "", detail: "a preference row" },
  ].map((fault) => ({ kind: "text", ...fault })),
  ...[
    { name: "a mark", row: LINES.marked?.(1) ?? {}, code: "other_type", path: "", detail: "a labeled preference row" },
    {
      name: "a second answer beside a conversation",
      row: { ...LINES.chat?.(1), rejected: "no" },
      code: "other_type",
      path: "",
      detail: "a preference row",
    },
  ].map((fault) => ({ kind: "chat", ...fault })),
];

/** Faults are put into one file a kind, each on a line of its own behind twelve good ones. */
describe("what is wrong is told by line and field", () => {
  test.each([...new Set(faults.map(({ kind }) => kind))])("%s", async (kind) => {
    const own = faults.filter((fault) => fault.kind === kind);
    const lines = [...linesOf(kind, 12), ...own.map(({ row }) => JSON.stringify(row))];
    const { version, report } = await validated(lab, lines.join("\n"));
    expect(version).toMatchObject({ status: "failed", rows: 12, bad_rows: own.length });
    const found = report.problems
      .filter(({ severity }) => severity === "error")
      .flatMap(({ code, samples }) => samples.map(({ line, path, detail }) => ({ code, line, path, detail })));
    for (const [index, { name, code, path, detail = "" }] of own.entries()) {
      const here = found.filter(({ line }) => line === 13 + index);
      expect({ name, here }).toEqual({
        name,
        here: [{ code, line: 13 + index, path, detail: expect.stringContaining(detail) }],
      });
    }
  });

  test("the first good row decides, though most rows are of another type", async () => {
    const lines = ['{"messages": []}', ...linesOf("trl", 2), ...linesOf("chat", 9)];
    const { version, report } = await validated(lab, lines.join("\n"), "a.jsonl", "skip_bad=true");
    expect(version).toMatchObject({ status: "ready", row_type: "preference", rows: 2, bad_rows: 10 });
    expect(report.problems[0]).toMatchObject({ code: "other_type", count: 10 });
  });

  test("fields that only say a class do not make marked answers of a file", async () => {
    const rows = [1, 0, 2, 1].map((label, n) => JSON.stringify({ ...LINES.chat?.(n), label }));
    const { version, report } = await validated(lab, rows.join("\n"));
    expect(version).toMatchObject({ status: "ready", row_type: "chat", format: "chat" });
    expect(report.ignored_fields).toEqual({ label: 4 });
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
    expect(report.duplicates).toEqual({ rows: 3, complete: true });
    expect(report.turns.total).toBe(counts[kind]?.turns ?? 0);
    expect(report.roles).toEqual(counts[kind]?.roles as Record<string, number>);
    expect(report.labels as Json | undefined).toEqual(counts[kind]?.labels);
    const sides = (["train", "holdout"] as const).map((split) => canonicalRows(lab, version.id, split));
    const ids = sides.flat().map(({ id }) => id);
    expect(ids.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 303 }, (_, n) => n + 1));
    // The same content has the same hash, and other content another one.
    expect((await validated(lab, content)).version.hash).toBe(version.hash);
    expect((await validated(lab, `${content}\n${JSON.stringify(LINES[kind]?.(999))}`)).version.hash).not.toBe(
      version.hash,
    );
    // Behind the first entry of the index, and by words of any part of a row.
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

test("a row of chat is not added to rows of another type, and the answer says what to do", async () => {
  const { dataset } = await validated(lab, linesOf("trl", 12).join("\n"));
  const answer = await lab.request("POST", `/v1/datasets/${dataset.id}/rows`, { body: LINES.chat?.(1) });
  const { error } = (await answer.json()) as { error: { code: string; message: string; param: string } };
  expect([answer.status, error.code, error.param]).toEqual([400, "wrong_row_type", "messages"]);
  expect(error.message).toContain("preference rows");
});
