/**
 * The job page in a real browser: it updates live, keeps scroll position and input, catches up after a restart of the
 * server, and works without scripts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, type TestTrainer } from "../support/attempt.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { idOf, jobRow } from "../support/seed-rows.ts";

const metrics = (step: number) => ({
  type: "metrics",
  step,
  epoch: 1,
  values: { "train/loss": 2 / step, "train/token_accuracy": 0.5 },
});
const progress = (step: number) => ({
  type: "progress",
  step,
  total_steps: 200,
  eta_s: 200 - step,
  fraction: step / 200,
  tokens_seen: step * 10,
});
const line = (message: string) => ({ type: "log", level: "info", message });

describe.skipIf(!hasBrowser)("the job page", () => {
  let t: TestApp;
  let b: TestBrowser;
  let trainer: TestTrainer;

  beforeAll(async () => {
    t = await createTestApp();
    await t.request("POST", "/datasets/sample", { form: {} });
    trainer = await makeTrainer(t);
    const lines = Array.from({ length: 100 }, (_, n) => line(`line ${n}`));
    await trainer.send([{ type: "phase", phase: "training" }, metrics(1), metrics(2), progress(2), ...lines]);
    b = await openBrowser(t);
    await b.page.goto(`${b.base}/jobs/${trainer.jobId}`);
    await b.page.waitForSelector("#chart-loss canvas");
  }, 60_000);

  afterAll(async () => {
    await b?.close();
    await t?.close();
  });

  test("curve, figures, status and log follow the run", async () => {
    await trainer.send([metrics(50), progress(50), line("the fiftieth step")]);
    await b.page.waitForFunction(() =>
      document.querySelector("#chart-loss [data-legend]")?.textContent?.includes("Step 50"),
    );
    await b.page.waitForFunction(() => document.querySelector("#job-status")?.textContent?.includes("step 50 of 200"));
    await b.page.waitForFunction(() =>
      document.querySelector("#log-lines")?.textContent?.includes("the fiftieth step"),
    );
    expect(await b.page.textContent("#chart-loss [data-legend]")).toContain("0.04");
  });

  test("new lines wait while the user has scrolled up", async () => {
    await b.page.locator("#log-lines").evaluate((box) => {
      box.scrollTop = 0;
    });
    await trainer.send([line("first unread"), line("second unread")]);
    const button = b.page.locator("[data-log-waiting]");
    await button.waitFor({ state: "visible" });
    expect(await button.textContent()).toContain("2 new lines");
    expect(await b.page.locator("#log-lines").evaluate((box) => box.scrollTop)).toBe(0);
    await button.click();
    expect(await b.page.textContent("#log-lines")).toContain("second unread");
  });

  test("what was typed and the focus stay while the page moves", async () => {
    await b.page.fill("[name=log]", "fiftieth");
    await b.page.waitForFunction(() => document.querySelectorAll("#log-lines li").length === 1);
    await trainer.send([metrics(60), progress(60)]);
    await b.page.waitForFunction(() => document.querySelector("#job-status")?.textContent?.includes("step 60 of 200"));
    expect(await b.page.inputValue("[name=log]")).toBe("fiftieth");
    expect(await b.page.evaluate(() => (document.activeElement as HTMLInputElement).name)).toBe("log");
    await b.page.fill("[name=log]", "");
    await b.page.waitForFunction(() => document.querySelectorAll("#log-lines li").length > 50);
  });

  test("opened sections stay open while the page updates", async () => {
    await b.page.goto(`${b.base}/jobs/new`);
    await b.page.click("details:has([name=n_epochs]) > summary");
    const answer = b.page.waitForResponse((response) => response.url().endsWith("/jobs/plan"));
    await b.page.fill("[name=name]", "opened");
    await answer;
    await b.page.waitForTimeout(300);
    expect(await b.page.locator("[name=n_epochs]").isVisible()).toBe(true);
    expect(await b.page.inputValue("[name=name]")).toBe("opened");
    await b.page.goto(`${b.base}/jobs/${trainer.jobId}`);
    await b.page.waitForSelector("#chart-loss canvas");
  });

  test("an open confirmation survives an update of the page", async () => {
    await b.page.click("[popovertarget=confirm-cancel]");
    await trainer.send([progress(70)]);
    await b.page.waitForFunction(() => document.querySelector("#job-status")?.textContent?.includes("step 70 of 200"));
    expect(await b.page.locator("#confirm-cancel").isVisible()).toBe(true);
    await b.page.keyboard.press("Escape");
    expect(await b.page.locator("#confirm-cancel").isVisible()).toBe(false);
  });

  test("a lost connection is shown, and missed events arrive after reconnecting", async () => {
    await b.stopServer();
    await b.page.locator("#connection").waitFor({ state: "visible" });
    await trainer.send([metrics(80), progress(80), line("written while disconnected")]);
    b.startServer();
    await b.page.waitForFunction(() =>
      document.querySelector("#log-lines")?.textContent?.includes("written while disconnected"),
    );
    await b.page.waitForFunction(() =>
      document.querySelector("#chart-loss [data-legend]")?.textContent?.includes("Step 80"),
    );
    await b.page.locator("#connection").waitFor({ state: "hidden" });
    const text = (await b.page.textContent("#log-lines")) ?? "";
    expect(text.split("written while disconnected").length).toBe(2);
  }, 30_000);

  test("the values of the chart are available as a table", async () => {
    await b.page.click("#chart-loss [data-tools] button:has-text('Table')");
    await b.page.waitForFunction(() => document.querySelectorAll("#chart-loss tbody tr").length >= 5);
    expect(await b.page.textContent("#chart-loss tbody")).toContain("80");
  });

  test("the queue updates with another team's job, and an administrator can change its scheduling", async () => {
    const id = idOf("ftjob-", 9);
    const row = { ...jobRow(t.actor("other"), Date.now(), 9, "queued"), name: "theirs" };
    await t.ctx.write((tx) => tx.insert(job).values(row));
    await b.page.goto(`${b.base}/queue`);
    await b.page.locator(`#row-${id}`).waitFor();
    await t.json("POST", `/v1/queue/${id}`, { as: "other", body: { priority: -7 } });
    await b.page.locator(`#row-${id}`).getByText("priority -7").waitFor();
    await b.page.click(`#row-${id} a.button[href="/queue/${id}"]`);
    await b.page.waitForURL(`${b.base}/queue/${id}`);
    await b.page.fill("[name=priority]", "12");
    await b.page.check("[name=days][value='1']");
    await b.page.fill("[name=from]", "22:00");
    await b.page.fill("[name=until]", "06:00");
    await b.page.click("form:has([name=priority]) button.primary");
    await b.page.locator(`#row-${id}`).getByText("22:00 to 06:00 UTC, Mon").waitFor();
    await b.page.selectOption("[name=mine]", "true");
    await b.page.waitForURL((url) => url.search.includes("mine=true"));
    await b.page.locator(`#row-${id}`).waitFor({ state: "detached" });
    await t.ctx.write((tx) => tx.delete(job).where(eq(job.id, id)));
  });

  test("the palette finds the job and opens it", async () => {
    await b.page.goto(`${b.base}/`);
    await b.page.keyboard.press("Control+k");
    await b.page.locator("#palette-input").pressSequentially(trainer.jobId.slice(0, 14));
    await b.page.waitForFunction(
      (id) => document.querySelector("#search-results a[data-selected]")?.getAttribute("href")?.endsWith(id),
      trainer.jobId,
    );
    await b.page.keyboard.press("Enter");
    await b.page.waitForURL(`${b.base}/jobs/${trainer.jobId}`);
  });

  test("keyboard shortcuts navigate", async () => {
    await b.page.keyboard.press("g");
    await b.page.keyboard.press("j");
    await b.page.waitForURL(`${b.base}/jobs`);
    await b.page.keyboard.press("/");
    expect(await b.page.evaluate(() => (document.activeElement as HTMLInputElement).name)).toBe("q");
  });

  test("a filter applies while typing and is part of the address", async () => {
    await b.page.locator("[data-page-search]").pressSequentially("no job has this name");
    await b.page.waitForFunction(() => document.querySelector("#job-list")?.textContent?.includes("No matches"));
    expect(b.page.url()).toContain("q=no+job+has+this+name");
    await b.page.selectOption("[name=state]", "running");
    await b.page.fill("[data-page-search]", "");
    await b.page.waitForFunction((id) => document.querySelector(`#row-${id}`), trainer.jobId);
    expect(b.page.url()).toContain("state=running");
  });

  test("the theme changes immediately and persists", async () => {
    const stored = b.page.waitForResponse("**/theme");
    await b.page.click(".rail [data-theme-form] [value=dark]");
    expect(await b.page.evaluate(() => document.documentElement.dataset.theme)).toBe("dark");
    await stored;
    await b.page.reload();
    expect(await b.page.evaluate(() => document.documentElement.dataset.theme)).toBe("dark");
  });

  test("no script errors and no policy violations", () => {
    expect(b.troubles).toEqual([]);
  });
});

describe.skipIf(!hasBrowser)("without scripts", () => {
  test("the job page, filters and actions work", async () => {
    const t = await createTestApp();
    const trainer = await makeTrainer(t);
    await trainer.send([{ type: "phase", phase: "training" }, metrics(1), progress(1), line("a line to read")]);
    const b = await openBrowser(t, { javaScript: false });
    try {
      await b.page.goto(`${b.base}/jobs?q=nothing-like-it`);
      expect(await b.page.textContent("main")).toContain("No matches");
      await b.page.goto(`${b.base}/jobs/${trainer.jobId}?log=read`);
      expect(await b.page.textContent("#log-lines")).toContain("a line to read");
      await b.page.click("form[action$='/checkpoint'] button");
      expect(await b.page.textContent("#toasts")).toMatch(/checkpoint/i);
      await b.page.click("[popovertarget=confirm-cancel]");
      await b.page.click("#confirm-cancel button[type=submit]");
      expect(await b.page.textContent("#job-badge")).toContain("Stopping");
    } finally {
      await b.close();
      await t.close();
    }
  }, 60_000);
});
