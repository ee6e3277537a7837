/** Suspended and leaving accounts for the screenshots, and the pages that show them. */
import type { Page } from "playwright-core";
import { createOrganization, createUser } from "../src/accounts/auth/service.ts";
import { signIn } from "../src/accounts/auth/sign-in.ts";
import { suspendOrganization, suspendUser } from "../src/accounts/suspension/service.ts";
import { type Actor, type Ctx, memberActor, systemActor } from "../src/ctx.ts";
import { scheduleOrganization, scheduleUser } from "../src/erasure/schedule.ts";
import { DAY_MS } from "../src/lib/clock.ts";
import type { Shot } from "./screenshots-shoot.ts";

/** Adds them. @returns Cookie headers of `suspended` (of its team), `leaving` (the account) and `ending` (the team) */
export async function addHeld(ctx: Ctx, admin: Actor, password: string): Promise<Record<string, string>> {
  const server = systemActor(admin.org);
  const add = (email: string, org: string, teamRole: "owner" | "member" = "member") =>
    createUser(ctx, server, { email, password, role: "member", org, teamRole });
  const cookie = async (email: string) => {
    const client = { address: "203.0.113.7", userAgent: "Firefox on Linux", cookies: null };
    const { cookies } = await signIn(ctx, { email, password, client });
    return cookies.map((each) => each.split(";")[0]).join("; ");
  };
  const spam = await add("joe@example.test", admin.org);
  const reason = "Requests that break section 4 of the acceptable use policy";
  await suspendUser(ctx, server, spam.id, { reason, until: ctx.clock.now() + 30 * DAY_MS });
  const leaving = await add("leaving@example.test", admin.org);
  const own = memberActor({ userId: leaving.id, org: admin.org, email: leaving.email });
  await scheduleUser(ctx, own, leaving.id, { confirm: leaving.email, reason: "" });
  const support = await createOrganization(ctx, server, "Support");
  await add("support@example.test", support, "owner");
  await suspendOrganization(ctx, server, support, { reason: "The invoice of October is not paid" });
  const legal = await createOrganization(ctx, server, "Legal");
  await add("legal@example.test", legal, "owner");
  await scheduleOrganization(ctx, server, legal, { reason: "The contract ended" });
  return {
    suspended: await cookie("support@example.test"),
    leaving: await cookie("leaving@example.test"),
    ending: await cookie("legal@example.test"),
  };
}

async function openUser(page: Page): Promise<void> {
  await page.locator("#users a[href^='/admin/users/']").first().click();
  await page.waitForURL((url) => url.pathname.startsWith("/admin/users/"));
}

/** The pages of suspensions and deletions. */
export const HELD_SHOTS: Shot[] = [
  {
    name: "admin-user-suspended",
    path: "/admin/users?q=joe",
    seeds: ["full"],
    act: (page) => openUser(page),
  },
  {
    name: "admin-user-suspend",
    path: "/admin/users?q=grace",
    seeds: ["full"],
    act: async (page) => {
      await openUser(page);
      await page.click("[popovertarget=sheet-suspend]");
    },
  },
  { name: "admin-deletions", path: "/admin/deletions", seeds: ["empty", "full"] },
  { name: "suspended", path: "/", seeds: ["full"], as: "suspended" },
  { name: "settings-delete", path: "/settings/delete", seeds: ["full"], as: "member" },
  { name: "settings-delete-scheduled", path: "/settings/delete", seeds: ["full"], as: "leaving" },
  { name: "team-delete", path: "/team/delete", seeds: ["full"] },
  { name: "team-delete-scheduled", path: "/team/delete", seeds: ["full"], as: "ending" },
];
