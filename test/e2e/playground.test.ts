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

describe.skipIf(!hasBrowser)("tool calls", () => {
  const TOOLS = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];
  const delta = (value: object) => `data: ${JSON.stringify({ choices: [{ delta: value }] })}\n\n`;
  const requests: { messages: object[]; tools?: object[] }[] = [];
  let t: TestApp;
  let b: TestBrowser;
  beforeAll(async () => {
    t = await createTestApp();
    await addBase(t.ctx, t.actor("admin"));
    b = await openBrowser(t);
    await b.page.route("**/v1/chat/completions", (route) => {
      const request = route.request().postDataJSON() as { messages: { role: string; content: string }[] };
      requests.push(request);
      const last = request.messages.at(-1);
      const named = { index: 0, id: "call_7", type: "function", function: { name: "get_weather", arguments: "" } };
      const pieces =
        last?.role === "tool"
          ? [{ content: `It is ${last.content}.` }]
          : [
              { tool_calls: [named] },
              { tool_calls: [{ index: 0, function: { arguments: '{"city": ' } }] },
              { tool_calls: [{ index: 0, function: { arguments: '"Oslo"}' } }] },
            ];
      return route.fulfill({ contentType: "text/event-stream", body: `${pieces.map(delta).join("")}data: [DONE]\n\n` });
    });
    await b.page.goto(`${b.base}/playground?models=smollm2-135m-instruct`);
  });
  afterAll(async () => {
    await b?.close();
    await t?.close();
  });

  test("definitions that are not a JSON list are refused before anything is sent", async () => {
    await b.page.getByText("Tools", { exact: true }).click();
    await b.page.fill("[name=tools]", "[{");
    await b.page.fill("[name=prompt]", "weather in Oslo");
    await b.page.keyboard.press("Control+Enter");
    await b.page.locator("#tools-problem", { hasText: /^The tools are not a valid JSON list/ }).waitFor();
    expect(requests).toEqual([]);
    expect(await b.page.inputValue("[name=prompt]")).toBe("weather in Oslo");
  });

  test("a call is shown readable, its result is sent, and the answer follows", async () => {
    await b.page.fill("[name=tools]", JSON.stringify(TOOLS));
    await b.page.focus("[name=prompt]");
    await b.page.keyboard.press("Control+Enter");
    await b.page.locator(".turn .call", { hasText: 'get_weather({"city": "Oslo"})' }).waitFor();
    await b.page.getByLabel("Result of get_weather").fill("sunny");
    await b.page.getByRole("button", { name: "Send result" }).click();
    await b.page.getByText("It is sunny.", { exact: true }).waitFor();
    const call = { id: "call_7", type: "function", function: { name: "get_weather", arguments: '{"city": "Oslo"}' } };
    expect(requests.at(-1)).toMatchObject({
      tools: TOOLS,
      messages: [
        { role: "user", content: "weather in Oslo" },
        { role: "assistant", content: "", tool_calls: [call] },
        { role: "tool", tool_call_id: "call_7", content: "sunny" },
      ],
    });
    expect(await b.page.getByLabel("Result of get_weather").count()).toBe(0);
  });

  test("the call, corrected, becomes a row with the tools", async () => {
    await b.page.getByRole("button", { name: "Save to dataset" }).first().click();
    const dialog = b.page.getByRole("dialog", { name: "Save to dataset" });
    await dialog.locator("[name=calls]").fill('[{"name": "get_weather", "arguments": "{\\"city\\": \\"Bergen\\"}"}]');
    await dialog.locator("button[type=submit]").click();
    const link = b.page.getByRole("link", { name: "Saved to playground" });
    await link.waitFor();
    const id = (await link.getAttribute("href"))?.split("/").at(-1) ?? "";
    const { version } = await settled(t, id);
    const [row] = [...canonicalRows(t, version.id), ...canonicalRows(t, version.id, "holdout")];
    const call = { id: "call_7", type: "function", function: { name: "get_weather", arguments: '{"city": "Bergen"}' } };
    expect(row).toMatchObject({
      tools: TOOLS,
      messages: [
        { role: "user", content: "weather in Oslo" },
        { role: "assistant", content: "", tool_calls: [call] },
      ],
    });
    expect(b.troubles).toEqual([]);
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
