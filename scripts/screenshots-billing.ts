/** The screenshots of pages about money. */
import type { Page } from "playwright-core";
import type { Shot } from "./screenshots-shoot.ts";

/** Opens the page of the team whose invoice is overdue. */
async function openOwnTeam(page: Page): Promise<void> {
  await page.locator("main a[href^='/admin/teams/']").first().click();
  await page.waitForSelector("#overdue");
}

export const BILLING_SHOTS: Shot[] = [
  { name: "billing", path: "/billing", seeds: ["empty", "full", "failing"] },
  { name: "billing-statement", path: "/billing/statements/stm_overdueseed", seeds: ["failing"] },
  {
    name: "billing-statement-print",
    path: "/billing/statements/stm_overdueseed",
    seeds: ["failing"],
    act: (page) => page.emulateMedia({ media: "print" }),
  },
  { name: "admin-billing", path: "/admin/billing", seeds: ["empty", "full", "failing"] },
  { name: "admin-verification", path: "/admin/billing/verify", seeds: ["empty", "full"] },
  {
    name: "admin-verification-run",
    path: "/admin/billing/verify",
    seeds: ["full"],
    act: async (page) => {
      await page.getByRole("button", { name: "Run the checks" }).click();
      await page.waitForSelector("#checks", { timeout: 60_000 });
    },
  },
  { name: "admin-team-overdue", path: "/admin/teams", seeds: ["failing"], act: (page) => openOwnTeam(page) },
  { name: "pricing", path: "/pricing", seeds: ["empty", "full"] },
  { name: "admin-prices", path: "/admin/prices", seeds: ["empty", "full"] },
  {
    name: "admin-prices-new",
    path: "/admin/prices/new",
    seeds: ["full"],
    act: async (page) => {
      await page.fill("[name=price_0]", "3.5");
      await page.fill("[name=free_byte_hours]", "50");
      await page.getByRole("button", { name: "Compare" }).click();
      await page.waitForSelector("#differences");
    },
  },
];
