/** A faulty file is repaired in the browser: edit, leave out, remove duplicates, download, filter, rename, replace. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { chatLine, chatLines, settled, type VersionObject } from "../support/datasets.ts";

const ROBOT = '{"messages": [{"role": "robot", "content": "hi"}, {"role": "assistant", "content": "Hello."}]}';
/** Lines 5 and 6 are faulty; line 13 repeats line 3. */
const FAULTY = [...chatLines(4), ROBOT, "no json", ...chatLines(10).slice(4), chatLine(3)];

describe.skipIf(!hasBrowser)("a faulty file", () => {
  let lab: TestApp;
  let b: TestBrowser;
  let id = "";
  beforeAll(async () => {
    lab = await createTestApp();
    b = await openBrowser(lab);
  });
  afterAll(async () => {
    await b?.close();
    await lab?.close();
  });

  const file = (name: string, lines: string[]) => ({
    name,
    mimeType: "application/jsonl",
    buffer: Buffer.from(lines.join("\n")),
  });
  const verdict = (text: string) => b.page.locator("#state").getByText(text).waitFor();
  const saved = async (link: string) => {
    const [download] = await Promise.all([
      b.page.waitForEvent("download"),
      b.page.getByRole("link", { name: link }).click(),
    ]);
    const lines = readFileSync(await download.path(), "utf8")
      .split("\n")
      .filter(Boolean);
    return { name: download.suggestedFilename(), rows: lines.map((line) => JSON.parse(line)) };
  };
  const newest = async (): Promise<VersionObject> => (await settled(lab, id)).version;

  test("of two files chosen together, the good one can be opened and the error of the empty one is seen", async () => {
    await b.page.goto(`${b.base}/datasets`);
    await b.page.locator("#upload-file").setInputFiles([file("repair.jsonl", FAULTY), file("empty.jsonl", [])]);
    await b.page.getByRole("alert").getByText("empty.jsonl is empty (0 bytes).", { exact: true }).waitFor();
    await b.page.locator("#upload").getByRole("link", { name: "repair.jsonl" }).click();
    await b.page.waitForURL(/\/datasets\/ds_/);
    id = new URL(b.page.url()).pathname.split("/")[2] ?? "";
    await verdict("Needs attention: 2 of 13 rows");
    expect((await saved("Download faulty rows")).rows.map(({ line }) => line)).toEqual([5, 6]);
  });

  test("one row is edited in the page, the other one is left out", async () => {
    await b.page.getByRole("link", { name: "Edit line 5", exact: true }).click();
    const row = b.page.getByLabel("Row", { exact: true });
    await row.fill((await row.inputValue()).replace("robot", "user"));
    await b.page.getByRole("button", { name: "Save as a new version" }).click();
    await b.page.getByText("Line 5 was replaced.").waitFor();
    await verdict("Needs attention: 1 of 13 rows");
    await b.page.getByRole("button", { name: "Leave out the bad rows" }).click();
    await b.page.getByText("1 row left out (line 6)").waitFor();
    expect(await newest()).toMatchObject({ number: 3, status: "ready", rows: 12 });
  });

  test("duplicates are removed, and the download has the repaired rows in the order of the file", async () => {
    await b.page.getByRole("button", { name: "Remove duplicates" }).click();
    await b.page.getByText("1 duplicate removed (line 13)").waitFor();
    expect(await newest()).toMatchObject({ number: 4, status: "ready", rows: 11 });
    const { name, rows } = await saved("Download rows (JSONL)");
    expect(name).toEndWith(".jsonl");
    const fixed = JSON.parse(ROBOT.replace("robot", "user"));
    const good = chatLines(10).map((line) => JSON.parse(line));
    expect(rows).toEqual([...good.slice(0, 4), fixed, ...good.slice(4)]);
  });

  test("another split keeps what was left out and removed", async () => {
    await b.page.getByText("Change the validation split").click();
    await b.page.getByLabel("Validation split, percent").fill("0");
    await b.page.getByRole("button", { name: "Create version" }).click();
    await verdict("11 training rows, 0 validation rows.");
    expect(await newest()).toMatchObject({ number: 5, status: "ready", rows: 11 });
  });

  test("rows are filtered, and the address keeps the filter", async () => {
    const rows = b.page.locator("#rows li");
    await b.page.getByPlaceholder("Search rows").fill("question 7");
    await b.page.waitForURL(/q=question(\+|%20)7/);
    await b.page.locator("#rows").getByText("Line 9", { exact: true }).waitFor();
    expect(await rows.count()).toBe(1);
    await b.page.reload();
    expect(await rows.count()).toBe(1);
    await b.page.getByLabel("Min characters").fill("1000");
    await b.page.getByLabel("Min characters").press("Enter");
    await b.page.getByText("No row matches the filters.").waitFor();
  });

  test("it is renamed", async () => {
    await b.page.getByText("Rename", { exact: true }).first().click();
    await b.page.getByLabel("Name", { exact: true }).fill("support, repaired");
    await b.page.getByRole("button", { name: "Rename" }).click();
    await b.page.getByRole("heading", { level: 1, name: "support, repaired" }).waitFor();
  });

  test("a corrected file is uploaded as a new version", async () => {
    await b.page.getByText("Upload a file as a new version").click();
    await b.page.locator("#version-file").setInputFiles(file("corrected.jsonl", chatLines(20)));
    await b.page.getByText("Version 6 (shown)").waitFor();
    await verdict("20 training rows, 0 validation rows.");
    expect(await newest()).toMatchObject({ number: 6, status: "ready", rows: 20 });
    // The refusal of the empty file is the only failed request.
    expect(b.troubles).toEqual([expect.stringContaining("status of 400")]);
  });
});
