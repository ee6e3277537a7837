/** Personal data in datasets over HTTP: the scan, its masked findings, decisions, and the policy. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { loadConfig } from "../../src/config.ts";
import { scanRows } from "../../src/data/pii/scan-rows.ts";
import { startScans } from "../../src/data/privacy/scan.ts";
import { piiScan } from "../../src/db/schema/datasets.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { canonicalRows, chatLines, settled, type VersionObject, validated } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { asking, type PiiObject, scanned, scannedDataset } from "../support/personal-data.ts";
import { TINY_MODEL } from "../support/tiny.ts";

const EMAIL = "jane.doe@example.com";
const CARD = "4111 1111 1111 1111";
const PHONE = "+49 30 901820";
const PLANTED = [asking(`I am ${EMAIL}, or ${EMAIL}.`), asking(`Charge ${CARD}, call ${PHONE}.`)];

interface Found {
  data: { id: number; findings: { kind: string; path: string; value: string; confidence: number }[] }[];
  last_id: number | null;
  has_more: boolean;
}

let lab: TestApp;
let stop: () => void;
const base = "tiny";
beforeAll(async () => {
  lab = await createTestApp();
  stop = startScans(lab.ctx);
  const given = { source: "local", directory: TINY_MODEL, id: base, license: "apache-2.0" };
  await lab.json("POST", "/v1/base_models/import", { body: given });
  await until("the base", async () => (await lab.json("GET", `/v1/base_models/${base}`)).status === "ready");
});
afterAll(async () => {
  stop();
  await lab.close();
});

const textOf = (versionId: string) =>
  JSON.stringify([...canonicalRows(lab, versionId), ...canonicalRows(lab, versionId, "holdout")]);
const decide = (id: string, body: object, as: "admin" | "member" | "other" = "admin") =>
  lab.request("POST", `/v1/datasets/${id}/pii`, { body, as });
const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const plan = (data: string) => lab.request("POST", "/v1/jobs/plan", { body: { model: base, training_file: data } });

describe("a scan", () => {
  test("counts findings by kind and lists their rows masked, by pages and kinds; no value is stored", async () => {
    const { id, version, found } = await scannedDataset(lab, [...chatLines(10), ...PLANTED]);
    expect(found).toMatchObject({
      status: "done",
      engine: "builtin",
      rows: 12,
      rows_scanned: 12,
      rows_with_findings: 2,
    });
    expect(Object.fromEntries(found.counts.map(({ kind, count }) => [kind, count]))).toEqual({
      email: 2,
      card: 1,
      phone: 1,
    });
    const rows = await lab.json<Found>("GET", `/v1/datasets/${id}/pii/rows?limit=1`);
    expect(rows).toMatchObject({ has_more: true, last_id: 11 });
    expect(rows.data).toMatchObject([
      { id: 11, findings: [{ kind: "email", path: "messages[0].content", value: "j***@e***.com" }, { kind: "email" }] },
    ]);
    const next = await lab.json<Found>("GET", `/v1/datasets/${id}/pii/rows?limit=1&after=11`);
    expect(next.data[0]?.findings.map(({ value }) => value)).toEqual(["**** 1111", "+49***20"]);
    const cards = await lab.json<Found>("GET", `/v1/datasets/${id}/pii/rows?kind=card`);
    expect(cards.data.map((row) => row.findings.map(({ kind }) => kind))).toEqual([["card"]]);
    const stored = readFileSync(join(lab.ctx.files.path("datasets", version.id), "personal-data.jsonl"), "utf8");
    const [row] = await lab.ctx.db.select().from(piiScan).where(eq(piiScan.versionId, version.id));
    for (const value of [EMAIL, CARD, PHONE]) expect(stored + JSON.stringify(row)).not.toContain(value);
  });

  test("that a restart interrupted starts again, and a version without a scan gets one", async () => {
    const { id, version } = await scannedDataset(lab, [...chatLines(3), ...PLANTED]);
    const where = eq(piiScan.versionId, version.id);
    await lab.ctx.write((tx) => tx.update(piiScan).set({ status: "running", rowsFound: 0, counts: {} }).where(where));
    startScans(lab.ctx)();
    expect(await scanned(lab, id)).toMatchObject({ status: "done", rows_with_findings: 2 });
    await lab.ctx.write((tx) => tx.delete(piiScan).where(where));
    startScans(lab.ctx)();
    expect(await scanned(lab, id)).toMatchObject({ status: "done", rows_with_findings: 2 });
  });

  test("shows how far it is in the API and on the page, before it has ended", async () => {
    // Nothing scans here: the row stays as a scan stores it on the way.
    const still = await createTestApp();
    const { dataset: of, version } = await validated(still, `${chatLines(100).join("\n")}\n`);
    const passed: number[] = [];
    const dir = still.ctx.files.path("datasets", version.id);
    await scanRows({ dir, presidio: null }, (rows) => void passed.push(rows));
    expect(passed).toEqual([64]);
    const begun = { status: "running", rowsDone: 64 } as const;
    await still.ctx.write((tx) => tx.update(piiScan).set(begun).where(eq(piiScan.versionId, version.id)));
    const found = await still.json<PiiObject>("GET", `/v1/datasets/${of.id}/pii`);
    expect(found).toMatchObject({ status: "running", rows: 100, rows_scanned: 64 });
    const page = await (await still.request("GET", `/datasets/${of.id}`, { headers: { accept: "text/html" } })).text();
    expect(page.match(/<progress[^>]*>|64 of 100 rows/g)).toEqual([
      '<progress aria-label="Looking for personal data" max="1" value="0.64">',
      "64 of 100 rows",
    ]);
    await still.close();
  });

  test("that failed says why, and can be repeated", async () => {
    const { id, version } = await scannedDataset(lab, chatLines(3));
    await lab.ctx.write((tx) =>
      tx.update(piiScan).set({ status: "failed", error: "because" }).where(eq(piiScan.versionId, version.id)),
    );
    expect(await lab.json<PiiObject>("GET", `/v1/datasets/${id}/pii`)).toMatchObject({
      status: "failed",
      error: "because",
    });
    await lab.json("POST", `/v1/datasets/${id}/pii/scan`, { body: {} });
    expect(await scanned(lab, id)).toMatchObject({ status: "done", error: null });
  });

  test("of another organization is not found", async () => {
    const { id } = await scannedDataset(lab, chatLines(2));
    for (const path of ["pii", "pii/rows"])
      expect((await lab.request("GET", `/v1/datasets/${id}/${path}`, { as: "other" })).status).toBe(404);
    expect((await decide(id, { decision: "mask" }, "other")).status).toBe(404);
  });
});

describe("presidio", () => {
  const upload = async (python: string) => {
    const with_presidio = await createTestApp({ config: { presidio_python: python } });
    const end = startScans(with_presidio.ctx);
    try {
      return await scannedDataset(with_presidio, [...chatLines(2), ...PLANTED, asking("MAC 00:1B:44:11:3A:B7")]);
    } finally {
      end();
      await with_presidio.close();
    }
  };

  test.skipIf(!Bun.which("python3"))(
    "that is not installed fails the scan with its reason, and nothing else",
    async () => {
      const { version, found } = await upload(Bun.which("python3") ?? "");
      expect(version.status).toBe("ready");
      expect(found.status).toBe("failed");
      expect(found.error).toMatch(/Presidio could not run.*No module named.*presidio_python/s);
    },
  );

  // FTL_TEST_PRESIDIO is a Python that has it: the test command makes one.
  const python = process.env.FTL_TEST_PRESIDIO ?? "";
  test.skipIf(!python)("that is installed finds more, and each value once", async () => {
    const { found } = await upload(python);
    expect(found).toMatchObject({ status: "done", engine: "builtin+presidio", rows_with_findings: 3 });
    expect(Object.fromEntries(found.counts.map(({ kind, count }) => [kind, count]))).toEqual({
      email: 2,
      card: 1,
      phone: 1,
      other: 1,
    });
  });
});

describe("a decision", () => {
  test("to mask creates a version whose values are marks, and the other rows stay the same", async () => {
    const { id, version } = await scannedDataset(lab, [...chatLines(4), ...PLANTED]);
    const decided = (await (await decide(id, { decision: "mask" })).json()) as PiiObject;
    expect(decided.decision).toMatchObject({ decision: "mask", by: lab.users.admin });
    const next = (await settled(lab, id)).version;
    expect(next).toMatchObject({ id: decided.decision?.next_version_id, number: 2, status: "ready", rows: 6 });
    const text = textOf(next.id);
    expect(text).toContain("I am [EMAIL], or [EMAIL].");
    expect(text).toContain("Charge [CARD], call [PHONE].");
    expect(text).toContain("question 4");
    expect(await scanned(lab, id)).toMatchObject({ version_id: next.id, rows_with_findings: 0 });
    // The version before it stays as it was.
    expect(textOf(version.id)).toContain(EMAIL);
    const late = await decide(id, { decision: "mask", version: version.id });
    expect([late.status, await codeOf(late)]).toEqual([409, "version_not_newest"]);
  });

  test("can be about some kinds, and keep a part of the values", async () => {
    const { id } = await scannedDataset(lab, [...chatLines(2), ...PLANTED]);
    await lab.json("POST", `/v1/datasets/${id}/pii`, {
      body: { decision: "mask", kinds: ["email", "card"], style: "partial" },
    });
    const { version } = await settled(lab, id);
    expect(textOf(version.id)).toContain("I am j***@e***.com, or j***@e***.com.");
    expect(textOf(version.id)).toContain(`Charge **** 1111, call ${PHONE}.`);
    expect((await scanned(lab, id)).counts).toMatchObject([{ kind: "phone", count: 1 }]);
    const none = await decide(id, { decision: "mask", kinds: ["email"] });
    expect(await codeOf(none)).toBe("no_findings");
  });

  test("to leave rows out creates a version without them, unless nothing would be left", async () => {
    const { id } = await scannedDataset(lab, [...chatLines(2), ...PLANTED]);
    await lab.json("POST", `/v1/datasets/${id}/pii`, { body: { decision: "leave_out", kinds: ["card"] } });
    const first: VersionObject = (await settled(lab, id)).version;
    expect(first).toMatchObject({ number: 2, rows: 3 });
    expect(textOf(first.id)).toContain(EMAIL);
    await scanned(lab, id);
    await lab.json("POST", `/v1/datasets/${id}/pii`, { body: { decision: "leave_out" } });
    expect((await settled(lab, id)).version).toMatchObject({ number: 3, rows: 2 });
    const all = await scannedDataset(lab, PLANTED);
    expect(await codeOf(await decide(all.id, { decision: "leave_out" }))).toBe("no_rows_left");
  });

  test("to accept needs a reason and somebody who answers for the dataset, and is in the audit log", async () => {
    const { id, version } = await scannedDataset(lab, PLANTED);
    expect(await codeOf(await decide(id, { decision: "accept", reason: " " }))).toBe("reason_needed");
    expect((await decide(id, { decision: "accept", reason: "fine" }, "member")).status).toBe(403);
    const done = (await (await decide(id, { decision: "accept", reason: "Made-up people" })).json()) as PiiObject;
    expect(done.decision).toMatchObject({
      decision: "accept",
      by_name: `admin (${lab.emails.admin})`,
      reason: "Made-up people",
    });
    const { data } = await lab.json<{ data: { action: string; actor: string; detail: object }[] }>(
      "GET",
      `/v1/admin/audit?target=${version.id}`,
    );
    expect(data[0]).toMatchObject({
      action: "dataset.pii.accept",
      detail: { dataset: id, version: 1, reason: "Made-up people" },
    });
  });
});

describe("a required decision", () => {
  const require = (pii_policy: string, as: "admin" | "member" = "admin") =>
    lab.request("POST", "/v1/organization/privacy", { body: { pii_policy }, as });

  test("refuses jobs on findings until somebody decided, in plan and creation", async () => {
    const dirty = await scannedDataset(lab, [...chatLines(4), ...PLANTED]);
    const clean = await scannedDataset(lab, chatLines(6));
    expect((await plan(dirty.id)).status).toBe(200);
    expect((await require("require_decision", "member")).status).toBe(403);
    expect((await require("require_decision")).status).toBe(200);
    const refused = await plan(dirty.id);
    expect(refused.status).toBe(400);
    expect((await refused.json()) as object).toMatchObject({
      error: { code: "pii_decision_required", param: "training_file" },
    });
    const job = { model: base, training_file: clean.id, validation_file: dirty.id };
    const answer = await lab.request("POST", "/v1/jobs", { body: job });
    expect(await answer.json()).toMatchObject({ error: { code: "pii_decision_required", param: "validation_file" } });
    const evaluation = await lab.request("POST", "/v1/evaluations", { body: { model: base, dataset: dirty.id } });
    expect(await codeOf(evaluation)).toBe("pii_decision_required");
    expect((await plan(clean.id)).status).toBe(200);
    await lab.json("POST", `/v1/datasets/${dirty.id}/pii`, {
      body: { decision: "accept", reason: "Consent is on file" },
    });
    expect((await plan(dirty.id)).status).toBe(200);
    // A scan that has not ended: the plan waits, as for a validation.
    await lab.ctx.write((tx) =>
      tx.update(piiScan).set({ status: "running" }).where(eq(piiScan.versionId, clean.version.id)),
    );
    expect(await (await plan(clean.id)).json()).toMatchObject({ ready: false });
    expect((await require("report")).status).toBe(200);
    expect((await plan(clean.id)).status).toBe(200);
  });

  test("of the installation cannot be lifted by a team, and needs scans", async () => {
    const strict = await createTestApp({ config: { pii_policy: "require_decision" } });
    try {
      expect(await strict.json("GET", "/v1/organization/privacy")).toMatchObject({
        pii_policy: "require_decision",
        set_by_installation: true,
      });
      const lifted = await strict.request("POST", "/v1/organization/privacy", { body: { pii_policy: "report" } });
      expect(await codeOf(lifted)).toBe("set_by_installation");
    } finally {
      await strict.close();
    }
    const off = { data_dir: "/nowhere", pii_scan: "off", pii_policy: "require_decision" } as const;
    expect(() => loadConfig(off, {})).toThrow("pii_scan");
  });
});
