/** Every accepted format over HTTP, and CSV whose columns have to be mapped: all become the one chat form. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { resolveTrainingData } from "../../src/data/datasets/training-data.ts";
import type { AppError } from "../../src/errors.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type CanonicalRow, canonicalRows, settled, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

const user = { role: "user", content: "hi" };
const assistant = { role: "assistant", content: "hello" };
const call = (id: string, name: string, args: string) => ({
  id,
  type: "function",
  function: { name, arguments: args },
});

const formats: {
  name: string;
  filename: string;
  content: string;
  format: string;
  expected: Omit<CanonicalRow, "id">;
  query?: string;
  /** The line of the row; 1 unless given. */
  line?: number;
}[] = [
  {
    name: "chat with developer, tools, weight, refusal, parts and names",
    filename: "a.jsonl",
    format: "chat",
    content: JSON.stringify({
      messages: [
        {
          role: "developer",
          content: [
            { type: "text", text: "be" },
            { type: "text", text: "brief" },
          ],
        },
        { role: "user", content: "weather?", name: "ann" },
        { role: "assistant", content: null, tool_calls: [call("c1", "get", '{"city": "Bern"}')], weight: 0 },
        { role: "tool", tool_call_id: "c1", content: "sunny" },
        { role: "assistant", refusal: "I cannot say." },
      ],
      tools: [{ type: "function", function: { name: "get", parameters: { type: "object" } } }],
      parallel_tool_calls: false,
    }),
    expected: {
      messages: [
        { role: "system", content: "be\nbrief" },
        { role: "user", content: "weather?", name: "ann" },
        { role: "assistant", content: "", weight: 0, tool_calls: [call("c1", "get", '{"city": "Bern"}')] },
        { role: "tool", content: "sunny", tool_call_id: "c1" },
        { role: "assistant", content: "I cannot say." },
      ],
      tools: [{ type: "function", function: { name: "get", parameters: { type: "object" } } }],
    },
  },
  {
    name: "legacy functions",
    filename: "a.jsonl",
    format: "chat",
    content: JSON.stringify({
      messages: [
        user,
        { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } },
        { role: "function", name: "f", content: "1" },
        assistant,
      ],
      functions: [{ name: "f", description: "d" }],
    }),
    expected: {
      messages: [
        user,
        { role: "assistant", content: "", tool_calls: [call("call_1", "f", "{}")] },
        { role: "tool", content: "1", name: "f", tool_call_id: "call_1" },
        assistant,
      ],
      tools: [{ type: "function", function: { name: "f", description: "d" } }],
    },
  },
  {
    name: "prompt and completion",
    filename: "a.jsonl",
    format: "completion",
    content: '{"prompt": "2+2=", "completion": " 4"}',
    expected: {
      messages: [
        { role: "user", content: "2+2=" },
        { role: "assistant", content: " 4" },
      ],
    },
  },
  {
    name: "an Alpaca array over several lines",
    line: 2,
    filename: "a.json",
    format: "alpaca",
    content: JSON.stringify(
      [{ instruction: "Add", input: "1 2", output: "3", system: "You add.", history: [["a", "b"]] }],
      null,
      2,
    ),
    expected: {
      messages: [
        { role: "system", content: "You add." },
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
        { role: "user", content: "Add\n1 2" },
        { role: "assistant", content: "3" },
      ],
    },
  },
  {
    name: "ShareGPT with a function call",
    filename: "a.json",
    format: "sharegpt",
    content: JSON.stringify([
      {
        conversations: [
          { from: "human", value: "hi" },
          { from: "function_call", value: '{"name": "f", "arguments": {"a": 1}}' },
          { from: "observation", value: "2" },
          { from: "gpt", value: "two" },
        ],
        system: "sys",
        tools: '[{"name": "f", "parameters": {}}]',
      },
    ]),
    expected: {
      messages: [
        { role: "system", content: "sys" },
        user,
        { role: "assistant", content: "", tool_calls: [call("call_1", "f", '{"a":1}')] },
        { role: "tool", content: "2", tool_call_id: "call_1" },
        { role: "assistant", content: "two" },
      ],
      tools: [{ type: "function", function: { name: "f", parameters: {} } }],
    },
  },
  {
    name: "CSV whose columns say it all",
    line: 2,
    filename: "a.csv",
    format: "csv",
    content: 'prompt,completion\n"a, ""b""","c\nd"\n',
    expected: {
      messages: [
        { role: "user", content: 'a, "b"' },
        { role: "assistant", content: "c\nd" },
      ],
    },
  },
  {
    name: "TSV with a mapping",
    line: 2,
    filename: "a.tsv",
    format: "csv",
    content: "q\ta\ts\nx\ty\tz\n",
    query: "mapping[prompt]=q&mapping[completion]=a&mapping[system]=s",
    expected: {
      messages: [
        { role: "system", content: "z" },
        { role: "user", content: "x" },
        { role: "assistant", content: "y" },
      ],
    },
  },
];

