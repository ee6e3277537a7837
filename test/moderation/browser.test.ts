/** Moderation in a real browser: from the upload of a dataset to the decision, the appeal and the second decision. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { PASSWORD, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { clean, createModerated, type Moderated, row } from "../support/moderation.ts";

let of: Moderated;
let app: TestApp;
let browser: TestBrowser;
let reviewer: Page;

beforeAll(async () => {
  if (!hasBrowser) return;
  of = await createModerated();
  ({ app } = of);
  browser = await openBrowser(app);
  const other = await browser.context.browser()?.newContext();
  if (!other) throw new Error("no second context");
  reviewer = await other.newPage();
});
afterAll(async () => {
  await browser?.close();
  await of?.close();
});

test.skipIf(!hasBrowser)(
  "moderation from upload to decision to appeal",
  async () => {
    const { page, base } = browser;
    await page.goto(`${base}/admin/moderation`);
    await page.getByLabel(/Check datasets/).check();
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Saved. Moderation is on.").waitFor();
    await page.getByRole("link", { name: "New rule" }).click();
    await page.fill("[name=name]", "Bombs");
    await page.selectOption("[name=category]", "illicit/violent");
    await page.fill("[name=keywords]", "pipe bomb");
    await page.getByLabel(/^Hold/).check();
    await page.getByRole("button", { name: "Create rule" }).click();
    await page.getByText("Bombs is saved as version 1.").waitFor();

    const lines = [...clean(12, "browser"), row("What is in chapter 2?", "It is about the pipe bomb of 1921.")];
    const { dataset, version } = await of.upload(lines);
    await of.checked(version.id);
    await page.goto(`${base}/datasets/${dataset.id}`);
    await page.getByText("Held for review").waitFor();
    expect(await page.getByRole("link", { name: "Fine-tune", exact: true }).count()).toBe(0);

    await reviewer.goto(`${base}/login`);
    await reviewer.fill("[name=email]", "reviewer-1@example.test");
    await reviewer.fill("[name=password]", PASSWORD);
    await reviewer.getByRole("button", { name: "Sign in", exact: true }).click();
    await reviewer.waitForURL(`${base}/review`);
    const menu = reviewer.getByRole("navigation", { name: "Main", exact: true });
    expect(await menu.getByRole("link", { name: "Datasets" }).count()).toBe(0);
    await reviewer.getByRole("link", { name: /version 1/ }).click();
    expect(await reviewer.locator("mark").textContent()).toBe("pipe bomb");
    await reviewer.getByLabel(/^Restrict/).check();
    await reviewer.fill("[name=reason]", "It names a weapon.");
    await reviewer.getByRole("button", { name: "Decide" }).click();
    await reviewer.getByText("Decided. The owner is notified.").waitFor();

    await page.reload();
    await page.getByText("Restricted by a reviewer").waitFor();
    await page.getByRole("link", { name: "What was found, and how to appeal" }).click();
    await page.getByText("It names a weapon.").waitFor();
    await page.fill("[name=text]", "It is a chapter of a history book.");
    await page.getByRole("button", { name: "Appeal" }).click();
    await page.getByText("The appeal is sent.").waitFor();

    await reviewer.goto(`${base}/review?state=appealed`);
    await reviewer.getByRole("link", { name: /version 1/ }).click();
    await reviewer.getByText("It is a chapter of a history book.").waitFor();
    await reviewer.getByLabel(/^Approve/).check();
    await reviewer.fill("[name=reason]", "It is history.");
    await reviewer.getByRole("button", { name: "Decide" }).click();
    await reviewer.getByText("Decided. The owner is notified.").waitFor();

    await page.goto(`${base}/datasets/${dataset.id}`);
    await page.getByRole("link", { name: "Fine-tune", exact: true }).first().waitFor();
    expect(browser.troubles).toEqual([]);
  },
  120_000,
);
