/** The pages of the screenshots, with the state each needs: what to open, and what to do there first. */
import type { Page } from "playwright-core";
import { BILLING_SHOTS } from "./screenshots-billing.ts";
import { HELD_SHOTS } from "./screenshots-held.ts";
import { MODERATION_SHOTS } from "./screenshots-moderation.ts";
import { RARE_SHOTS } from "./screenshots-rare.ts";
import type { Shot } from "./screenshots-shoot.ts";
import { TEAM_SHOTS } from "./screenshots-team.ts";

/** Of every seeded account. */
export const PASSWORD = "correct-horse-41-battery";
export const EMAIL = "ada@example.test";

const job = (n: number) => `/jobs/ftjob-${String(n).padStart(4, "0")}seed0seed0seed0`;
const nth = (prefix: string, n: number) => `${prefix}${String(n).padStart(4, "0")}seed0seed0seed0`;
export const SHOTS: Shot[] = [
  { name: "login", path: "/login", open: true, seeds: ["empty"] },
  { name: "login-error", path: "/login?next=/jobs", open: true, seeds: ["empty"], act: (page) => failLogin(page) },
  { name: "login-code", path: "/login", open: true, seeds: ["full"], act: (page) => signInTwice(page) },
  {
    name: "login-code-error",
    path: "/login",
    open: true,
    seeds: ["full"],
    act: async (page) => {
      await signInTwice(page);
      await page.fill("[name=code]", "000000");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForSelector("[role=alert]");
    },
  },
  { name: "forgot-none", path: "/forgot", open: true, seeds: ["empty"] },
  { name: "admin-sso", path: "/admin/sso", seeds: ["empty"] },
  { name: "admin-sso-new", path: "/admin/sso/new", seeds: ["full"] },
  { name: "admin-sso-saml", path: "/admin/sso/new?type=saml", seeds: ["full"] },
  { name: "forgot", path: "/forgot", open: true, seeds: ["full"] },
  {
    name: "forgot-sent",
    path: "/forgot",
    open: true,
    seeds: ["full"],
    act: async (page) => {
      await page.fill("[name=email]", "nobody@example.test");
      await page.getByRole("button", { name: "Mail me a link" }).click();
      await page.waitForSelector(".notice.ok");
    },
  },
  { name: "invite", path: ({ invite }) => invite, open: true, seeds: ["full"] },
  {
    name: "invite-error",
    path: ({ invite }) => invite,
    open: true,
    seeds: ["full"],
    act: async (page) => {
      await page.fill("[name=name]", "Margaret Hamilton");
      await page.fill("[name=password]", "password1234567");
      await page.getByRole("button", { name: "Create account" }).click();
      await page.waitForSelector("[role=alert]");
    },
  },
  { name: "invite-used", path: "/invite?token=used", open: true, seeds: ["full"] },
  { name: "reset", path: ({ reset }) => reset, open: true, seeds: ["full"] },
  { name: "reset-used", path: "/reset?token=used", open: true, seeds: ["full"] },
  { name: "not-me", path: ({ alert }) => alert, open: true, seeds: ["full"] },
  { name: "not-me-used", path: "/not-me?token=used", open: true, seeds: ["full"] },
  { name: "confirm-email", path: ({ email }) => email, open: true, seeds: ["full"] },
  { name: "setup", path: ({ setup }) => setup, open: true, seeds: ["new"] },
  { name: "setup-closed", path: "/setup", open: true, seeds: ["empty", "new"] },
  { name: "home", path: "/" },
  { name: "jobs", path: "/jobs" },
  { name: "jobs-none", path: "/jobs?q=nothing-like-this", seeds: ["full"] },
  { name: "jobs-new", path: "/jobs/new" },
  {
    name: "jobs-new-problem",
    path: "/jobs/new",
    seeds: ["full"],
    act: async (page) => {
      await page.getByText("Hyperparameters").click();
      await page.fill("[name=learning_rate]", "fast");
      await page.waitForSelector("#field-learning_rate-error");
    },
  },
  {
    name: "jobs-new-place",
    path: "/jobs/new",
    seeds: ["full"],
    act: async (page) => {
      await page.getByText("Scheduling").click();
      await page.locator("[name=tz]").scrollIntoViewIfNeeded();
    },
  },
  {
    name: "jobs-new-grader",
    path: `/jobs/new?data=${nth("ds_", 12)}`,
    seeds: ["full"],
    act: async (page) => {
      await page.getByRole("button", { name: "Text similarity" }).click();
      await page.fill("[name=answer]", '{"intent": "card_lost"}');
      await page.getByRole("button", { name: "Grade this answer" }).click();
      await page.waitForSelector(".notice.ok");
      await page.locator(".notice.ok").scrollIntoViewIfNeeded();
    },
  },
  {
    name: "jobs-new-optimizer",
    path: `/jobs/new?data=${nth("ds_", 0)}`,
    seeds: ["full"],
    act: async (page) => {
      await page.getByText("Hyperparameters").click();
      await page.locator("[name=optimizer]").scrollIntoViewIfNeeded();
    },
  },
  { name: "job-running", path: job(0), seeds: ["full"] },
  { name: "job-done", path: job(1), seeds: ["full"] },
  { name: "job-queued", path: job(2), seeds: ["full"] },
  { name: "job-failed", path: job(0), seeds: ["failing"] },
  { name: "job-cancel", path: job(0), seeds: ["full"], act: cancelJob },
  { name: "job-clear", path: job(1), seeds: ["full"], act: (page) => page.click("[popovertarget=confirm-clear]") },
  { name: "compare", path: `/jobs/compare?ids=${job(4).slice(6)}&ids=${job(8).slice(6)}`, seeds: ["full"] },
  {
    name: "compare-tokens",
    path: `/jobs/compare?ids=${job(4).slice(6)}&ids=${job(8).slice(6)}&x=tokens`,
    seeds: ["full"],
  },
  {
    name: "compare-time",
    path: `/jobs/compare?ids=${job(4).slice(6)}&ids=${job(8).slice(6)}&x=time`,
    seeds: ["full"],
  },
  { name: "palette", path: "/jobs", seeds: ["full"], act: (page) => openPalette(page) },
  { name: "datasets", path: "/datasets" },
  { name: "dataset", path: `/datasets/${nth("ds_", 0)}`, seeds: ["full"] },
  { name: "dataset-remarks", path: `/datasets/${nth("ds_", 1)}`, seeds: ["full"] },
  { name: "dataset-talks", path: `/datasets/${nth("ds_", 2)}`, seeds: ["full"] },
  { name: "dataset-pairs", path: `/datasets/${nth("ds_", 7)}`, seeds: ["full"] },
  { name: "dataset-marked", path: `/datasets/${nth("ds_", 8)}`, seeds: ["full"] },
  { name: "dataset-texts", path: `/datasets/${nth("ds_", 9)}`, seeds: ["full"] },
  { name: "dataset-prompts", path: `/datasets/${nth("ds_", 12)}`, seeds: ["full"] },
  {
    name: "datasets-formats",
    path: "/datasets",
    seeds: ["full"],
    act: (page) => page.getByText("Accepted formats").click(),
  },
  { name: "dataset-failed", path: `/datasets/${nth("ds_", 3)}`, seeds: ["full", "failing"] },
  { name: "dataset-columns", path: `/datasets/${nth("ds_", 5)}`, seeds: ["full"] },
  { name: "dataset-row", path: `/datasets/${nth("ds_", 1)}/rows/3`, seeds: ["full"] },
  { name: "dataset-seen", path: `/datasets/${nth("ds_", 0)}/seen`, seeds: ["full"] },
  {
    name: "datasets-import",
    path: "/datasets",
    seeds: ["full"],
    act: (page) => page.click("[popovertarget=sheet-import]"),
  },
  { name: "dataset-checking", path: `/datasets/${nth("ds_", 6)}`, seeds: ["full"] },
  { name: "models", path: "/models" },
  { name: "model-base", path: "/models/smollm2-135m-instruct", seeds: ["full"] },
  { name: "model", path: "/models", seeds: ["full"], act: (page) => openFirst(page, "/models/ft") },
  {
    name: "model-push",
    path: "/models",
    seeds: ["full"],
    act: async (page) => {
      await openFirst(page, "/models/ft");
      await page.click("[popovertarget=sheet-push]");
    },
  },
  { name: "sweeps", path: "/sweeps" },
  { name: "sweep", path: `/sweeps/${nth("sweep_", 0)}`, seeds: ["full"] },
  { name: "sweep-new", path: `/sweeps/new?job=${job(1).slice(6)}`, seeds: ["full"] },
  { name: "evaluations", path: "/evaluations" },
  { name: "evaluation", path: `/evaluations/${nth("eval_", 1)}`, seeds: ["full", "failing"] },
  { name: "evaluation-new", path: "/evaluations/new", seeds: ["full"] },
  { name: "budgets", path: "/usage/budgets", seeds: ["full", "empty"] },
  { name: "queue", path: "/queue", seeds: ["empty", "full"] },
  { name: "queue-place", path: `/queue/ftjob-2010${"seed0".repeat(3)}`, seeds: ["full"] },
  { name: "job-waiting", path: `/jobs/ftjob-2011${"seed0".repeat(3)}`, seeds: ["full"] },
  { name: "hosts", path: "/hosts" },
  { name: "host", path: "/hosts/docker.atlas", seeds: ["full", "failing"] },
  { name: "hosts-add", path: "/hosts/add", seeds: ["full"] },
  {
    name: "service-account",
    path: "/team",
    seeds: ["full"],
    act: (page) => openFirst(page, "/team/service-accounts/"),
  },
  {
    name: "settings-scopes",
    path: "/settings",
    seeds: ["full"],
    act: async (page) => {
      await page.getByRole("button", { name: "Create key" }).first().click();
    },
  },
  { name: "settings", path: "/settings", seeds: ["full"] },
  { name: "api-key", path: "/settings", seeds: ["full"], act: (page) => openFirst(page, "/settings/keys/") },
  { name: "confirm", path: "/confirm?next=/admin/users", seeds: ["full"] },
  {
    name: "settings-two-factor",
    path: "/settings/two-factor",
    seeds: ["full"],
    act: async (page) => {
      await page.fill("#start-password", PASSWORD);
      await page.getByRole("button", { name: "Continue" }).click();
      await page.waitForSelector(".qr");
    },
  },
  {
    name: "settings-two-factor-start",
    path: "/settings/two-factor",
    seeds: ["full"],
    as: "member",
  },
  { name: "settings-two-factor-on", path: "/settings/two-factor", seeds: ["full"], as: "guarded" },
  {
    name: "settings-two-factor-codes",
    path: "/settings/two-factor",
    seeds: ["full"],
    as: "guarded",
    act: async (page) => {
      await page.fill("#codes-password", PASSWORD);
      await page.getByRole("button", { name: "Create new recovery codes" }).click();
      await page.waitForSelector(".notice.ok");
    },
  },
  {
    name: "settings-passkey",
    path: "/settings/two-factor/passkeys/add",
    seeds: ["full"],
    as: "member",
  },
  {
    name: "settings-key",
    path: "/settings",
    seeds: ["full"],
    as: "member",
    act: async (page) => {
      await page.click("[popovertarget=sheet-key]");
      await page.fill("[name=name]", "CI pipeline");
      await page.getByRole("button", { name: "Create key" }).last().click();
      await page.waitForSelector(".notice.ok");
    },
  },
  { name: "settings-empty", path: "/settings", seeds: ["empty"] },
  { name: "settings-email", path: "/settings/email", seeds: ["full"] },
  { name: "notices", path: "/notices", seeds: ["empty", "full"] },
  { name: "notifications", path: "/settings/notifications", seeds: ["empty", "full"] },
  { name: "webhooks", path: "/settings/webhooks", seeds: ["empty", "full"] },
  {
    name: "webhook-new",
    path: "/settings/webhooks",
    seeds: ["full"],
    act: (page) => page.click("[popovertarget=sheet-webhook]"),
  },
  {
    name: "webhook",
    path: "/settings/webhooks",
    seeds: ["full"],
    act: (page) => openFirst(page, "/settings/webhooks/"),
  },
  { name: "data", path: "/settings/data", seeds: ["empty"] },
  { name: "team-data", path: "/team/data", seeds: ["full"], act: (page) => makeArchive(page) },
  { name: "admin-users", path: "/admin/users", seeds: ["full"] },
  { name: "announcements", path: "/announcements", seeds: ["full", "empty"] },
  { name: "admin-announcements", path: "/admin/announcements", seeds: ["full", "empty"] },
  { name: "admin-beta", path: "/admin/beta", seeds: ["full"] },
  { name: "admin-maintenance", path: "/admin/maintenance", seeds: ["full", "empty"] },
  {
    name: "admin-announcement-preview",
    path: "/admin/announcements/new",
    seeds: ["full"],
    act: async (page) => {
      await page.fill("[name=title]", "New base models this week");
      await page.fill("[name=text]", "Read [what is new](https://example.com/news). **Old ones stay.**");
      await page.getByRole("button", { name: "Preview" }).click();
      await page.waitForSelector("section[aria-label=Preview]");
    },
  },
  { name: "admin-forwarding", path: "/admin/audit/forwarding", seeds: ["empty", "full"] },
  { name: "status", path: "/status", seeds: ["empty", "full"] },
  { name: "admin-incidents", path: "/admin/incidents", seeds: ["empty", "full"] },
  { name: "admin-terms", path: "/admin/terms", seeds: ["full"] },
  { name: "admin-terms-edit", path: "/admin/terms/terms", seeds: ["full"] },
  { name: "payment-method", path: "/billing/payment", seeds: ["empty", "failing"] },
  { name: "admin-payments", path: "/admin/payments", seeds: ["empty", "failing"] },
  { name: "admin-mail", path: "/admin/mail", seeds: ["empty", "full"] },
  { name: "admin-deliveries", path: "/admin/deliveries", seeds: ["empty", "full"] },
  {
    name: "admin-invite",
    path: "/admin/users",
    seeds: ["full"],
    act: (page) => page.click("[popovertarget=sheet-invite]"),
  },
  { name: "admin-user", path: "/admin/users", seeds: ["full"], act: (page) => openFirst(page, "/admin/users/") },
  ...HELD_SHOTS,
  ...BILLING_SHOTS,
  ...TEAM_SHOTS,
  ...MODERATION_SHOTS,
  ...RARE_SHOTS,
  { name: "admin-teams", path: "/admin/teams", seeds: ["full"] },
  { name: "admin-team", path: "/admin/teams/org_searchseed", seeds: ["full"] },
  { name: "admin-providers", path: "/admin/providers", seeds: ["full"] },
  { name: "admin-settings", path: "/admin/settings", seeds: ["full"] },
  { name: "admin-backups", path: "/admin/backups", seeds: ["full"] },
  { name: "admin-audit", path: "/admin/audit?verify=yes", seeds: ["full"] },
  { name: "admin-status", path: "/admin/status?checks=yes", seeds: ["full"] },
  { name: "models-base", path: "/models?tab=base", seeds: ["full"] },
  { name: "deployments", path: "/deployments" },
  { name: "deployment", path: `/deployments/${nth("dep_", 0)}`, seeds: ["full", "failing"] },
  { name: "playground", path: "/playground", seeds: ["full"] },
  { name: "playground-save", path: "/playground", seeds: ["full"], act: saveRow },
  { name: "shortcuts", path: "/jobs", seeds: ["full"], act: (page) => page.keyboard.press("?") },
  { name: "menu", path: "/jobs", seeds: ["full"], act: openMenu },
  { name: "docs", path: "/docs", seeds: ["empty"] },
  { name: "docs-none", path: "/docs?q=nothing-like-this", seeds: ["empty"] },
  {
    name: "docs-route",
    path: "/docs",
    seeds: ["empty"],
    act: (page) => page.locator("#api summary").first().click(),
  },
  { name: "search", path: "/search?q=support", seeds: ["full"] },
  { name: "search-none", path: "/search?q=nothing-like-this", seeds: ["full"] },
  { name: "error-not-found", path: "/jobs/none", seeds: ["empty"] },
  { name: "error-forbidden", path: "/admin/users", seeds: ["full"], as: "member" },
  { name: "error-too-large", path: "/settings", seeds: ["full"], act: (page) => sendTooMuch(page) },
  { name: "error-fault", path: "/fault", seeds: ["empty"] },
  { name: "error-ended", path: "/login?next=%2Fjobs&ended=1", open: true, seeds: ["empty"] },
];

