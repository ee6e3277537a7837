/**
 * Datasets over HTTP: formats become one chat form, versions are immutable and named by content, rows are paged, and
 * nothing in use is deleted.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { overlapOf } from "../../src/data/datasets/overlap.ts";
import { splitPath } from "../../src/data/datasets/rows.ts";
import { resolveTrainingData } from "../../src/data/datasets/training-data.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { AppError } from "../../src/errors.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import {
  type CanonicalRow,
  canonicalRows,
  chatLine,
  chatLines,
  type DatasetObject,
  type ReportObject,
  sendDataset,
  settled,
  type VersionObject,
  validated,
} from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

interface RowsPage {
  data: CanonicalRow[];
  last_id: number | null;
  has_more: boolean;
}
const canonical = (versionId: string, split: "train" | "holdout" = "train") => canonicalRows(lab, versionId, split);

const lines = chatLines(200);
const upload = (content: string, query = "") => validated(lab, content, "train.jsonl", query);

describe("versions", () => {
  test("the hash depends on rows and settings, not on line endings", async () => {
    const [a, b, c, d] = await Promise.all([
      upload(lines.join("\n")),
      upload(`${lines.join("\r\n")}\r\n\r\n`),
      upload(lines.join("\n"), "seed=7"),
      upload(lines.slice(1).join("\n")),
    ]);
    expect(a.version.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(b.version.hash).toBe(a.version.hash);
    expect(new Set([a, c, d].map((each) => each.version.hash)).size).toBe(3);
    const held = (id: string) => canonical(id, "holdout").map((row) => row.id);
    expect(held(a.version.id)).toHaveLength(20);
    expect(held(b.version.id)).toEqual(held(a.version.id));
    expect(held(c.version.id)).not.toEqual(held(a.version.id));
  });

  test("the training and validation splits together have every row once, in order", async () => {
    const { version } = await upload(lines.join("\n"), "holdout_fraction=0.25");
    const [train, held] = [canonical(version.id), canonical(version.id, "holdout")];
    expect([train.length, held.length]).toEqual([150, 50]);
    const ids = [...train, ...held].map((row) => row.id).sort((x, y) => x - y);
    expect(ids).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(train.map((row) => row.id)).toEqual(train.map((row) => row.id).sort((x, y) => x - y));
    for (const row of [...train, ...held]) expect(row.messages[0]?.content).toBe(`question ${row.id}`);
  });

  test("equal rows are in the same split", async () => {
    const tripled = lines.flatMap((line) => [line, line, line]);
    const { version, report } = await upload(tripled.join("\n"), "holdout_fraction=0.5");
    expect(report.duplicates.rows).toBe(400);
    const text = (row: CanonicalRow) => row.messages[0]?.content;
    const held = new Set(canonical(version.id, "holdout").map(text));
    expect(held.size).toBeGreaterThan(50);
    expect(canonical(version.id).some((row) => held.has(text(row)))).toBe(false);
  });

  test("a validation split of 0 is empty, and a single row is a training row", async () => {
    expect((await upload(lines.join("\n"), "holdout_fraction=0")).version).toMatchObject({
      train_rows: 200,
      holdout_rows: 0,
    });
    const lone = await upload(lines[0] ?? "");
    expect(lone.version).toMatchObject({ status: "ready", train_rows: 1, holdout_rows: 0 });
    expect(lone.report.problems.map((problem) => problem.code)).toEqual(["few_rows"]);
  });

  test("a new version does not change the old one", async () => {
    const { dataset, version } = await upload(lines.join("\n"));
    const before = readFileSync(splitPath(lab.ctx, version.id, "train"));
    const made = await lab.json<VersionObject>("POST", `/v1/datasets/${dataset.id}/versions`, {
      body: { seed: 9, holdout_fraction: 0.2 },
    });
    expect(made).toMatchObject({ number: 2, status: "validating" });
    expect((await settled(lab, dataset.id)).version).toMatchObject({ id: made.id, status: "ready", holdout_rows: 40 });
    expect(readFileSync(splitPath(lab.ctx, version.id, "train")).equals(before)).toBe(true);
    const list = await lab.json<{ data: VersionObject[] }>("GET", `/v1/datasets/${dataset.id}/versions`);
    expect(list.data.map((each) => [each.number, each.status])).toEqual([
      [2, "ready"],
      [1, "ready"],
    ]);
    const old = await lab.json<ReportObject>("GET", `/v1/datasets/${dataset.id}/report?version=${version.id}`);
    expect(old.version.number).toBe(1);
  });

  test("a job gets the newest ready version of a file or dataset, or the version it names", async () => {
    const { dataset, version } = await upload(lines.join("\n"));
    const made = await lab.json<VersionObject>("POST", `/v1/datasets/${dataset.id}/versions`, { body: { seed: 9 } });
    await settled(lab, dataset.id);
    const resolved = async (id: string) =>
      (await resolveTrainingData(lab.ctx, lab.actor("admin"), id, "training_file")).id;
    expect(await resolved(version.file_id)).toBe(made.id);
    expect(await resolved(dataset.id)).toBe(made.id);
    expect(await resolved(version.id)).toBe(version.id);
    for (const id of ["file-none", "ds_none", "dsv_none", "x"]) {
      const error = await resolveTrainingData(lab.ctx, lab.actor("admin"), id, "training_file").catch(
        (thrown) => thrown,
      );
      expect(error).toBeInstanceOf(AppError);
      expect([error.kind, error.code, error.param]).toEqual(["invalid", "training_data_not_found", "training_file"]);
    }
    const other = await resolveTrainingData(lab.ctx, lab.actor("other"), version.id, "training_file").catch(
      (thrown) => thrown,
    );
    expect(other.code).toBe("training_data_not_found");
  });
});

describe("rows", () => {
  test("are paged by id through a file with many index entries, and searched", async () => {
    const { dataset } = await validated(lab, chatLines(3000).join("\n"));
    const seen: number[] = [];
    for (let after = 0, more = true; more; ) {
      const page = await lab.json<RowsPage>(
        "GET",
        `/v1/datasets/${dataset.id}/rows?split=train&limit=97&after=${after}`,
      );
      seen.push(...page.data.map((row) => row.id));
      after = page.last_id ?? 0;
      more = page.has_more;
    }
    expect(seen).toHaveLength(2700);
    expect(new Set(seen).size).toBe(2700);
    const held = await lab.json<RowsPage>("GET", `/v1/datasets/${dataset.id}/rows?split=holdout&limit=5`);
    expect(held).toMatchObject({ has_more: true });
    expect(seen).not.toContain(held.data[0]?.id ?? 0);
    const last = seen.at(-1) ?? 0;
    const found = await lab.json<RowsPage>("GET", `/v1/datasets/${dataset.id}/rows?search=QUESTION%20${last}`);
    expect(found.data.map((row) => row.id)).toEqual([last]);
    expect(found.has_more).toBe(false);
  });
});

describe("adding a row", () => {
  const row = {
    messages: [
      { role: "user", content: "question ✓ 2001" },
      { role: "assistant", content: "answer\nof two lines" },
    ],
  };
  const add = (id: string, body: unknown, as?: "other") => lab.request("POST", `/v1/datasets/${id}/rows`, { body, as });
  const rowsOf = (id: string) =>
    [...canonical(id), ...canonical(id, "holdout")].sort((a, b) => a.id - b.id).map(({ id: _, ...rest }) => rest);

  test("creates a version with the old rows under their old numbers and the new row last", async () => {
    const { dataset, version } = await validated(lab, chatLines(200).join("\n"), "train.jsonl", "seed=5");
    const before = rowsOf(version.id);
    const answer = await add(dataset.id, row);
    expect(answer.status).toBe(200);
    const made = (await answer.json()) as VersionObject;
    expect(made).toMatchObject({ number: 2, dataset_id: dataset.id });
    expect(made.file_id).not.toBe(version.file_id);
    expect((await settled(lab, dataset.id)).version).toMatchObject({ id: made.id, status: "ready", rows: 201 });
    expect(rowsOf(made.id)).toEqual([...before, row] as never);
    expect(rowsOf(version.id)).toEqual(before);
    const { data } = await lab.json<{ data: { seed: number }[] }>("GET", `/v1/datasets/${dataset.id}/versions`);
    expect(data.map((each) => each.seed)).toEqual([5, 5]);
    // The file is this dataset's new source and makes no dataset of its own.
    const list = await lab.json<{ data: DatasetObject[] }>("GET", "/v1/datasets?limit=1");
    expect(list.data[0]?.id).toBe(dataset.id);
  });

  test("works for rows from any format: columns become conversations, tool calls stay", async () => {
    const csv = await validated(lab, `prompt,completion\n${"hi,there\n".repeat(12)}`, "rows.csv");
    await add(csv.dataset.id, row);
    expect((await settled(lab, csv.dataset.id)).version).toMatchObject({ status: "ready", rows: 13, format: "chat" });
    const call = { id: "c1", type: "function", function: { name: "look_up", arguments: '{"a":1}' } };
    const tools = [{ type: "function", function: { name: "look_up", parameters: { type: "object" } } }];
    const messages = [
      { role: "user", content: "look" },
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", content: "found", tool_call_id: "c1" },
      { role: "assistant", content: "It is there.", weight: 1 },
    ];
    const first = await validated(lab, JSON.stringify({ messages, tools }));
    const old = rowsOf(first.version.id);
    const made = (await (await add(first.dataset.id, { messages, tools })).json()) as VersionObject;
    await settled(lab, first.dataset.id);
    expect(rowsOf(made.id)).toEqual([...old, ...old]);
  });

  test.each([
    [{ messages: [] }, "invalid_row", "messages"],
    [{ messages: [{ role: "user", content: "hi" }] }, "invalid_row", "messages"],
    [{ messages: [{ role: "robot", content: "hi" }] }, "invalid_row", "messages[0].role"],
    [{ messages: [{ role: "assistant" }] }, "invalid_row", "messages[0]"],
    [{ messages: row.messages, tools: [{}] }, "invalid_row", "tools[0].function.name"],
    [{ ...row, more: 1 }, "unknown_parameter", "more"],
  ])("%j is refused and leaves nothing behind", async (body, code, param) => {
    const { dataset, version } = await validated(lab, chatLines(12).join("\n"));
    const answer = await add(dataset.id, body);
    expect(answer.status).toBe(400);
    expect((await answer.json()).error).toMatchObject({ code, param });
    expect((await settled(lab, dataset.id)).version.id).toBe(version.id);
  });

  test("is refused with the reason while the newest version has no rows, or when they are missing on disk", async () => {
    const failed = await validated(lab, "not json\n");
    expect((await (await add(failed.dataset.id, row)).json()).error).toMatchObject({ code: "version_not_ready" });
    const { dataset, version } = await validated(lab, chatLines(12).join("\n"));
    rmSync(lab.ctx.files.path("datasets", version.id), { recursive: true });
    const answer = await add(dataset.id, row);
    expect(answer.status).toBe(410);
    expect((await answer.json()).error).toMatchObject({ code: "rows_gone" });
    expect((await add(dataset.id, row, "other")).status).toBe(404);
  });

  test("two at once lose no row: one is asked to try again", async () => {
    const { dataset } = await validated(lab, chatLines(12).join("\n"));
    const statuses = (await Promise.all([add(dataset.id, row), add(dataset.id, row)])).map((each) => each.status);
    expect(statuses.sort()).toEqual([200, 409]);
    expect((await settled(lab, dataset.id)).version).toMatchObject({ number: 2, rows: 13 });
    const files = await lab.json<{ data: { filename: string }[] }>("GET", "/v1/files?limit=3");
    expect(files.data.map((each) => each.filename)).toEqual(["train.jsonl", "train.jsonl", expect.anything()]);
  });
});

describe("rows that resemble training rows", () => {
  interface OverlapAnswer {
    validation_version_id: string | null;
    overlap: { rows: number; known: number; near: number; pairs: { row: number; train_row: number; kind: string }[] };
  }
  const overlap = (id: string, query = "") => lab.json<OverlapAnswer>("GET", `/v1/datasets/${id}/overlap${query}`);

  test("are listed for the validation split, and for another dataset", async () => {
    const poems = Array.from({ length: 20 }, (_, n) => `{"prompt": "Write a poem", "completion": "poem ${n}"}`);
    const own = await validated(lab, poems.join("\n"), "poems.jsonl");
    expect((await overlap(own.dataset.id)).overlap).toMatchObject({ rows: 2, known: 2, near: 0 });
    const other = await validated(lab, `${chatLine("new")}\n${chatLine(3)}\n`);
    const { dataset } = await upload(lines.join("\n"));
    expect(await overlap(dataset.id, `?validation=${other.dataset.id}`)).toMatchObject({
      validation_version_id: other.version.id,
      overlap: { rows: 2, known: 1, pairs: [{ row: 2, train_row: 3, kind: "same" }] },
    });
    expect((await overlap(dataset.id)).overlap).toMatchObject({ rows: 20, known: 0, near: 0, pairs: [] });
  });

  test("are looked for once, also when that fails: the plan of a sweep asks for every trial", async () => {
    const { version } = await validated(lab, lines.join("\n"));
    const data = await resolveTrainingData(lab.ctx, lab.actor("admin"), version.id, "training_file");
    rmSync(splitPath(lab.ctx, version.id, "holdout"));
    const failures: string[] = [];
    const ctx = { ...lab.ctx, log: (_level: string, message: string) => failures.push(message) };
    for (let trial = 0; trial < 3; trial++) expect(await overlapOf(ctx, { data, validation: null }, 60_000)).toBeNull();
    expect(failures).toEqual(["rows could not be compared"]);
  });
});

describe("deleting", () => {
  const liveJob = (id: string, spec: object, request: object) =>
    lab.ctx.write((tx) =>
      tx.insert(job).values({
        id,
        org: lab.orgs.a,
        kind: "train",
        name: "j",
        state: "queued",
        spec: spec as never,
        request: request as never,
        metadata: {},
        progress: {},
        createdBy: lab.users.admin,
        createdAt: Date.now(),
      }),
    );
  const refused = async (path: string) => {
    const answer = await lab.request("DELETE", path);
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    return { status: answer.status, retry: answer.headers.get("x-should-retry"), ...error };
  };

  test("a file or dataset of an active job cannot be deleted, and the error names the job", async () => {
    const { dataset, version } = await validated(lab, chatLines(12).join("\n"));
    await liveJob(
      "ftjob-live1",
      { dataset: { file_id: version.file_id, dataset_id: dataset.id, version_id: version.id } },
      {},
    );
    const file = await refused(`/v1/files/${version.file_id}`);
    expect(file).toMatchObject({ status: 409, code: "file_in_use", retry: "false" });
    expect(file.message).toContain("ftjob-live1");
    expect(await refused(`/v1/datasets/${dataset.id}`)).toMatchObject({ status: 409, code: "dataset_in_use" });
    await lab.ctx.write((tx) => tx.update(job).set({ state: "succeeded" }));
    expect((await lab.request("DELETE", `/v1/files/${version.file_id}`)).status).toBe(200);
  });

  test("so does a job that still waits for validation", async () => {
    const { dataset, version } = await validated(lab, chatLines(12).join("\n"));
    await liveJob("ftjob-live2", {}, { training_file: version.file_id });
    expect(await refused(`/v1/datasets/${dataset.id}`)).toMatchObject({ status: 409, code: "dataset_in_use" });
    await lab.ctx.write((tx) => tx.update(job).set({ state: "cancelled" }));
    expect((await lab.request("DELETE", `/v1/datasets/${dataset.id}`)).status).toBe(200);
    expect(existsSync(lab.ctx.files.path("files", version.file_id))).toBe(false);
    expect(existsSync(lab.ctx.files.path("datasets", version.id))).toBe(false);
    expect((await lab.request("GET", `/v1/files/${version.file_id}`)).status).toBe(404);
  });

  test("keep_file keeps the uploaded file", async () => {
    const { dataset, version } = await validated(lab, chatLines(12).join("\n"));
    await lab.json("DELETE", `/v1/datasets/${dataset.id}?keep_file=true`);
    expect((await lab.request("GET", `/v1/files/${version.file_id}`)).status).toBe(200);
  });
});

test("a dataset of another organization is not found", async () => {
  const { dataset } = await validated(lab, chatLines(12).join("\n"));
  for (const [method, path] of [
    ["GET", ""],
    ["GET", "/versions"],
    ["GET", "/report"],
    ["GET", "/rows"],
    ["GET", "/tokens?base_model=smollm2-135m-instruct"],
    ["DELETE", ""],
  ] as const)
    expect((await lab.request(method, `/v1/datasets/${dataset.id}${path}`, { as: "other" })).status).toBe(404);
  const theirs = await lab.json<{ data: DatasetObject[] }>("GET", "/v1/datasets", { as: "other" });
  expect(theirs.data).toEqual([]);
});

test("datasets are listed newest first, have the given name or that of the file, and can be renamed", async () => {
  const first = (await (
    await sendDataset(lab, chatLines(12).join("\n"), "support tickets.jsonl")
  ).json()) as DatasetObject;
  const second = (await (
    await sendDataset(lab, chatLines(12).join("\n"), "x.jsonl", "name=Mine")
  ).json()) as DatasetObject;
  expect([first.name, second.name]).toEqual(["support tickets", "Mine"]);
  const page = await lab.json<{ data: DatasetObject[]; has_more: boolean }>("GET", "/v1/datasets?limit=2");
  expect(page.data.map((each) => each.id)).toEqual([second.id, first.id]);
  expect(page.has_more).toBe(true);
  const next = await lab.json<{ data: DatasetObject[] }>("GET", `/v1/datasets?limit=2&after=${first.id}`);
  expect(next.data.map((each) => each.id)).not.toContain(first.id);
  expect(await lab.json("POST", `/v1/datasets/${first.id}`, { body: { name: "Tickets" } })).toMatchObject({
    name: "Tickets",
  });
  expect((await settled(lab, second.id)).version.status).toBe("ready");
  const again = await lab.json<DatasetObject>("POST", "/v1/datasets", {
    body: { file_id: second.version.file_id, name: "Copy", seed: 3 },
  });
  expect((await settled(lab, again.id)).version).toMatchObject({ status: "ready", file_id: second.version.file_id });
});
