/**
 * Playground and keyboard in a real browser: an answer is corrected and saved to a dataset; confirmations keep the
 * focus, shortcuts navigate.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { splitPath } from "../../src/data/datasets/rows.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { canonicalRows, chatLines, settled, validated } from "../support/datasets.ts";
import { addBase } from "../support/seed-rows.ts";

describe.skipIf(!hasBrowser)("saving an answer", () => {
  let t: TestApp;
  let b: TestBrowser;
  let datasetId = "";
  beforeAll(async () => {
    t = await createTestApp();
    await addBase(t.ctx, t.actor("admin"));
    datasetId = (await validated(t, chatLines(12).join("\n"), "tickets.jsonl")).dataset.id;
    b = await openBrowser(t);
    // The model's output does not matter here: this answers in the gateway's format.
    await b.page.route("**/v1/chat/completions", (route) => {
      const { messages } = route.request().postDataJSON() as { messages: { content: string }[] };
      const chunk = { choices: [{ delta: { content: `heard: ${messages.at(-1)?.content}` } }] };
      return route.fulfill({
        contentType: "text/event-stream",
        body: `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`,
      });
    });
  });
  afterAll(async () => {
    await b?.close();
    await t?.close();
  });

  const ask = async (text: string) => {
    await b.page.fill("[name=prompt]", text);
    await b.page.keyboard.press("Control+Enter");
    await b.page.waitForFunction(
      (said) => document.querySelector(".talk")?.textContent?.includes(said),
      `heard: ${text}`,
    );
  };
  const save = () => b.page.getByRole("button", { name: "Save to dataset" }).last();

  test("the corrected answer becomes the last row of a new version", async () => {
    await b.page.goto(`${b.base}/playground?models=smollm2-135m-instruct&system=Be%20brief.`);
    await ask("one");
    await ask("two");
    await save().click();
    const dialog = b.page.getByRole("dialog", { name: "Save to dataset" });
    expect(await dialog.locator("[data-before]").textContent()).toContain("heard: one");
    // The answer has the focus, and Escape returns it to the button.
    expect(await dialog.locator("[name=answer]").evaluate((field) => field === document.activeElement)).toBe(true);
    await b.page.keyboard.press("Escape");
    expect(await save().evaluate((button) => button === document.activeElement)).toBe(true);
    await b.page.keyboard.press("Enter");
    await dialog.locator("[name=answer]").fill("The better answer.");
    await dialog.locator("button[type=submit]").click();
    await b.page.getByRole("link", { name: "Saved to tickets, version 2" }).waitFor();
    const { version } = await settled(t, datasetId);
    expect(version).toMatchObject({ number: 2, status: "ready", rows: 13 });
    const rows = [...canonicalRows(t, version.id), ...canonicalRows(t, version.id, "holdout")];
    expect(rows.find((row) => row.id === 13)?.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "one" },
      { role: "assistant", content: "heard: one", weight: 0 },
      { role: "user", content: "two" },
      { role: "assistant", content: "The better answer." },
    ]);
  });

  test("the row can create a new dataset, which is offered for the next row", async () => {
    await b.page.goto(`${b.base}/playground?models=smollm2-135m-instruct`);
    await ask("three");
    await save().click();
    await b.page.selectOption("#save-dataset", "");
    await b.page.fill("#field-name", "from-chat");
    await b.page.click("#save-row button[type=submit]");
    const link = b.page.getByRole("link", { name: "Saved to from-chat" });
    await link.waitFor();
    // The next save waits while the first row is still being validated.
    await ask("four");
    await save().click();
    await b.page.click("#save-row button[type=submit]");
    await b.page.getByRole("link", { name: "Saved to from-chat, version 2" }).waitFor();
    const id = (await link.first().getAttribute("href"))?.split("/").at(-1) ?? "";
    expect((await settled(t, id)).version).toMatchObject({ rows: 2, status: "ready" });
    expect(b.troubles.filter((trouble) => !trouble.includes("409"))).toEqual([]);
  });

  test("a refused save shows an error in the form, and the input stays", async () => {
    await b.page.goto(`${b.base}/playground?models=smollm2-135m-instruct`);
    await ask("five");
    await save().click();
    const { version } = await settled(t, datasetId);
    rmSync(splitPath(t.ctx, version.id, "train"));
    await b.page.selectOption("#save-dataset", { label: "tickets" });
    await b.page.fill("[name=answer]", "kept");
    await b.page.click("#save-row button[type=submit]");
    const alert = b.page.locator("[data-save-error]");
    await alert.waitFor();
    expect(await alert.textContent()).toMatch(/file|disk/);
    expect(await b.page.inputValue("[name=answer]")).toBe("kept");
  });
});

describe.skipIf(!hasBrowser)("the keyboard", () => {
  let t: TestApp;
  let b: TestBrowser;
  beforeAll(async () => {
    t = await createTestApp();
    const { dataset } = await validated(t, chatLines(12).join("\n"), "tickets.jsonl");
    b = await openBrowser(t);
    await b.page.goto(`${b.base}/datasets/${dataset.id}`);
  });
  afterAll(async () => {
    await b?.close();
    await t?.close();
  });
  const focused = () => b.page.evaluate(() => document.activeElement?.closest("dialog, .confirm, main, nav")?.id ?? "");

  test("a confirmation takes the focus, keeps it, and returns it", async () => {
    const opener = b.page.locator("[popovertarget=confirm-delete-dataset]").first();
    await opener.focus();
    await b.page.keyboard.press("Enter");
    await b.page.waitForFunction(() => document.activeElement?.closest(".confirm"));
    for (const key of ["Tab", "Tab", "Tab", "Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab"]) {
      await b.page.keyboard.press(key);
      expect(await focused()).toBe("confirm-delete-dataset");
    }
    await b.page.keyboard.press("Escape");
    expect(await opener.evaluate((button) => button === document.activeElement)).toBe(true);
  });

  test("? shows the shortcuts, Escape closes them, and g d opens the datasets", async () => {
    await b.page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await b.page.keyboard.press("?");
    await b.page.waitForSelector("#shortcuts[open]");
    await b.page.keyboard.press("Escape");
    expect(await b.page.locator("#shortcuts[open]").count()).toBe(0);
    await b.page.keyboard.press("g");
    await b.page.keyboard.press("d");
    await b.page.waitForURL(`${b.base}/datasets`);
    // Arrow keys move between the rows, Enter opens one.
    await b.page.keyboard.press("ArrowDown");
    await b.page.keyboard.press("Enter");
    await b.page.waitForURL(/\/datasets\/ds_/);
    expect(b.troubles).toEqual([]);
  });
});
