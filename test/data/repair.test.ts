/** Repair over HTTP: edit a row, remove duplicates, merge datasets, download rows and faulty rows. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { canonicalRows, chatLine, chatLines, settled, type VersionObject, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

/** Rows of a version by their lines: the last message of each. */
const answersOf = (versionId: string) =>
  Object.fromEntries(
    [...canonicalRows(lab, versionId), ...canonicalRows(lab, versionId, "holdout")].map(({ id, messages }) => [
      id,
      messages.at(-1)?.content,
    ]),
  );
async function edited(id: string, line: number, text: string) {
  await lab.json("POST", `/v1/datasets/${id}/rows/${line}`, { body: { text } });
  return (await settled(lab, id)).version;
}
const lines = async (path: string) =>
  (await (await lab.request("GET", path)).text())
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

describe("a faulty row", () => {
  const file = [chatLine(1), "", '{"messages": [{"role": "robot", "content": "hi"}]}', chatLine(4), "no json"];

  test("is shown with its problems, replaced, and left out; other rows keep their lines", async () => {
    const { dataset, version } = await validated(lab, file.join("\n"));
    expect(version).toMatchObject({ status: "failed", bad_rows: 2 });
    const source = await lab.json<{ text: string; problems: { code: string; path: string }[] }>(
      "GET",
      `/v1/datasets/${dataset.id}/rows/3`,
    );
    expect(source).toMatchObject({ text: file[2], problems: [{ code: "unknown_role", path: "messages[0].role" }] });
    expect(await edited(dataset.id, 3, JSON.stringify(JSON.parse(chatLine(3)), null, 2))).toMatchObject({
      number: 2,
      status: "failed",
      bad_rows: 1,
    });
    const ready = await edited(dataset.id, 5, "");
    expect(ready).toMatchObject({ number: 3, status: "ready", rows: 3 });
    expect(answersOf(ready.id)).toEqual({ 1: "answer 1", 3: "answer 3", 4: "answer 4" });
  });

  test("is downloaded with line, problems and text", async () => {
    const { dataset } = await validated(lab, file.join("\n"));
    expect(await lines(`/v1/datasets/${dataset.id}/faulty-rows`)).toEqual([
      {
        line: 3,
        problems: [expect.objectContaining({ code: "unknown_role", field: "messages[0].role" })],
        text: file[2],
      },
      { line: 5, problems: [expect.objectContaining({ code: "not_json" })], text: "no json" },
    ]);
  });

  test.each<[string, string, number, string, Record<string, string>]>([
    ["CSV", 'prompt,completion\n"a\nb",c\nd,\n', 4, "d,e", { 2: "c", 4: "e" }],
    ["a JSON array", `[\n${chatLine(1)},\n{"messages": []}\n]`, 3, chatLine(3), { 2: "answer 1", 3: "answer 3" }],
    ["a JSON array on one line", `[${chatLine(1)},{"messages": []}]`, 2, chatLine(9), { 2: "answer 1", 3: "answer 9" }],
  ])("is replaced in %s", async (name, content, line, text, expected) => {
    const { dataset } = await validated(lab, content, name === "CSV" ? "a.csv" : "a.json");
    const ready = await edited(dataset.id, line, text);
    expect(ready.status).toBe("ready");
    expect(answersOf(ready.id)).toEqual(expected);
  });

  test.each([
    [9, 404, "row_not_found"],
    [0, 400, "invalid_value"],
  ])("that is not there is refused: line %p", async (line, status, code) => {
    const { dataset } = await validated(lab, file.join("\n"));
    const answer = await lab.request("POST", `/v1/datasets/${dataset.id}/rows/${line}`, { body: { text: "x" } });
    expect([answer.status, (await answer.json()).error.code]).toEqual([status, code]);
  });

  test("of a packed file cannot be edited: the error says what to do", async () => {
    const { dataset } = await validated(lab, Bun.gzipSync(Buffer.from(file.join("\n"))), "rows.jsonl.gz");
    const answer = await lab.request("GET", `/v1/datasets/${dataset.id}/rows/3`);
    expect([answer.status, (await answer.json()).error.code]).toEqual([409, "rows_not_editable"]);
  });
});

test("duplicates are removed in a new version of the same file", async () => {
  const { dataset } = await validated(lab, [...chatLines(20), chatLine(3), chatLine(7)].join("\n"));
  const made = await lab.json<VersionObject>("POST", `/v1/datasets/${dataset.id}/versions`, {
    body: { remove_duplicates: "exact" },
  });
  expect(made).toMatchObject({ number: 2, remove_duplicates: "exact" });
  expect((await settled(lab, dataset.id)).version).toMatchObject({ rows: 20, status: "ready" });
});

test("a new version of the same file keeps what is left out and removed, until the request changes it", async () => {
  const { dataset } = await validated(
    lab,
    [chatLine(1), chatLine(2), chatLine(2), "no", "no json", "{}", "7"].join("\n"),
  );
  const next = async (body: object) => {
    await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body });
    return (await settled(lab, dataset.id)).version;
  };
  expect(await next({ skip_bad: "any" })).toMatchObject({ status: "ready", rows: 3 });
  expect(await next({ remove_duplicates: "exact" })).toMatchObject({ status: "ready", rows: 2 });
  expect(await next({ seed: 7 })).toMatchObject({ status: "ready", rows: 2, skip_bad: "any" });
  expect(await next({ remove_duplicates: null })).toMatchObject({ status: "ready", rows: 3 });
  expect(await next({ skip_bad: false })).toMatchObject({ status: "failed", bad_rows: 4 });
});

test("a version is downloaded in the order of the file, and the download is a dataset again", async () => {
  const { dataset, version } = await validated(lab, chatLines(30).join("\n"));
  const rows = await lines(`/v1/datasets/${dataset.id}/content?version=${version.id}`);
  expect(rows).toEqual(chatLines(30).map((line) => JSON.parse(line)));
  const again = await validated(lab, rows.map((row) => JSON.stringify(row)).join("\n"));
  expect(again.version.hash).toBe(version.hash);
});

test("the rows of another dataset are added, if they have the same type", async () => {
  const first = await validated(lab, chatLines(12).join("\n"));
  const second = await validated(lab, `prompt,completion\n${"a,b\n".repeat(3)}`, "rows.csv");
  await lab.json("POST", `/v1/datasets/${first.dataset.id}/merge`, { body: { dataset: second.dataset.id } });
  const { version } = await settled(lab, first.dataset.id);
  expect(version).toMatchObject({ number: 2, status: "ready", rows: 15 });
  expect(answersOf(version.id)).toMatchObject({ 12: "answer 12", 13: "b", 15: "b" });
  const texts = await validated(lab, '{"text": "one"}\n{"text": "two"}\n');
  const refused = await lab.request("POST", `/v1/datasets/${first.dataset.id}/merge`, {
    body: { dataset: texts.dataset.id },
  });
  expect([refused.status, (await refused.json()).error.code]).toEqual([400, "wrong_row_type"]);
});
