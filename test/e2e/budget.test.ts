/**
 * Prices and a budget in a real browser, with real processes and a fast clock: a job runs into its limit, says why it
 * waits and how to continue, resumes when the limit is raised, and is on the statement of the month.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { user } from "../../src/db/schema/auth.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { PASSWORD } from "../support/app.ts";
import { DAY } from "../support/billing.ts";
import { hasBrowser, openBrowser, signIn, type TestBrowser } from "../support/browser.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";
import { TINY_MODEL } from "../support/tiny.ts";

/** Ten seconds of the clock take one. */
const FAST = 10;
const STEPS = 20;
const MODEL = "tiny-with-tokenizer";
const began = performance.now();
// Not in the last hours of a month: the test ends in the month in which it begins.
const now = Date.now();
const today = new Date(now + DAY / 4).getUTCMonth() === new Date(now).getUTCMonth() ? now : now + DAY;
let later = 0;
const clock: Clock = {
  now: () => today + Math.round((performance.now() - began) * FAST) + later,
  monotonic: () => performance.now(),
  sleep: (ms) => Bun.sleep(ms),
};

let lab: Lab;
let b: TestBrowser;
beforeAll(async () => {
  if (!hasBrowser) return;
  lab = await createLab({ trainSlots: 1, sweepMs: 200, clock });
  // With a tokenizer, so that its plan has an estimate.
  await lab.json("POST", "/v1/base_models/import", {
    body: { source: "local", directory: TINY_MODEL, id: MODEL, license: "apache-2.0" },
  });
  const base = async () => (await lab.json<{ status: string }>("GET", `/v1/base_models/${MODEL}`)).status;
  await until("the base model", async () => (await base()) === "ready", 60_000, 50);
  await lab.json("PATCH", "/v1/billing/settings", { body: { mode: "chargeback" } });
  b = await openBrowser(lab);
}, 180_000);
afterAll(async () => {
  await b?.close();
  await lab?.close();
});

const mainText = async () => ((await b.page.locator("main").textContent()) ?? "").replace(/\s+/g, " ");
const roles = (role: "admin" | "member") => lab.ctx.write((tx) => tx.update(user).set({ role }).where(sql`1`));

test.skipIf(!hasBrowser)(
  "set prices and a budget, run a job into its limit, resume it with a higher one, and read the statement",
  async () => {
    const { page, base } = b;
    // The first prices need no 30 days as long as only administrators have an account.
    await roles("admin");
    await page.goto(`${base}/admin/prices/new`);
    await page.selectOption("[name=meter_0]", "cpu_seconds");
    await page.fill("[name=price_0]", "360");
    await page.getByRole("button", { name: "Compare" }).click();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.waitForURL(`${base}/admin/prices`);

    // The budget fits the estimate. The job takes three times as long.
    const body = { model: MODEL, training_file: lab.fileId, max_steps: STEPS, save_every: 2 };
    const plan = await lab.json<{ cost_usd: [number, number]; spec: { need: { cpus: number } } }>(
      "POST",
      "/v1/jobs/plan",
      { body },
    );
    const limit = Math.ceil(plan.cost_usd[1] * 1.1);
    const perSecond = 0.1 * Math.max(1, Math.ceil(plan.spec.need.cpus));
    const stepMs = Math.ceil(((3 * limit) / perSecond / STEPS / FAST) * 1000);
    await page.goto(`${base}/usage/budgets`);
    expect(await mainText()).toContain("No budgets");
    await page.getByRole("button", { name: "Set budget" }).click();
    const dialog = page.locator("[role=dialog]:popover-open");
    await dialog.locator("[name=limit_usd]").fill(String(limit));
    await dialog.getByRole("button", { name: "Set budget" }).click();
    await page.getByRole("heading", { name: "The whole team" }).waitFor();
    expect(await mainText()).toContain(`$0 of $${limit}.00`);

    const id = await lab.train(`slow.${stepMs}-fast.${FAST}`, { model: MODEL, max_steps: STEPS, save_every: 2 });
    await page.goto(`${base}/jobs/${id}`);
    const status = page.locator("#job-status");
    const waits = /Waiting for the team's budget of [A-Z][a-z]+: \$[\d.,]+ needed, (\$[\d.]+|nothing) left\./;
    await until(
      "the page to say why it waits",
      async () => waits.test((await status.textContent()) ?? ""),
      90_000,
      100,
    );
    expect(await status.textContent()).toContain("Raise it under Usage, Budgets");
    expect((await lab.attempts(id)).map(({ outcome }) => outcome)).toEqual(["paused"]);
    const used = async () => {
      const [row] = await lab.ctx.db.all<{ usd: number }>(
        sql`select sum(micros) / 1e6 usd from meter_interval where job_id = ${id}`,
      );
      return row?.usd ?? 0;
    };
    // At most a checkpoint interval above, and most of the budget was used.
    expect(await used()).toBeLessThan(limit + (2 * stepMs * FAST * perSecond) / 1000);
    expect(await used()).toBeGreaterThan(limit / 3);

    await page.getByRole("link", { name: "Usage", exact: true }).first().click();
    await page.getByRole("link", { name: "Budgets" }).first().click();
    await page.getByRole("button", { name: "Change limit" }).click();
    await dialog.locator("[name=limit_usd]").fill(String(limit * 20));
    await dialog.getByRole("button", { name: "Save limits" }).click();
    await page.getByText("Work that waits for this budget starts when it fits.").waitFor();
    await page.goto(`${base}/jobs/${id}`);
    await until("the job to end", async () => (await lab.job(id)).state === "succeeded", 90_000, 100);
    await page.getByText("Succeeded").first().waitFor();
    expect((await lab.attempts(id)).map(({ outcome }) => outcome)).toEqual(["paused", "succeeded"]);
    const total = await used();
    const money = `$${total.toFixed(2)}`;

    // What the budget, the usage and the ledger say about the month is the same.
    await page.goto(`${base}/usage/budgets`);
    expect(await mainText()).toContain(`${money} of $${limit * 20}.00`);
    await page.goto(`${base}/usage`);
    expect(await mainText()).toContain(money);

    later = 40 * DAY;
    await b.context.clearCookies();
    await signIn(page, base, lab.emails.admin, PASSWORD);
    await page.goto(`${base}/admin/billing`);
    await page.getByRole("button", { name: "Close now" }).click();
    await page.goto(`${base}/billing`);
    await page.locator("main a[href^='/billing/']").first().click();
    const statement = await mainText();
    expect(statement).toContain(money);
    expect(statement).toContain("Training: core-hours");
    expect(b.troubles).toEqual([]);
  },
  240_000,
);
