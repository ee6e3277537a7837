/** Files that are refused as a whole, oddities that are accepted and noted, and requests that are refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { chatLine, chatLines, sendDataset, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp({ config: { max_upload_bytes: 8 * 1024 ** 2 } });
});
afterAll(() => lab.close());

const messages = (...list: unknown[]) => JSON.stringify({ messages: list });
const user = { role: "user", content: "hi" };
const assistant = { role: "assistant", content: "hello" };

const whole: { name: string; content: string | Uint8Array; filename?: string; code: string; word: string }[] = [
  { name: "only blank lines", content: "\n\n  \n", code: "empty_file", word: "empty" },
  { name: "prose", content: "Dear Sir\nor Madam\n", filename: "a.log", code: "unknown_format", word: "Accepted" },
  {
    name: "a JSON array that breaks off",
    content: `[${chatLine(1)}, ${chatLine(2)}`,
    filename: "a.json",
    code: "broken_array",
    word: "malformed",
  },
  {
    name: "a CSV with a quote never closed",
    content: 'prompt,completion\na,"b\nc,d\n',
    filename: "a.csv",
    code: "unclosed_quote",
    word: "quote",
  },
  {
    name: "a CSV row with a cell too many",
    content: "prompt,completion\na,b\nc,d,e\n",
    filename: "a.csv",
    code: "wrong_columns",
    word: "line 3",
  },
];
describe("a file that is refused as a whole", () => {
  for (const { name, content, filename, code, word } of whole)
    test(`${name}: ${code}`, async () => {
      const { version, report } = await validated(lab, content, filename);
      expect(version.status).toBe("failed");
      expect(report.problems.map((problem) => problem.code)).toContain(code);
      expect(version.error).toContain(word);
    });
});

const accepted: { name: string; content: string; rows: number; notes: string[]; encoding: object }[] = [
  {
    name: "a byte order mark",
    content: `\ufeff${chatLines(12).join("\n")}`,
    rows: 12,
    notes: ["bom"],
    encoding: { bom: true, line_endings: "lf" },
  },
  {
    name: "CR LF line ends",
    content: `${chatLines(12).join("\r\n")}\r\n`,
    rows: 12,
    notes: ["crlf"],
    encoding: { bom: false, line_endings: "crlf" },
  },
  {
    name: "blank lines",
    content: chatLines(12).join("\n\n"),
    rows: 12,
    notes: [],
    encoding: { bom: false, line_endings: "lf" },
  },
  {
    name: "no line break at the end",
    content: chatLines(12).join("\n"),
    rows: 12,
    notes: [],
    encoding: { bom: false, line_endings: "lf" },
  },
];
describe("oddities that are accepted with a warning", () => {
  for (const { name, content, rows, notes, encoding } of accepted)
    test(name, async () => {
      const { version, report } = await validated(lab, content);
      expect(version).toMatchObject({ status: "ready", rows, bad_rows: 0 });
      expect(report.problems.map((problem) => problem.code)).toEqual(notes);
      expect(report.encoding).toMatchObject(encoding);
    });

  test("__proto__ keys inside tool parameters are plain data", async () => {
    const parameters = '{"type": "object", "__proto__": {"polluted": true}}';
    const line = `{"messages": [{"role":"user","content":"a"},{"role":"assistant","content":"b"}], "tools": [{"type":"function","function":{"name":"f","parameters":${parameters}}}]}`;
    const { dataset, version } = await validated(
      lab,
      [...chatLines(10), line].join("\n"),
      "a.jsonl",
      "holdout_fraction=0",
    );
    expect(version.status).toBe("ready");
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    const rows = await (await lab.request("GET", `/v1/datasets/${dataset.id}/rows?after=10`)).text();
    expect(rows).toContain('"__proto__":{"polluted":true}');
  });

  test("duplicates, empty content, unknown fields and a user turn at the end are only warnings", async () => {
    const lines = [
      ...chatLines(10),
      chatLine(3),
      messages({ role: "user", content: "" }, assistant),
      messages(user, assistant, user),
      JSON.stringify({ messages: [user, assistant], source: "crm" }),
    ];
    const { version, report } = await validated(lab, lines.join("\n"));
    expect(version).toMatchObject({ status: "ready", rows: 14 });
    const counts = Object.fromEntries(report.problems.map((problem) => [problem.code, problem.count]));
    expect(counts).toEqual({ duplicate: 2, empty_content: 1, ends_without_assistant: 1, ignored_field: 1 });
    expect(report.duplicates).toMatchObject({ rows: 2, complete: true });
    expect(report.ignored_fields).toEqual({ source: 1 });
  });
});

describe("requests that are refused", () => {
  const refusals: { name: string; send: () => Promise<Response>; status: number; code: string }[] = [
    {
      name: "over the size limit",
      send: () => sendDataset(lab, Buffer.alloc(8 * 1024 ** 2 + 1)),
      status: 413,
      code: "file_too_large",
    },
    {
      name: "an empty file as the body",
      send: () => sendDataset(lab, "", "none.jsonl"),
      status: 400,
      code: "file_empty",
    },
    {
      name: "an empty file in a form",
      send: () => {
        const form = new FormData();
        form.set("file", new File([], "none.jsonl"));
        return lab.request("POST", "/v1/datasets", { raw: form });
      },
      status: 400,
      code: "file_empty",
    },
    {
      name: "a wrong content type",
      send: () => lab.request("POST", "/v1/datasets", { raw: "<x/>", headers: { "content-type": "application/xml" } }),
      status: 415,
      code: "unsupported_content_type",
    },
    {
      name: "JSON that is none",
      send: () => lab.request("POST", "/v1/datasets", { raw: "{", headers: { "content-type": "application/json" } }),
      status: 400,
      code: "body_not_parsable",
    },
    {
      name: "a file that does not exist",
      send: () => lab.request("POST", "/v1/datasets", { body: { file_id: "file-none" } }),
      status: 404,
      code: "file_not_found",
    },
    {
      name: "a validation split of more than half",
      send: () => sendDataset(lab, chatLine(1), "a.jsonl", "holdout_fraction=0.6"),
      status: 400,
      code: "invalid_value",
    },
    {
      name: "a seed that is no number",
      send: () => sendDataset(lab, chatLine(1), "a.jsonl", "seed=x"),
      status: 400,
      code: "invalid_value",
    },
  ];
  for (const { name, send, status, code } of refusals)
    test(name, async () => {
      const answer = await send();
      const { error } = (await answer.json()) as { error: { code: string } };
      expect({ status: answer.status, code: error.code }).toEqual({ status, code });
    });

  test("rows of a version that is not ready", async () => {
    const { dataset } = await validated(lab, "nope\n", "a.jsonl");
    const answer = await lab.request("GET", `/v1/datasets/${dataset.id}/rows`);
    expect(answer.status).toBe(409);
  });
});