/** The first step of signing in with an account that has a second factor. */
async function makeArchive(page: Page): Promise<void> {
  await page.click("form[action='/team/data'] button[type=submit]");
  await page.waitForSelector("#archive-list a[download]");
}

async function signInTwice(page: Page): Promise<void> {
  await page.fill("[name=email]", "katherine@example.test");
  await page.fill("[name=password]", PASSWORD);
  await page.click("button[type=submit]");
  await page.waitForURL(/login\/code/);
}

/** Sends a form of more bytes than the server reads. */
async function sendTooMuch(page: Page): Promise<void> {
  await page.evaluate(() => {
    const field = document.createElement("textarea");
    field.name = "more";
    field.value = "x".repeat(3_000_000);
    const form = document.querySelector<HTMLFormElement>("form[action='/settings/password']");
    form?.append(field);
    form?.submit();
  });
  await page.waitForSelector(".error-page");
}

/** Sends a message, fakes the response, and opens the form that saves it. */
async function saveRow(page: Page): Promise<void> {
  await page.route("**/v1/chat/completions", (route) => {
    const chunk = {
      choices: [{ delta: { content: '{"intent":"card_declined","department":"cards","urgency":"high"}' } }],
    };
    const body = `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`;
    return route.fulfill({ contentType: "text/event-stream", body });
  });
  await page.fill("[name=prompt]", "My card was declined at the supermarket again, what is going on?");
  await page.keyboard.press("Control+Enter");
  await page.getByRole("button", { name: "Save to dataset" }).first().click();
}

/** Asks to cancel a job; small screens fold the button away. */
async function cancelJob(page: Page): Promise<void> {
  const more = page.locator("[data-more-actions]");
  if (await more.isVisible()) await more.click();
  await page.click("[popovertarget=confirm-cancel]");
}

/** Opens the menu "More" of small screens. */
async function openMenu(page: Page): Promise<void> {
  const more = page.locator("[popovertarget=more-menu]");
  if (await more.isVisible()) await more.click();
}

async function failLogin(page: Page): Promise<void> {
  await page.fill("[name=email]", EMAIL);
  await page.fill("[name=password]", "wrong-password-here");
  await page.click("button[type=submit]");
  await page.waitForSelector("[role=alert]");
}

async function openPalette(page: Page): Promise<void> {
  await page.keyboard.press("Control+k");
  await page.waitForSelector("#search-results a");
}

/** Follows the first link that begins with `prefix`. */
async function openFirst(page: Page, prefix: string): Promise<void> {
  await page.locator(`main a[href^="${prefix}"]`).first().click();
  await page.waitForURL((url) => url.pathname.startsWith(prefix));
}
