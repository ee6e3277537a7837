/**
 * Bad data of every kind: each gets a clear answer with the line and the field, nothing else of the file goes
 * unchecked, and memory stays bounded.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { chatLines, settled, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp({ config: { max_line_bytes: 4 * 1024 ** 2, max_upload_bytes: 64 * 1024 ** 2 } });
});
afterAll(() => lab.close());

const LINE = 7;
/** Twelve lines, the seventh replaced. */
const withLine7 = (line: string): string => {
  const lines = chatLines(12);
  lines[LINE - 1] = line;
  return `${lines.join("\n")}\n`;
};
const messages = (...list: unknown[]) => JSON.stringify({ messages: list });
const user = { role: "user", content: "hi" };
const assistant = { role: "assistant", content: "hello" };

interface Case {
  name: string;
  line: string;
  code: string;
  path?: string;
  detail?: string;
}
const cases: Case[] = [
  { name: "text that is not JSON", line: "this is not json", code: "not_json", detail: "column 1" },
  { name: "a missing quote", line: '{"messages": [{"role": "user}]}', code: "not_json", detail: "not closed" },
  { name: "a comma too many", line: '{"messages": [],}', code: "not_json", detail: "column 17" },
  { name: "a list instead of an object", line: "[1, 2]", code: "not_object" },
  {
    name: "an unknown role",
    line: messages({ role: "robot", content: "x" }, assistant),
    code: "unknown_role",
    path: "messages[0].role",
  },
  {
    name: "a role called like a built-in property",
    line: messages({ role: "constructor", content: "x" }, assistant),
    code: "unknown_role",
    path: "messages[0].role",
  },
  { name: "a missing role", line: messages(user, { content: "x" }), code: "missing_field", path: "messages[1].role" },
  { name: "no assistant turn", line: messages(user, user), code: "no_assistant", path: "messages" },
  { name: "no message at all", line: '{"messages": []}', code: "no_messages", path: "messages" },
  { name: "no messages field", line: '{"city": "Bern"}', code: "missing_field", path: "messages" },
  { name: "messages that are no list", line: '{"messages": "hi"}', code: "wrong_type", path: "messages" },
  { name: "a message that is no object", line: messages("hi", assistant), code: "wrong_type", path: "messages[0]" },
  {
    name: "content with a part that is a number",
    line: messages({ role: "user", content: [5] }, assistant),
    code: "wrong_type",
    path: "messages[0].content[0]",
  },
  {
    name: "a user turn without content",
    line: messages({ role: "user" }, assistant),
    code: "missing_content",
    path: "messages[0]",
  },
  {
    name: "an assistant turn with neither content nor calls",
    line: messages(user, { role: "assistant" }),
    code: "missing_content",
    path: "messages[1]",
  },
  {
    name: "an image",
    line: messages({ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }, assistant),
    code: "unsupported_content",
    path: "messages[0].content[0].type",
  },
  {
    name: "a weight of 2",
    line: messages(user, { ...assistant, weight: 2 }),
    code: "bad_weight",
    path: "messages[1].weight",
  },
  {
    name: "weight 0 everywhere",
    line: messages(user, { ...assistant, weight: 0 }),
    code: "nothing_to_train",
    path: "messages",
  },
  {
    name: "tool arguments that are no JSON",
    line: messages(user, {
      role: "assistant",
      tool_calls: [{ id: "c", type: "function", function: { name: "f", arguments: "{" } }],
    }),
    code: "bad_tool_call",
    path: "messages[1].tool_calls[0].function.arguments",
  },
  {
    name: "tools without a name",
    line: JSON.stringify({ messages: [user, assistant], tools: [{ type: "function", function: {} }] }),
    code: "bad_tools",
    path: "tools[0].function.name",
  },
  {
    name: "half a surrogate pair",
    line: '{"messages":[{"role":"user","content":"\\ud83d"},{"role":"assistant","content":"x"}]}',
    code: "lone_surrogate",
    path: "messages[0].content",
  },
  {
    name: "a doubled key",
    line: '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}',
    code: "duplicate_key",
    detail: '"content" appears twice',
  },
  {
    name: "a doubled key behind spaces",
    line: '{"messages" : [{"role": "user", "role" : "user", "content": "b"}, {"role": "assistant", "content": "c"}]}',
    code: "duplicate_key",
  },
  {
    name: "messages hidden in __proto__",
    line: `{"__proto__": ${messages(user, assistant)}}`,
    code: "missing_field",
    path: "messages",
  },
  {
    name: "nesting a million deep",
    line: `{"messages": ${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}}`,
    code: "too_nested",
  },
  {
    name: "nesting that fits one look but not the trainer",
    line: JSON.stringify({
      messages: [user, assistant],
      tools: [
        {
          type: "function",
          function: { name: "f", parameters: JSON.parse(`${'{"a":'.repeat(200)}1${"}".repeat(200)}`) },
        },
      ],
    }),
    code: "too_nested",
  },
  { name: "a million values", line: `{"messages": [${"{},".repeat(500_000)}{}]}`, code: "too_nested" },
];

