/** The usage page in a browser: choose, drill down to a group and to a job, and download. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { fakeClock } from "../support/clock.ts";
import { addUse, NOW } from "../support/metered.ts";

let t: TestApp;

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
});
afterAll(() => t.close());

const pageOf = async (query: string, as: "admin" | "member" | "other" = "admin") =>
  (await t.request("GET", `/usage?${query}`, { as })).text();

test("a month without use says what appears here, and a filter that finds nothing how to go on", async () => {
  expect(await pageOf("period=2026-01")).toContain("Training, evaluations, endpoints, stored data and requests");
  expect(await pageOf("period=2026-11&provider=nowhere")).toContain("Remove a filter");
});

test("the address of older versions shows the same month", async () => {
  const page = await pageOf("month=2026-10&group_by=user");
  expect(page).toContain("October 2026");
  expect(page).toContain("$3.60");
});

test("a member sees no colleague", async () => {
  const page = await pageOf("group_by=user", "member");
  expect(page).toContain("$5.80");
  for (const foreign of [t.users.admin, t.emails.admin, "ftjob-own"]) expect(page).not.toContain(foreign);
});

describe.skipIf(!hasBrowser)("in a browser", () => {
  let browser: TestBrowser;
  beforeAll(async () => {
    browser = await openBrowser(t);
  });
  afterAll(() => browser.close());

  test("chooses a group and a measure, shows one provider, opens its job, and downloads the month", async () => {
    const { page, base, troubles } = browser;
    await page.goto(`${base}/usage`);
    await page.waitForSelector("#usage-bars canvas");
    expect(await page.locator("#usage-bars .legend li").allInnerTexts()).toEqual([
      expect.stringContaining("member@example.test"),
      expect.stringContaining("admin@example.test"),
      "Whole period",
    ]);
    expect(await page.locator(".stat.big dd").textContent()).toContain("$11.20");

    await page.selectOption("[name=group_by]", "provider");
    await page.waitForURL(/group_by=provider/);
    await page.selectOption("[name=measure]", "gpu_hours");
    await page.waitForURL(/measure=gpu_hours/);
    await page.waitForSelector("#usage-bars canvas");
    expect(await page.locator("#usage-bars h2").textContent()).toBe("GPU hours by provider");

    // The table has what the chart draws.
    await page.locator("#usage-bars summary").press("Enter");
    const row = page.locator("#usage-bars tbody tr", { hasText: "2026-11-11" });
    expect(await row.locator("td").allInnerTexts()).toEqual(["2026-11-11", "0.5 h", "0.667 h"]);

    await page.getByRole("table", { name: "Top ten by provider" }).getByRole("link", { name: "cloud" }).click();
    await page.waitForURL(/provider=cloud/);
    expect(await page.locator(".stat.big dd").textContent()).toContain("0.667 h");
    expect(new URL(page.url()).searchParams.get("measure")).toBe("gpu_hours");

    await page.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "CSV", exact: true }).click(),
    ]);
    expect(download.suggestedFilename()).toBe("usage-2026-11-01-2026-11-30.csv");
    const text = readFileSync(await download.path(), "utf8");
    expect(text.trimEnd().split("\r\n")).toHaveLength(8);

    await page.keyboard.press("Escape");
    await page.getByRole("link", { name: "=cmd()" }).click();
    await page.waitForURL(/\/jobs\/ftjob-rented/);
    expect(troubles).toEqual([]);
  }, 120_000);
});
