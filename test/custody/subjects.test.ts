/** Searches for a person over HTTP: folding, all places, what was trained on the rows, export, erasure, expiry. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { eq } from "drizzle-orm";
import { expireSubjects, startSubjects } from "../../src/custody/subjects/run.ts";
import { contextOf, folded, isAbout } from "../../src/data/pii/person-match.ts";
import { storedAnswer } from "../../src/db/schema/answers.ts";
import { subjectRequest } from "../../src/db/schema/archives.ts";
import { datasetVersion, file } from "../../src/db/schema/datasets.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { answer } from "../../src/db/schema/evaluations.ts";
import { event, logLine } from "../../src/db/schema/metrics.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { canonicalRows, chatLine, chatLines, settled, validated } from "../support/datasets.ts";
import { insertTuned, readyBase } from "../support/models.ts";
import { asking } from "../support/personal-data.ts";

interface Subject {
  id: string;
  status: string;
  terms: string[];
  hits: number;
  rows: number;
  result: {
    versions: { id: string; number: number; rows: number; newest: boolean }[];
    files: { id: string; lines: number }[];
    jobs: { id: string }[];
    models: { id: string }[];
    deployments: { id: string; state: string }[];
    stored: Record<string, number>;
    not_searched: { filename: string }[];
  } | null;
  erasure: {
    datasets: { next_version_id: string | null; rows: number; error: string | null }[];
    deleted_versions: string[];
    kept_versions: { id: string; reason: string }[];
  } | null;
}

describe("a term", () => {
  const about = (text: string, ...terms: string[]) => isAbout([text], { terms: terms.map(folded), match: "any" });

  test.each([
    ["José  García lives here", "jose garcia"],
    ["JOSE\nGARCIA", "José García"],
    ["Müller-Lüdenscheidt", "muller-ludenscheidt"],
    ["Strasse", "straße"],
    ["mail jane.doe@example.com.", "Jane.Doe@Example.com"],
    ["田中太郎さんへ", "田中太郎"],
    ["id=4711-A", "4711-a"],
    ["ＪＡＮＥ", "jane"],
  ])("is found whatever its case, accents and spaces: %j has %j", (text, term) => {
    expect(about(text, term)).toBe(true);
  });

  test.each([
    ["Hannah and Joanna", "Ann"],
    ["Jane Smith", "Jane Doe"],
    ["id=47110", "4711"],
    ["", "Jane"],
  ])("is not a part of another word: %j has no %j", (text, term) => {
    expect(about(text, term)).toBe(false);
  });

  test("can be one of several, or all of them", () => {
    const terms = ["jane", "doe"];
    expect(isAbout(["Jane", "Smith"], { terms, match: "any" })).toBe(true);
    expect(isAbout(["Jane", "Smith"], { terms, match: "all" })).toBe(false);
    expect(isAbout(["Jane", "Mrs. Doe"], { terms, match: "all" })).toBe(true);
  });

  test("is masked in its context, as is other personal data", () => {
    const text = `${"x ".repeat(60)}Call José García at +49 30 901820 or jose@example.com today, please, before noon`;
    const shown = contextOf([text], { terms: [folded("jose garcia")], match: "any" });
    expect(shown).toMatch(/^….* Call J\*\*\* at \+49\*\*\*20 or j\*\*\*@e\*\*\*\.com/);
    expect(shown).not.toContain("García");
    expect(shown.length).toBeLessThan(120);
  });
});

const JANE = "Jane Doe";
const rows = [asking(`I am ${JANE}.`), asking("I am JANE   DOE, again"), chatLine(1), chatLine(2), chatLine(3)];

let lab: TestApp;
let stop: () => void;
let dataset: string;
let first: string;
let second: string;
let loose: string;
let model: string;
let trained: string;

beforeAll(async () => {
  lab = await createTestApp();
  stop = startSubjects(lab.ctx);
  const { ctx } = lab;
  const org = lab.orgs.a;
  const made = await validated(lab, `${rows.join("\n")}\n`, "people.jsonl");
  dataset = made.dataset.id;
  first = made.version.id;
  await lab.json("POST", `/v1/datasets/${dataset}/rows`, { body: JSON.parse(asking("A new question")) });
  second = (await settled(lab, dataset)).version.id;
  await validated(lab, `${chatLines(4).join("\n")}\n`, "others.jsonl");
  // Not valid, so that its rows are nowhere but in the file.
  const broken = await validated(lab, `{"name": "${JANE}"}\nno json\n`, "broken.jsonl");
  loose = broken.version.file_id;
  const base = "tiny";
  await readyBase(ctx, base);
  const data = { dataset_id: dataset, version_id: first, file_id: null, hash: "h", train_rows: 4, holdout_rows: 1 };
  const tuned = await insertTuned(ctx, org, { base, spec: { dataset: data } });
  model = tuned.id;
  trained = tuned.jobId;
  await ctx.write(async (tx) => {
    await tx.insert(deployment).values({
      id: "dep_people",
      org,
      name: "people",
      model,
      baseModelId: base,
      wanted: "running",
      state: "ready",
      createdBy: lab.users.admin,
      createdAt: 1,
    });
    const answered = { prompt: [{ role: "user" as const, content: `Who is ${JANE}?` }], exact: true, tokens: 1 };
    await tx.insert(answer).values([
      { jobId: trained, rowId: 1, side: "base", expected: "a", output: "b", ...answered },
      { jobId: trained, rowId: 2, side: "base", expected: "a", output: "b", exact: true, tokens: 1, prompt: [] },
    ]);
    await tx.insert(event).values({
      id: "ftevent-people",
      n: 900,
      jobId: trained,
      at: 1,
      type: "sample",
      message: "",
      data: { text: `Dear ${JANE}` },
    });
    const line = { jobId: trained, attemptId: "a", batchId: 1, at: 1, level: "info" };
    await tx.insert(logLine).values({ ...line, message: `row of ${JANE}` });
    const kept = { org, userId: lab.users.admin, model, previousId: null, bytes: 1, createdAt: 1, expiresAt: 9e15 };
    const said = [{ role: "user", content: `Write to ${JANE}` }];
    await tx.insert(storedAnswer).values([
      { id: "chatcmpl-people", kind: "completion", ...kept, metadata: {}, input: said, answer: {} },
      { id: "resp_people", kind: "response", ...kept, metadata: { who: JANE }, input: [], answer: {} },
      { id: "resp_other", kind: "response", ...kept, metadata: {}, input: [], answer: {} },
    ]);
  });
});
afterAll(async () => {
  stop();
  await lab.close();
});

async function ended(id: string): Promise<Subject> {
  for (let i = 0; i < 1000; i++) {
    const found = await lab.json<Subject>("GET", `/v1/subject_requests/${id}`);
    if (found.status === "done" || found.status === "failed") return found;
    await Bun.sleep(20);
  }
  throw new Error(`the search ${id} does not end`);
}
async function searched(body: object): Promise<Subject> {
  return ended((await lab.json<Subject>("POST", "/v1/subject_requests", { body })).id);
}
const codeOf = async (answered: Response) => ((await answered.json()) as { error: { code: string } }).error.code;

test("a search lists rows, versions, jobs, models, live endpoints, and what is stored elsewhere", async () => {
  const found = await searched({ terms: ["jane doe"], reference: "DSR-1" });
  expect(found).toMatchObject({ status: "done", terms: ["jane doe"] });
  expect(found.result?.versions.map(({ id, rows: n, newest }) => [id, n, newest])).toEqual([
    [first, 2, false],
    [second, 2, true],
  ]);
  expect(found.result?.files).toMatchObject([{ id: loose, lines: 1 }]);
  expect(found.result?.jobs.map(({ id }) => id)).toEqual([trained]);
  expect(found.result?.models.map(({ id }) => id)).toEqual([model]);
  expect(found.result?.deployments).toMatchObject([{ id: "dep_people", state: "ready" }]);
  expect(found.result?.stored).toEqual({ answers: 1, samples: 1, log_lines: 1, responses: 1, completions: 1 });
  expect(found.hits).toBe(10);
  // Neither the terms nor the name are readable on disk or in the database.
  const [row] = await lab.ctx.db.select().from(subjectRequest).where(eq(subjectRequest.id, found.id));
  const report = readFileSync(lab.ctx.files.path("subjects", found.id, "hits.jsonl"), "utf8");
  expect(`${JSON.stringify(row)}${report}`).not.toMatch(/jane ?doe/i);
  const page = await lab.json<{ data: { id: number; kind: string; context: string }[]; has_more: boolean }>(
    "GET",
    `/v1/subject_requests/${found.id}/hits?limit=3&after=1`,
  );
  expect(page.data.map(({ id, kind }) => [id, kind])).toEqual([
    [2, "row"],
    [3, "row"],
    [4, "row"],
  ]);
  expect(page).toMatchObject({ has_more: true });
  expect(page.data[0]?.context).toBe("I am J***, again");
});

test("a report is exported as JSON and CSV, and the audit log has no term", async () => {
  const found = await searched({ terms: ["Jane Doe", "somebody else"], match: "all" });
  expect(found.hits).toBe(0);
  const { id } = await searched({ terms: ["Jane Doe"] });
  const exported = await lab.request("GET", `/v1/subject_requests/${id}/export`);
  const whole = (await exported.json()) as { request: Subject; hits: { id: number }[] };
  expect(whole.request).toMatchObject({ id, hits: 10 });
  expect(whole.hits.map((hit) => hit.id)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const csv = await (await lab.request("GET", `/v1/subject_requests/${id}/export?format=csv`)).text();
  expect(csv.trim().split("\r\n")).toHaveLength(11);
  const { data } = await lab.json<{ data: { action: string; detail: object }[] }>(
    "GET",
    `/v1/admin/audit?target=${id}`,
  );
  expect(data.map(({ action }) => action)).toEqual(["subject.export", "subject.export", "subject.search"]);
  expect(JSON.stringify(data)).not.toMatch(/jane/i);
});

test("only owners and administrators of the team search, and only in their own team", async () => {
  const body = { terms: ["Jane Doe"] };
  expect((await lab.request("POST", "/v1/subject_requests", { body, as: "member" })).status).toBe(403);
  const { id } = await searched(body);
  expect((await lab.request("GET", `/v1/subject_requests/${id}`, { as: "otherAdmin" })).status).toBe(404);
  const short = await lab.request("POST", "/v1/subject_requests", { body: { terms: ["ab"] } });
  expect(short.status).toBe(400);
  const other = await lab.request("POST", "/v1/subject_requests", { body, as: "otherAdmin" });
  const mine = (await other.json()) as Subject;
  for (let i = 0; i < 500; i++) {
    const seen = await lab.json<Subject>("GET", `/v1/subject_requests/${mine.id}`, { as: "otherAdmin" });
    if (seen.status === "done") return expect(seen.hits).toBe(0);
    await Bun.sleep(20);
  }
  throw new Error("the search of the other team does not end");
});

test("a search that a restart interrupted starts again; a report is deleted in time and on demand", async () => {
  const { id } = await searched({ terms: ["Jane Doe"] });
  const where = eq(subjectRequest.id, id);
  await lab.ctx.write((tx) => tx.update(subjectRequest).set({ status: "running", hits: 0, result: null }).where(where));
  startSubjects(lab.ctx)();
  expect((await ended(id)).hits).toBe(10);
  await lab.ctx.write((tx) => tx.update(subjectRequest).set({ expiresAt: 1 }).where(where));
  await expireSubjects(lab.ctx);
  expect((await lab.request("GET", `/v1/subject_requests/${id}`)).status).toBe(404);
  expect(existsSync(lab.ctx.files.path("subjects", id))).toBe(false);
  const again = await searched({ terms: ["Jane Doe"] });
  await lab.json("DELETE", `/v1/subject_requests/${again.id}`);
  expect(existsSync(lab.ctx.files.path("subjects", again.id))).toBe(false);
});

describe("pages", () => {
  test("show the form, the report and its actions, and keep what was typed when it is refused", async () => {
    const made = await lab.request("POST", "/team/people", {
      form: { terms: "Jane Doe\n", match: "any", reference: "" },
    });
    expect(made.status).toBe(303);
    const path = made.headers.get("location") ?? "";
    await ended(path.split("/").at(-1) ?? "");
    const page = await (await lab.request("GET", path)).text();
    for (const words of [
      "Models trained on these rows",
      model,
      "people",
      "broken.jsonl",
      "Erase what was found",
      "J***",
    ])
      expect(page).toContain(words);
    const refused = await lab.request("POST", "/team/people", { form: { terms: "xy" } });
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain(">xy</textarea>");
  });
});

describe("an erasure", () => {
  test("makes the next version without the rows, deletes old versions and stored texts, and keeps models", async () => {
    const { id, hits } = await searched({ terms: ["Jane Doe"] });
    expect(hits).toBe(10);
    await lab.json("POST", `/v1/subject_requests/${id}/erase`, { body: { old_versions: true, stored: true } });
    const { erasure } = await ended(id);
    expect(erasure?.datasets).toMatchObject([{ rows: 2, error: null }]);
    expect(erasure).toMatchObject({ deleted_versions: [first, second], kept_versions: [] });
    const next = (await settled(lab, dataset)).version;
    expect(next).toMatchObject({ id: erasure?.datasets[0]?.next_version_id, number: 3, status: "ready", rows: 4 });
    expect(JSON.stringify([...canonicalRows(lab, next.id), ...canonicalRows(lab, next.id, "holdout")])).not.toMatch(
      /jane/i,
    );
    for (const version of [first, second]) {
      expect(existsSync(lab.ctx.files.path("datasets", version))).toBe(false);
      const [row] = await lab.ctx.db.select().from(datasetVersion).where(eq(datasetVersion.id, version));
      expect(row).toMatchObject({ status: "failed", report: null });
      const [source] = await lab.ctx.db
        .select()
        .from(file)
        .where(eq(file.id, row?.fileId ?? ""));
      expect(source?.deletedAt).not.toBeNull();
      expect(existsSync(lab.ctx.files.path("files", row?.fileId ?? ""))).toBe(false);
    }
    expect((await lab.request("GET", `/v1/models/${model}`)).status).toBe(200);
    const left = await searched({ terms: ["Jane Doe"] });
    // What is left is the file that has no rows: it is listed, and deleted as a file.
    expect(left.result).toMatchObject({ versions: [], files: [{ id: loose }], stored: { answers: 0, completions: 0 } });
    expect(left.hits).toBe(1);
    const stored = await lab.ctx.db.select({ id: storedAnswer.id }).from(storedAnswer);
    expect(stored.map((one) => one.id)).toEqual(["resp_other"]);
  });

  test("that was interrupted continues with the version that it had created", async () => {
    const lines = [asking("I am Erika Beispiel."), ...chatLines(4)];
    const made = await validated(lab, `${lines.join("\n")}\n`, "erika.jsonl");
    const { id } = await searched({ terms: ["Erika Beispiel"] });
    await lab.json("POST", `/v1/subject_requests/${id}/erase`, { body: { old_versions: false } });
    const [first] = (await ended(id)).erasure?.datasets ?? [];
    expect(first).toMatchObject({ error: null });
    // As a server leaves it that was killed after creating the version, before it stored that.
    const where = eq(subjectRequest.id, id);
    const [row] = await lab.ctx.db.select().from(subjectRequest).where(where);
    if (!row?.erasure) throw new Error("no erasure");
    const erasure = { ...row.erasure, old_versions: true, datasets: [] };
    await lab.ctx.write((tx) => tx.update(subjectRequest).set({ status: "erasing", erasure }).where(where));
    startSubjects(lab.ctx)();
    const again = (await ended(id)).erasure;
    expect(again?.datasets).toMatchObject([{ next_version_id: first?.next_version_id, rows: 1, error: null }]);
    expect(again).toMatchObject({ deleted_versions: [made.version.id], kept_versions: [] });
    const of = eq(datasetVersion.datasetId, made.dataset.id);
    expect(await lab.ctx.db.select().from(datasetVersion).where(of)).toHaveLength(2);
  });

  test("says what it cannot do: a dataset whose every row is about the person, a search that found nothing", async () => {
    const made = await validated(
      lab,
      `${asking("Only Max Mustermann")}\n${asking("Max Mustermann, too")}\n`,
      "max.jsonl",
    );
    const { id } = await searched({ terms: ["Max Mustermann"] });
    await lab.json("POST", `/v1/subject_requests/${id}/erase`, { body: { old_versions: true } });
    const { erasure } = await ended(id);
    expect(erasure?.datasets[0]?.error).toContain("Delete the dataset");
    expect(erasure?.kept_versions).toMatchObject([{ id: made.version.id }]);
    const none = await searched({ terms: ["Nobody At All"] });
    expect(await codeOf(await lab.request("POST", `/v1/subject_requests/${none.id}/erase`, { body: {} }))).toBe(
      "nothing_found",
    );
  });
});
