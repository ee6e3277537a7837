/** The screenshots of pages about money. */
import type { Shot } from "./screenshots-shoot.ts";

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