describe("a bad line 7", () => {
  for (const { name, line, code, path, detail } of cases)
    test(`${name}: ${code}`, async () => {
      const { version, report } = await validated(lab, withLine7(line));
      expect(version).toMatchObject({ status: "failed", bad_rows: 1, rows: 11 });
      const errors = report.problems.filter((problem) => problem.severity === "error");
      expect(errors.map((problem) => problem.code)).toEqual([code]);
      const [sample] = errors[0]?.samples ?? [];
      expect(sample?.line).toBe(LINE);
      if (path !== undefined) expect(sample?.path).toBe(path);
      if (detail) expect(sample?.detail).toContain(detail);
      expect(version.error).toContain("line 7");
    });

  test("invalid UTF-8 is reported with its line and byte", async () => {
    const content = Buffer.from(withLine7('{"messages": "X"}'));
    content[content.indexOf("X")] = 0xff;
    const { version, report } = await validated(lab, content);
    expect(version).toMatchObject({ status: "failed", rows: 11, bad_rows: 1 });
    expect(report.problems[0]).toMatchObject({ code: "invalid_utf8", count: 1 });
    expect(report.problems[0]?.samples[0]).toMatchObject({ line: 7, detail: "at byte 15 of the row" });
  });

  test("a line longer than the limit is refused without keeping it in memory", async () => {
    const { version, report } = await validated(
      lab,
      withLine7(messages({ role: "user", content: "x".repeat(5 * 1024 ** 2) }, assistant)),
    );
    expect(version).toMatchObject({ status: "failed", rows: 11, bad_rows: 1 });
    expect(report.problems[0]).toMatchObject({ code: "line_too_long" });
    expect(report.problems[0]?.samples[0]).toMatchObject({ line: 7 });
  });

  test("a job with the file fails with the line, and the file has the status error", async () => {
    const { version } = await validated(lab, withLine7("nope"));
    const file = await lab.json<{ status: string; status_details: string }>("GET", `/v1/files/${version.file_id}`);
    expect(file.status).toBe("error");
    expect(file.status_details).toContain("line 7");
  });
});

test("one pass finds every fault of a file, with the full count and at most ten places per kind", async () => {
  const lines = [
    ...chatLines(30),
    ...Array.from({ length: 25 }, () => "broken"),
    messages(user),
    messages(user, { role: "x" }),
  ];
  const { version, report } = await validated(lab, lines.join("\n"));
  expect(version).toMatchObject({ status: "failed", rows: 30, bad_rows: 27 });
  const of = (code: string) => report.problems.find((problem) => problem.code === code);
  expect(of("not_json")).toMatchObject({ count: 25 });
  expect(of("not_json")?.samples.map((sample) => sample.line)).toEqual([31, 32, 33, 34, 35, 36, 37, 38, 39, 40]);
  expect(of("no_assistant")?.samples[0]).toMatchObject({ line: 56 });
  expect(of("unknown_role")?.samples[0]).toMatchObject({ line: 57, path: "messages[1].role" });
});

test("bad rows are left out on request, and the report says so", async () => {
  const { dataset, version } = await validated(lab, withLine7("nope"));
  expect(version.status).toBe("failed");
  await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { skip_bad: true } });
  const after = await settled(lab, dataset.id);
  expect(after.version).toMatchObject({ number: 2, status: "ready", rows: 11, bad_rows: 1 });
  const { report } = await lab.json<{ report: { bad_rows_left_out: boolean } }>(
    "GET",
    `/v1/datasets/${dataset.id}/report`,
  );
  expect(report.bad_rows_left_out).toBe(true);
});

test("leaving out most rows needs a confirmation of its own, in the API and on the page", async () => {
  const lines = [...Array<string>(4).fill("nope"), ...chatLines(2)].join("\n");
  const { dataset, version, report } = await validated(lab, lines, "a.jsonl", "skip_bad=true");
  expect(version).toMatchObject({ status: "failed", rows: 2, bad_rows: 4 });
  expect(report.problems.find(({ code }) => code === "most_rows_bad")?.samples[0]?.detail).toBe("4 of 6 rows");
  const page = await (await lab.request("GET", `/datasets/${dataset.id}`)).text();
  expect(page).toContain("Leave out 4 of 6 rows");
  expect(page).toContain('name="skip_bad" value="any"');
  // What is said of the file as a whole is in no row.
  const rowsOf = (code: string) =>
    new RegExp(`id="row-problem-${code}".*?</td><td[^>]*>([^<]*)</td>`, "s").exec(page)?.[1];
  expect(["not_json", "most_rows_bad", "few_rows"].map(rowsOf)).toEqual(["4", "–", "–"]);
  await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { skip_bad: "any" } });
  const after = await settled(lab, dataset.id);
  expect(after.version).toMatchObject({ status: "ready", rows: 2, bad_rows: 4, skip_bad: "any" });
});