describe("every format becomes canonical chat rows", () => {
  for (const { name, filename, content, format, expected, query, line = 1 } of formats)
    test(name, async () => {
      const { version, report } = await validated(
        lab,
        content,
        filename,
        `holdout_fraction=0${query ? `&${query}` : ""}`,
      );
      expect(report.problems.filter((problem) => problem.severity === "error")).toEqual([]);
      expect(version).toMatchObject({ status: "ready", format, rows: 1 });
      expect(canonicalRows(lab, version.id)).toEqual([{ id: line, ...expected }] as CanonicalRow[]);
    });
});

test("a version reads another part of the same file", async () => {
  const zip = readFileSync(join(import.meta.dir, "../cases/containers/several.zip"));
  const { dataset, version, report } = await validated(lab, zip, "several.zip");
  expect(version).toMatchObject({ status: "failed", part: null });
  expect(version.error).toContain('"train.jsonl", "test.jsonl"');
  expect(report.source?.other_parts).toEqual(["train.jsonl", "test.jsonl"]);
  await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { part: "train.jsonl" } });
  const done = await settled(lab, dataset.id);
  expect(done.version).toMatchObject({ status: "ready", number: 2, rows: 12, part: "train.jsonl", encoding: null });
  // Settings that are not given are kept.
  await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { holdout_fraction: 0, repair_text: true } });
  const last = await settled(lab, dataset.id);
  expect(last.version).toMatchObject({ status: "ready", train_rows: 12, part: "train.jsonl", repair_text: true });
  expect(readdirSync(lab.ctx.files.path("datasets")).filter((name) => name.includes(".part"))).toEqual([]);
});

describe("CSV that needs a mapping", () => {
  const content = `text,category\n${Array.from({ length: 12 }, (_, i) => `question ${i},label ${i % 3}`).join("\n")}\n`;

  test("a mapping is proposed, and submitting one completes the version", async () => {
    const { dataset, version, report } = await validated(lab, content, "bank.csv");
    expect(version).toMatchObject({ status: "needs_mapping", number: 1, rows: 0 });
    expect(report.csv).toMatchObject({
      columns: ["text", "category"],
      proposed: { prompt: "text", completion: "category" },
    });
    expect(report.csv?.first_rows[0]).toEqual(["question 0", "label 0"]);
    const waiting = resolveTrainingData(lab.ctx, lab.actor("admin"), version.file_id, "training_file");
    expect(await waiting.catch((error: AppError) => [error.code, error.param])).toEqual([
      "needs_mapping",
      "training_file",
    ]);
    await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { mapping: report.csv?.proposed } });
    const done = await settled(lab, dataset.id);
    expect(done.version).toMatchObject({
      id: version.id,
      status: "ready",
      number: 1,
      rows: 12,
      train_rows: 11,
      holdout_rows: 1,
    });
  });

  test("a mapping to an unknown column fails with the existing columns", async () => {
    const { version } = await validated(lab, content, "bank.csv", "mapping[prompt]=text&mapping[completion]=labels");
    expect(version.status).toBe("failed");
    expect(version.error).toContain('no column "labels"');
    expect(version.error).toContain("text, category");
  });
});
