/**
 * Takes screenshots of every page, at five widths, light and dark, and runs axe on each; fails on violations and script
 * errors. Without `--real` the installation is seeded; with it a real server makes a real tiny run.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gt } from "drizzle-orm";
import { chromium, type Page } from "playwright-core";
import { createUser } from "../src/accounts/auth/service.ts";
import { createApp, createCtx } from "../src/app.ts";
import { loadConfig } from "../src/config.ts";
import { systemActor } from "../src/ctx.ts";
import { host } from "../src/db/schema/hosts.ts";
import { type SeedName, seed } from "../test/support/seed.ts";
import { startReal } from "./screenshots-real.ts";
import { type Shot, SIZES, type Site, type SizeName, shoot } from "./screenshots-shoot.ts";
import { findChromium, needs } from "./setup.ts";

const PASSWORD = "correct-horse-41-battery";
const EMAIL = "ada@example.test";

const job = (n: number) => `/jobs/ftjob-${String(n).padStart(4, "0")}seed0seed0seed0`;
const nth = (prefix: string, n: number) => `${prefix}${String(n).padStart(4, "0")}seed0seed0seed0`;
const SHOTS: Shot[] = [
  { name: "login", path: "/login", open: true, seeds: ["empty"] },
  { name: "login-error", path: "/login?next=/jobs", open: true, seeds: ["empty"], act: (page) => failLogin(page) },
  { name: "forgot", path: "/forgot", open: true, seeds: ["empty"] },
  { name: "setup-closed", path: "/setup", open: true, seeds: ["empty"] },
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
  { name: "sweeps", path: "/sweeps" },
  { name: "sweep", path: `/sweeps/${nth("sweep_", 0)}`, seeds: ["full"] },
  { name: "sweep-new", path: `/sweeps/new?job=${job(1).slice(6)}`, seeds: ["full"] },
  { name: "evaluations", path: "/evaluations" },
  { name: "evaluation", path: `/evaluations/${nth("eval_", 1)}`, seeds: ["full", "failing"] },
  { name: "evaluation-new", path: "/evaluations/new", seeds: ["full"] },
  { name: "usage", path: "/usage" },
  { name: "queue", path: "/queue", seeds: ["empty", "full"] },
  { name: "queue-place", path: `/queue/ftjob-2010${"seed0".repeat(3)}`, seeds: ["full"] },
  { name: "job-waiting", path: `/jobs/ftjob-2011${"seed0".repeat(3)}`, seeds: ["full"] },
  { name: "hosts", path: "/hosts" },
  { name: "host", path: "/hosts/docker.atlas", seeds: ["full", "failing"] },
  { name: "hosts-add", path: "/hosts/add", seeds: ["full"] },
  { name: "settings", path: "/settings", seeds: ["full"] },
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
  { name: "settings-email", path: "/settings/email", seeds: ["full"] },
  { name: "notices", path: "/notices", seeds: ["full"] },
  { name: "notifications", path: "/settings/notifications", seeds: ["full"] },
  { name: "webhooks", path: "/settings/webhooks", seeds: ["full"] },
  {
    name: "webhook",
    path: "/settings/webhooks",
    seeds: ["full"],
    act: (page) => openFirst(page, "/settings/webhooks/"),
  },
  { name: "admin-users", path: "/admin/users", seeds: ["full"] },
  { name: "admin-mail", path: "/admin/mail", seeds: ["full"] },
  { name: "admin-deliveries", path: "/admin/deliveries", seeds: ["full"] },
  {
    name: "admin-invite",
    path: "/admin/users",
    seeds: ["full"],
    act: (page) => page.click("[popovertarget=sheet-invite]"),
  },
  { name: "admin-user", path: "/admin/users", seeds: ["full"], act: (page) => openFirst(page, "/admin/users/") },
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
  { name: "search", path: "/search?q=support", seeds: ["full"] },
  { name: "error-not-found", path: "/jobs/none", seeds: ["empty"] },
  { name: "error-fault", path: "/fault", seeds: ["empty"] },
  { name: "error-ended", path: "/login?next=%2Fjobs&ended=1", open: true, seeds: ["empty"] },
];

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

/** A server on a fresh seeded data directory. */
async function start(name: SeedName) {
  const dir = mkdtempSync(join(tmpdir(), "ftl-shots-"));
  // The machines are only rows; they have no engines.
  const hosts = "atlas=unix:///nonexistent/atlas.sock mig=unix:///nonexistent/mig.sock";
  const providers =
    name === "empty" ? {} : { providers: ["process", "docker"], provider_settings: { docker: { hosts } } };
  const config = loadConfig({ data_dir: dir, listen: "127.0.0.1:0", log_level: "error", ...providers }, {});
  const ctx = await createCtx(config);
  const user = await createUser(ctx, systemActor(), {
    email: EMAIL,
    password: PASSWORD,
    role: "admin",
    orgName: "Alpha",
  });
  const actor = { ...systemActor(user.org), userId: user.id };
  await seed(ctx, actor, name);
  // Nothing polls the seeded machines, so that their state does not change during the run.
  const hear = setInterval(() => {
    const now = Date.now();
    void ctx.write((tx) =>
      tx
        .update(host)
        .set({ seenAt: now })
        .where(gt(host.seenAt, now - 60_000)),
    );
  }, 10_000);
  const built = createApp(ctx).get("/fault", () => {
    throw new Error("a fault to look at");
  });
  const app = built.listen({ port: 0, hostname: "127.0.0.1" });
  return {
    base: `http://127.0.0.1:${app.server?.port}`,
    async stop() {
      clearInterval(hear);
      await app.stop(true);
      await ctx.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string" },
    only: { type: "string" },
    size: { type: "string" },
    scheme: { type: "string" },
    real: { type: "boolean" },
    "no-axe": { type: "boolean" },
    help: { type: "boolean" },
  },
});
if (values.help || !positionals[0]) {
  console.log(
    `bun scripts/screenshots.ts OUT [--seed empty|full|failing | --real] [--only NAME-PREFIX,…] [--size ${Object.keys(SIZES).join("|")}] [--scheme light|dark] [--no-axe]`,
  );
  process.exit(values.help ? 0 : 2);
}
needs("Chromium");
const out = resolve(positionals[0]);
mkdirSync(out, { recursive: true });
const browser = await chromium.launch({
  executablePath: findChromium() ?? "",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const troubles: string[] = [];
const wanted = (shot: Shot) => !values.only || values.only.split(",").some((only) => shot.name.startsWith(only));

/** Takes the shots in every size and color scheme that was asked for. */
async function takeAll(name: string, site: Site, shots: Shot[]): Promise<void> {
  for (const size of Object.keys(SIZES) as SizeName[]) {
    if (values.size && !values.size.split(",").includes(size)) continue;
    for (const dark of [false, true]) {
      if (values.scheme && values.scheme !== (dark ? "dark" : "light")) continue;
      troubles.push(...(await shoot({ browser, site, out, name, shots, dark, size, axe: !values["no-axe"] })));
    }
  }
}

if (values.real) {
  needs("trainer environment", "tiny model");
  const { site, shots, stop } = await startReal();
  await takeAll("real", site, shots.filter(wanted)).finally(stop);
} else
  for (const seedName of ["empty", "full", "failing"] as const) {
    if (values.seed && values.seed !== seedName) continue;
    const shots = SHOTS.filter((shot) => (shot.seeds ?? [seedName]).includes(seedName) && wanted(shot));
    if (!shots.length) continue;
    const server = await start(seedName);
    await takeAll(seedName, { base: server.base, email: EMAIL, password: PASSWORD }, shots);
    await server.stop();
  }
await browser.close();
for (const trouble of [...new Set(troubles)]) console.log(trouble);
console.log(
  troubles.length
    ? `${new Set(troubles).size} troubles`
    : "no violations, no script errors, nothing wider than the screen",
);
process.exit(troubles.length ? 1 : 0);
