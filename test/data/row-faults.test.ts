/** Faulty preference rows, labeled rows and texts over HTTP: each fault is reported with its line and field. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { validated } from "../support/datasets.ts";
import { gpt, human, type Json, LINES, linesOf, result, says, user } from "./support/rows.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

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
      name: "conversations that differ before a question",
      row: { chosen: [user("a"), says("b")], rejected: [user("a"), says("c"), user("d"), says("e")] },
      code: "answer_role",
      path: "rejected[2].role",
    },
    {
      name: "a number in a list",
      row: { prompt: "q", chosen: [1], rejected: "b" },
      code: "wrong_type",
      path: "chosen",
    },
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
      name: "an answered question, after a separate system text",
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
    { name: "a label", row: LINES.marked?.(1) ?? {}, code: "other_type", path: "", detail: "a labeled preference row" },
    {
      name: "a conversation with a second answer",
      row: { ...LINES.chat?.(1), rejected: "no" },
      code: "other_type",
      path: "",
      detail: "a preference row",
    },
  ].map((fault) => ({ kind: "chat", ...fault })),
];

/** One file per kind: twelve good rows, then each fault on its own line. */
describe("faults are reported with their line and field", () => {
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

  test("the type is that of most good rows, even when the first rows have another type", async () => {
    const lines = ['{"messages": []}', ...linesOf("trl", 2), ...linesOf("chat", 9)];
    const { version, report } = await validated(lab, lines.join("\n"), "a.jsonl", "skip_bad=true");
    expect(version).toMatchObject({ status: "ready", row_type: "chat", rows: 9, bad_rows: 3 });
    expect(report.problems[0]).toMatchObject({ code: "other_type", count: 2 });
  });

  test("a class in the field label does not make a file labeled preference data: the user is asked", async () => {
    const rows = [1, 0, 2, 1].map((label, n) => JSON.stringify({ ...LINES.chat?.(n), label }));
    const { version, report } = await validated(lab, rows.join("\n"));
    expect(version).toMatchObject({ status: "needs_mapping", rows: 0 });
    expect(version.error).toContain('"label" can change what a row means');
    expect(report.mapping?.proposed).toEqual({ type: "chat", messages: "messages" });
  });
});
