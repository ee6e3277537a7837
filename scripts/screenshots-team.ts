/** The pages of a team and of personal data that need nothing done first. */
import type { Page } from "playwright-core";
import type { Shot } from "./screenshots-shoot.ts";

const nth = (prefix: string, n: number) => `${prefix}${String(n).padStart(4, "0")}seed0seed0seed0`;

/** Opens the confirmation that keeps the rows of a dataset here. */
async function openStays(page: Page): Promise<void> {
  await page.getByText("Where its rows may go").click();
  await page.click("[popovertarget=sheet-stays-local]");
}

/** Labels the first fine-tuned model, and shows the section that takes the label away. */
async function keepModel(page: Page): Promise<void> {
  await page.locator("a[href^='/models/ft']").first().click();
  await page.waitForSelector("#stays-local");
  // Another size of the same server has labeled it already.
  if ((await page.getByText("Let it leave this server").count()) === 0) {
    await page.click("[popovertarget=sheet-stays-local]");
    await page.locator("#sheet-stays-local button.primary").click();
    await page.getByText("Let it leave this server").first().waitFor();
  }
  await page.locator("#stays-local").scrollIntoViewIfNeeded();
}

export const TEAM_SHOTS: Shot[] = [
  { name: "usage", path: "/usage" },
  {
    name: "usage-filtered",
    path: "/usage?period=30d&group_by=model&measure=gpu_hours&provider=docker",
    seeds: ["full"],
  },
  { name: "team", path: "/team", seeds: ["full"] },
  { name: "team-audit", path: "/team/audit", seeds: ["full"] },
  { name: "people", path: "/team/people", seeds: ["full"] },
  { name: "people-report", path: `/team/people/${nth("subj_", 0)}`, seeds: ["full"] },
  { name: "dataset-personal-data", path: `/datasets/${nth("ds_", 2)}/personal-data`, seeds: ["full"] },
  { name: "stays-dataset", path: `/datasets/${nth("ds_", 0)}`, seeds: ["full"], act: (page) => openStays(page) },
  { name: "stays-model", path: "/models", seeds: ["full"], act: (page) => keepModel(page) },
];
