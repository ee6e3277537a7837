/**
 * From a finished training to its use, in a browser with one real training of the tiny model: the job page follows it,
 * its model is evaluated and exported, the playground knows its data, and a deleted model is no longer offered.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { hasBrowser, launch, signIn, troublesOf } from "../support/browser.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing ?? (hasBrowser ? null : "no Chromium");
const WAIT = { timeout: 180_000 };
let live: Live;
let browser: Browser;
let page: Page;
let troubles: string[];
let jobId = "";
let model = "";
let exportId = "";

const shown = (selector: string, words: string | RegExp) =>
  page.locator(selector, { hasText: words }).first().waitFor(WAIT);
const textOf = async (selector: string) => (await page.locator(selector).textContent()) ?? "";

describe.skipIf(skip !== null)(`from job to use${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("file", new File([trainingLines(60)], "bank.jsonl"));
    form.set("holdout_fraction", "0.2");
    const headers = { authorization: `Bearer ${live.key}` };
    const uploaded = await fetch(`${live.url}/v1/datasets`, { method: "POST", headers, body: form });
    const { id } = (await uploaded.json()) as { id: string };
    await until("the dataset", async () => {
      const found = await live.call<{ version: { status: string } }>("GET", `/v1/datasets/${id}`);
      return found.version.status === "ready";
    });
    browser = await launch();
    page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(60_000);
    troubles = troublesOf(page);
    await signIn(page, live.url, live.email, live.password);
    const body = { model: "tiny", training_file: id, suffix: "bank", max_steps: 12, batch_size: 4, save_every: 6 };
    jobId = (await live.call<{ id: string }>("POST", "/v1/jobs", { ...body, evaluate_after: false })).id;
  }, 180_000);
  afterAll(async () => {
    await browser?.close();
    await live?.close();
  });

  test("the job page ends with one story: state, attempt, log, and a link to the model", async () => {
    await page.goto(`${live.url}/jobs/${jobId}`);
    await shown("#job-badge", "Succeeded");
    await shown("#job-attempts", "Succeeded");
    expect(await textOf("#job-attempts")).not.toMatch(/Launching|Starting|Running/);
    await shown("#log-lines", /step 12\/12: loss/);
    const log = await textOf("#log-lines");
    for (const words of ["loading data", "loading model", "step 1/12: loss", "uploading"]) expect(log).toContain(words);
    await shown("#job-status", /12\s*of 12/);
    model = (await page.locator("#job-outcome a.mono").textContent()) ?? "";
    expect(model).toStartWith("ft:tiny:");
  }, 240_000);

  test("its model is evaluated from its page on training rows, with a grader", async () => {
    await page.click("#job-outcome a.mono");
    await page.waitForURL(/\/models\/ft/);
    expect(await textOf("h1")).toBe("bank");
    await page.getByRole("link", { name: "Evaluate", exact: true }).first().click();
    await page.selectOption("[name=split]", "train");
    await page.fill("[name=max_rows]", "10");
    await page.locator("summary", { hasText: "Grader" }).click();
    await page.getByRole("button", { name: "String check" }).click();
    await page.waitForURL(/start=string_check/);
    expect(await page.inputValue("[name=grader]")).toContain("{{item.expected}}");
    expect([await page.inputValue("[name=split]"), await page.inputValue("[name=max_rows]")]).toEqual(["train", "10"]);
    await page.getByRole("button", { name: "Evaluate", exact: true }).click();
    await page.waitForURL(/\/evaluations\/eval_/);
    await shown("#state", "Mean reward");
    expect(await page.locator(`a[href="/models/${encodeURIComponent(model)}"]`).count()).toBeGreaterThan(0);
    await page.getByRole("link", { name: /^bank(\.jsonl)?, version 1$/ }).waitFor();
    await page.locator("#rows li.panel").nth(9).waitFor(WAIT);
    await shown("#rows", "reward");
  }, 240_000);

  test("its export lists files, an archive and commands on its own page", async () => {
    await page.goto(`${live.url}/models/${encodeURIComponent(model)}`);
    await page.selectOption("#exports [name=format]", "gguf-q8_0");
    await page.getByRole("button", { name: "Create export" }).click();
    await page.waitForURL(/\/jobs\/job/);
    exportId = page.url().split("/").at(-1) ?? "";
    const file = page.getByRole("link", { name: "model-q8_0.gguf" });
    await file.waitFor(WAIT);
    expect(await textOf("#job-outcome")).toContain("Verified: the export answers like the trained model");
    await page.locator("summary", { hasText: "Run it with Ollama or llama.cpp" }).click();
    expect(await textOf("#job-outcome")).toContain("ollama create bank-");
    const archive = (await page.getByRole("link", { name: "Download all" }).getAttribute("href")) ?? "";
    const answer = await fetch(live.url + archive, { headers: { authorization: `Bearer ${live.key}` } });
    const tar = Bun.spawn(["tar", "-tvf", "-"], { stdin: await answer.blob(), stdout: "pipe" });
    const listed = await new Response(tar.stdout).text();
    const { files } = await live.call<{ files: { path: string; size: number }[] }>("GET", `/v1/exports/${exportId}`);
    for (const { path, size } of files)
      expect(listed).toMatch(new RegExp(` ${size} .*/${path.replaceAll(".", "\\.")}\n`));
  }, 240_000);

  test("the playground has the training's system message, tries a validation row, and keeps it over a reload", async () => {
    await page.goto(`${live.url}/playground?models=${encodeURIComponent(model)}`);
    await page.getByText("From the training data of bank.").waitFor();
    expect(await page.inputValue("[name=system]")).toBe("Answer with JSON.");
    await page.fill("[name=max_tokens]", "8");
    await page.getByRole("button", { name: "Try a validation row" }).click();
    await page.locator(".turn.expected", { hasText: "intent" }).waitFor(WAIT);
    const code = (await page.locator("[data-code-text]").textContent()) ?? "";
    const sent = JSON.parse(/-d '(.*)'$/s.exec(code)?.[1] ?? "{}");
    expect(sent.messages.map((one: { role: string }) => one.role)).toEqual(["system", "user"]);
    expect(sent).toMatchObject({ model, max_tokens: 8 });
    await page.getByRole("button", { name: "Add model" }).click();
    expect(await page.locator("[data-pane]").nth(1).locator("[data-model]").inputValue()).toBe("tiny");
    await page.locator("[data-remove-pane]").nth(1).click();
    await page.reload();
    await page.locator(".turn.user", { hasText: "Message" }).waitFor();
    expect(await page.inputValue("[name=max_tokens]")).toBe("8");
    expect(troubles).toEqual([]);
  }, 240_000);

  test("a deleted model is named, and no longer offered", async () => {
    await live.call("DELETE", `/v1/models/${encodeURIComponent(model)}`);
    await page.goto(`${live.url}/jobs/${jobId}`);
    expect(await textOf("#job-outcome")).toContain(`The model ${model} was deleted.`);
    expect(await page.getByRole("button", { name: "Deploy" }).count()).toBe(0);
    await page.goto(`${live.url}/playground?models=${encodeURIComponent(model)}`);
    await page.getByText(`${model} does not exist any more`).waitFor();
  });
});
