/** The mapping of a file whose fields say nothing: by hand in a browser, without scripts, and over the API. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { canonicalRows, sendDataset, settled, validated } from "../support/datasets.ts";

let lab: TestApp;
beforeAll(async () => {
  lab = await createTestApp();
});
afterAll(() => lab.close());

const UNKNOWN = Array.from({ length: 12 }, (_, n) => ({
  kind: "faq",
  frage: `Where is ${n}?`,
  antwort: `Number ${n} is here.`,
  stimmung: n % 2 ? "+" : "-",
}));
const lines = (rows: object[]) => rows.map((row) => JSON.stringify(row)).join("\n");

interface MappingObject {
  used: object | null;
  proposed: object | null;
  reason: string;
  columns: { name: string; kind: string; samples: string[]; values: string[] | null }[];
  preview: { error: string | null; rows: { number: number; row: object | null; problems: string[] }[] };
}

describe.skipIf(!hasBrowser)("in a browser", () => {
  test("an unknown file is mapped by hand: the preview follows each choice, and the rows are read so", async () => {
    const { dataset, version } = await validated(lab, lines(UNKNOWN), "unknown.jsonl", "holdout_fraction=0");
    expect(version.status).toBe("needs_mapping");
    const browser = await openBrowser(lab);
    const { page } = browser;
    try {
      await page.goto(`${browser.base}/datasets/${dataset.id}`);
      const preview = page.locator("#mapping-live");
      await page.getByLabel("frage").selectOption({ label: "Prompt" });
      await page.getByLabel("antwort").selectOption({ label: "Completion (the answer to learn)" });
      await page.getByLabel("Labeled preference").check();
      await page.getByLabel("stimmung").selectOption({ label: "Label: good or bad answer" });
      await preview.getByText("Which values of stimmung mean a good answer?").waitFor();
      await page.getByLabel("+", { exact: true }).check();
      await preview.getByRole("heading", { name: "Good answer" }).waitFor();
      expect(await preview.getByText("Where is 1?").count()).toBe(1);
      await page.getByRole("button", { name: "Read the rows" }).click();
      await page.getByText("Ready").first().waitFor();
      expect(browser.troubles).toEqual([]);
    } finally {
      await browser.close();
    }
    const done = (await settled(lab, dataset.id)).version;
    expect(done).toMatchObject({ status: "ready", row_type: "unpaired", rows: 12, number: 1 });
    const rows = canonicalRows(lab, done.id) as unknown[];
    const row = (n: number) => ({
      id: n + 1,
      messages: [
        { role: "user", content: `Where is ${n}?` },
        { role: "assistant", content: `Number ${n} is here.` },
      ],
      label: n % 2 === 1,
    });
    expect(rows).toEqual(UNKNOWN.map((_, n) => row(n)));
  });
});

describe("without scripts", () => {
  const send = (path: string, fields: Record<string, string>) =>
    lab.request("POST", path, {
      raw: new URLSearchParams(fields).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded", accept: "text/html" },
    });

  test("the form is a page: it previews, refuses what is not decided, and then reads the rows", async () => {
    const rows = UNKNOWN.map(({ frage, antwort }, n) => ({ frage, antwort, rating: n % 2 ? "up" : "down" }));
    const { dataset, version } = await validated(lab, lines(rows), "rated.jsonl");
    expect(version).toMatchObject({ status: "needs_mapping" });
    const path = `/datasets/${dataset.id}/mapping`;
    const chosen = { version: version.id, type: "chat", use_0: "prompt", use_1: "completion", use_2: "" };
    const shown = await (await send(`${path}/preview`, chosen)).text();
    expect(shown).toContain("Number 2 is here.");
    const refused = await send(path, chosen);
    expect([refused.status, await refused.text()]).toEqual([
      422,
      expect.stringContaining("It can change what a row means"),
    ]);
    const twice = await send(path, { ...chosen, use_1: "prompt" });
    expect(await twice.text()).toContain("cannot both be the prompt");
    expect((await send(path, { ...chosen, use_2: "unused" })).status).toBe(303);
    expect((await settled(lab, dataset.id)).version).toMatchObject({ status: "ready", row_type: "chat", rows: 12 });
  });
});

test("a field that only later rows have can be mapped after it was refused", async () => {
  const rows = Array.from({ length: 60 }, (_, n) => ({
    prompt: `p${n}`,
    completion: "c",
    ...(n > 55 ? { rating: "bad" } : {}),
  }));
  const { dataset, version } = await validated(lab, lines(rows), "late.jsonl", "holdout_fraction=0");
  expect(version).toMatchObject({ status: "failed", bad_rows: 4 });
  const { columns } = await lab.json<MappingObject>("GET", `/v1/datasets/${dataset.id}/mapping`);
  expect(columns.map(({ name, samples }) => [name, samples.length])).toEqual([
    ["prompt", 3],
    ["completion", 1],
    ["rating", 1],
  ]);
  await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, {
    body: { mapping: { prompt: "prompt", completion: "completion", unused: ["rating"] } },
  });
  expect((await settled(lab, dataset.id)).version).toMatchObject({ status: "ready", rows: 60, number: 2 });
});

describe("over the API", () => {
  test("columns, proposal and preview; the mapping sent is returned, and another file uses it", async () => {
    const rows = UNKNOWN.map(({ frage, antwort }, n) => ({ prompt: frage, completion: antwort, label: n % 2 }));
    const { dataset, version } = await validated(lab, lines(rows), "labels.jsonl");
    const found = await lab.json<MappingObject>("GET", `/v1/datasets/${dataset.id}/mapping`);
    const proposed = {
      type: "unpaired",
      prompt: "prompt",
      completion: "completion",
      label: "label",
      good: ["1"],
      bad: ["0"],
    };
    expect(found).toMatchObject({ used: null, proposed, reason: expect.stringContaining('"label"') });
    expect(found.columns.map(({ name, kind, values }) => [name, kind, values])).toEqual([
      ["prompt", "text", null],
      ["completion", "text", null],
      ["label", "number", ["0", "1"]],
    ]);
    expect(found.preview).toMatchObject({
      error: null,
      rows: [{ number: 1, row: { label: false }, problems: [] }, {}, {}],
    });
    const preview = (mapping: object) =>
      lab.json<MappingObject["preview"]>("POST", `/v1/datasets/${dataset.id}/mapping/preview`, { body: { mapping } });
    expect((await preview({ prompt: "completion", completion: "prompt" })).rows[0]?.row).toEqual({
      messages: [
        { role: "user", content: "Number 0 is here." },
        { role: "assistant", content: "Where is 0?" },
      ],
    });
    expect((await preview({ prompt: "nothing", completion: "prompt" })).error).toContain('no field "nothing"');
    const unknown = await lab.request("POST", `/v1/datasets/${dataset.id}/mapping/preview`, {
      body: { mapping: { promt: "prompt" } },
    });
    expect([unknown.status, await unknown.text()]).toEqual([400, expect.stringContaining("promt")]);

    await lab.json("POST", `/v1/datasets/${dataset.id}/versions`, { body: { mapping: proposed } });
    expect((await settled(lab, dataset.id)).version).toMatchObject({
      id: version.id,
      status: "ready",
      mapping: proposed,
    });
    const made = await sendDataset(lab, lines(rows), "again.jsonl", `mapping_from=${dataset.id}`);
    const again = await settled(lab, ((await made.json()) as { id: string }).id);
    expect(again.version).toMatchObject({ status: "ready", row_type: "unpaired", mapping: proposed });
    const missing = await sendDataset(lab, lines(rows), "again.jsonl", "mapping_from=ds_nothing");
    expect(missing.status).toBe(404);
  });
});
