/**
 * The main workflow in a real browser, against a real server and a real trainer: sign in, upload a file with ten
 * defects, leave them out, train, watch the curve move, deploy, chat; in at most nine clicks.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { hasBrowser, launch, troublesOf } from "../support/browser.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing ?? (hasBrowser ? null : "no Chromium");
let live: Live;
let browser: Browser;
let page: Page;
let clicks = 0;
let troubles: string[];

/** What people's files have: each of these lines cannot be trained on. */
const DEFECTS = [
  '{"messages": [{"role": "user", "content": "cut off in the mid',
  "not JSON at all",
  '{"messages": []}',
  '{"messages": "a text instead of a list"}',
  '{"messages": [{"role": "user", "content": "no answer"}]}',
  '{"messages": [{"role": "teacher", "content": "unknown role"}, {"role": "assistant", "content": "a"}]}',
  '{"messages": [{"role": "user"}, {"role": "assistant", "content": "no question"}]}',
  '{"messages": [null, {"role": "assistant", "content": "no message"}]}',
  '{"messages": [{"role": "assistant", "content": "nobody asked"}}',
  "[1, 2, 3]",
];

/** The lines with a defect after every tenth. */
function withDefects(lines: string): string {
  const good = lines.trimEnd().split("\n");
  const all = good.flatMap((line, index) => (index % 10 === 9 ? [line, DEFECTS[(index - 9) / 10] ?? ""] : [line]));
  return `${all.filter(Boolean).join("\n")}\n`;
}

/** A counted click on a visible element. */
async function press(selector: string): Promise<void> {
  clicks++;
  await page.locator(selector).first().click();
}

describe.skipIf(skip !== null)(`the main workflow${skip ? ` (skipped: ${skip})` : ""}`, () => {
  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    writeFileSync(join(live.dir, "bank.jsonl"), withDefects(trainingLines(120)));
    browser = await launch();
    page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(30_000);
    troubles = troublesOf(page);
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await live?.close();
  });

  test("sign in", async () => {
    await page.goto(`${live.url}/`);
    await page.waitForURL(/\/login/);
    await page.fill("[name=email]", live.email);
    await page.fill("[name=password]", live.password);
    await press("form[action^='/login'] button.primary");
    await page.waitForURL(`${live.url}/`);
    expect(await page.textContent("h1")).toBe("Home");
  });

  test("upload a dataset and read its report", async () => {
    await press(".rail a[href='/datasets']");
    await page.waitForURL(/\/datasets$/);
    clicks++;
    await page.setInputFiles("#upload-file", join(live.dir, "bank.jsonl"));
    await page.waitForURL(/\/datasets\/ds_/);
    await page.getByText("Needs attention").first().waitFor();
    // The verdict counts them, and one button leaves them out.
    await page.getByText("10 of 130 rows").first().waitFor();
    await press("form[action$='/versions'] button.primary");
    await page.getByText("Ready", { exact: true }).first().waitFor();
    await page.locator("#state .stats").first().waitFor();
    await page.locator("#rows", { hasText: "Answer with JSON." }).waitFor();
  });

  test("start a job from the dataset", async () => {
    await press("#next a.primary");
    await page.waitForURL(/\/jobs\/new/);
    await page.locator("#plan dl").first().waitFor();
    await press("#job-form button.primary:not([formaction])");
    await page.waitForURL(/\/jobs\/ftjob-/);
  });

  test("the curve updates live until the job succeeds", async () => {
    await page.waitForSelector("#chart-loss canvas", { timeout: 90_000 });
    const legend = page.locator("#chart-loss [data-legend]");
    const before = await legend.textContent();
    await page.waitForFunction(
      (old) => document.querySelector("#chart-loss [data-legend]")?.textContent !== old,
      before,
      {
        timeout: 60_000,
      },
    );
    await page.locator("header.top, #job-status").getByText("Succeeded").first().waitFor({ timeout: 180_000 });
    // The server verifies that the first batch equals the stored rows; a short run may end first.
    const checked = await until("the check of the first batch", async () => {
      const path = `/v1/jobs/${page.url().split("/").at(-1)}`;
      const { progress } = await live.call<{ progress: { first_batch: { state: string } } }>("GET", path);
      return progress.first_batch.state !== "told" && progress.first_batch.state;
    });
    expect(checked).toBe("same");
  }, 330_000);

  test("deploy the fine-tuned model with one click and chat with it", async () => {
    await press("form[action='/deployments'] button.primary");
    await page.waitForURL(/\/deployments\/dep_/);
    await press("header.top a.primary[href^='/playground']");
    await page.waitForURL(/\/playground/);
    await page.fill("[name=prompt]", "My card was stolen");
    await press("[data-playground] button.primary");
    await page.waitForFunction(
      () => /\d+ tokens/.test(document.querySelector("[data-numbers]")?.textContent ?? ""),
      undefined,
      { timeout: 120_000 },
    );
    expect(await page.locator(".turn.user .said").last().textContent()).toBe("My card was stolen");
  }, 180_000);

  test("it takes at most nine clicks, without script errors or policy violations", () => {
    expect(clicks).toBeLessThanOrEqual(9);
    expect(troubles).toEqual([]);
  });
});
