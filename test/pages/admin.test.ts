/**
 * Administration and shared parts in a real browser: users are managed in one walk, and every dialog can be read
 * wherever it is written.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Page } from "playwright-core";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, signIn, type TestBrowser } from "../support/browser.ts";
import { seed } from "../support/seed.ts";
import { idOf } from "../support/seed-rows.ts";

describe.skipIf(!hasBrowser)("administration", () => {
  let t: TestApp;
  let b: TestBrowser;
  beforeAll(async () => {
    t = await createTestApp();
    await seed(t.ctx, t.actor("admin"), "full");
    b = await openBrowser(t);
  });
  afterAll(async () => {
    await b?.close();
    await t?.close();
  });

  /** A page of its own browser profile: another person. */
  const stranger = async (): Promise<Page> => {
    const context = await b.context.browser()?.newContext();
    const page = await (context as NonNullable<typeof context>).newPage();
    page.setDefaultTimeout(40_000);
    return page;
  };
  const oneTimeLink = async () => (await b.page.locator(".notice.ok [data-copy]").getAttribute("data-copy")) ?? "";
  const press = (name: string) => b.page.getByRole("button", { name, exact: true }).last().click();

  test("invites a user, changes the role, resets the password, ends sessions and disables the account", async () => {
    const { page, base } = b;
    await page.goto(`${base}/admin`);
    await page.waitForURL(`${base}/admin/users`);
    await press("Invite user");
    await page.fill("#sheet-invite [name=email]", "grace@example.test");
    await press("Create invitation link");
    const invitation = await oneTimeLink();
    expect(await page.getByRole("table", { name: "Pending invitations" }).textContent()).toContain(
      "grace@example.test",
    );

    const grace = await stranger();
    await grace.goto(invitation);
    await grace.fill("[name=name]", "Grace");
    await grace.fill("[name=password]", PASSWORD);
    await grace.getByRole("button", { name: "Create account and sign in" }).click();
    await grace.waitForURL(`${base}/`);
    expect((await grace.goto(`${base}/admin/users`))?.status()).toBe(403);

    await page.goto(`${base}/admin/users?q=grace`);
    await page.getByRole("link", { name: "Grace" }).click();
    await page.waitForURL(/\/admin\/users\/user-/);
    const user = page.url();
    await page.selectOption("#user-role", "admin");
    await press("Change role");
    await page.getByText("Saved.").waitFor();
    // A change of the role ends the sessions.
    await signIn(grace, base, "grace@example.test", PASSWORD);
    expect((await grace.goto(`${base}/admin/users`))?.status()).toBe(200);

    await page.goto(user);
    await press("Create reset link");
    const reset = await oneTimeLink();
    await grace.goto(reset);
    await grace.fill("[name=password]", "a-phrase-of-grace");
    await grace.getByRole("button", { name: "Set password and sign in" }).click();
    await grace.waitForURL(`${base}/`);

    // The user's own list of sessions: this browser and another one.
    const second = await stranger();
    await signIn(second, base, "grace@example.test", "a-phrase-of-grace");
    await grace.goto(`${base}/settings`);
    const sessions = grace.getByRole("table", { name: "Browser sessions" });
    expect(await sessions.locator("tbody tr").count()).toBe(2);
    expect(await sessions.textContent()).toContain("Chrome on Linux127.0.0.1");
    await grace.getByRole("button", { name: "Sign out all others" }).click();
    await grace.getByText("1 session ended.").waitFor();
    await second.goto(`${base}/jobs`);
    expect(second.url()).toContain("/login");

    await page.goto(user);
    await press("Sign out everywhere");
    await page.locator("#confirm-sessions button[type=submit]").click();
    await page.getByText("1 session ended.").waitFor();
    await grace.goto(`${base}/jobs`);
    expect(grace.url()).toContain("/login");

    await press("Suspend…");
    await page.fill("#sheet-suspend [name=reason]", "Unpaid invoice");
    await page.locator("#sheet-suspend button[type=submit]").click();
    await page.getByText("The account is suspended.").waitFor();
    await page.getByText("Reason: Unpaid invoice").waitFor();
    await grace.fill("[name=email]", "grace@example.test");
    await grace.fill("[name=password]", "a-phrase-of-grace");
    await grace.getByRole("button", { name: "Sign in", exact: true }).click();
    await grace.getByRole("alert").getByText("Reason: Unpaid invoice").waitFor();
    await press("Lift the suspension");
    await page.getByText("The suspension is lifted.").waitFor();
    await grace.goto(`${base}/login`);
    await grace.fill("[name=email]", "grace@example.test");
    await grace.fill("[name=password]", "a-phrase-of-grace");
    await grace.getByRole("button", { name: "Sign in", exact: true }).click();
    await grace.waitForURL(`${base}/`);

    await page.goto(`${base}/admin/audit?actor=grace%40example.test`);
    const audit = (await page.getByRole("table", { name: "Audit log" }).textContent()) ?? "";
    for (const action of ["invitation.accept", "session.create", "session.revoke", "user.password", "session.fail"])
      expect(audit).toContain(action);
    expect(b.troubles.filter((one) => !/status of 403/.test(one))).toEqual([]);
    await grace.context().close();
    await second.context().close();
  });

  test("the bell counts new notices, the tab shows the progress of a run, and a webhook is created and tested", async () => {
    const { page, base } = b;
    const before = b.troubles.length;
    await page.goto(`${base}/jobs/${idOf("ftjob-", 0)}`);
    expect(await page.title()).toMatch(/^\d+% · .+ · Fine-Tune Lab$/);
    const unread = page.locator(".rail [data-unread]");
    await unread.waitFor();
    const { unread: count } = await t.json<{ unread: number }>("GET", "/v1/notices/unread");
    expect(await unread.textContent()).toBe(String(count));
    expect(count).toBeGreaterThanOrEqual(2);
    await page.goto(`${base}/notices`);
    expect(await page.locator(".notice-item.new").count()).toBe(count);
    await press("Mark all as read");
    await page.getByText("marked as read").waitFor();
    expect(await page.locator(".notice-item.new").count()).toBe(0);
    expect(await unread.isVisible()).toBe(false);

    await page.goto(`${base}/settings/notifications`);
    await page.getByLabel("My datasets, by e-mail").check();
    await press("Save");
    await page.getByText("Saved.").waitFor();
    expect(await t.json("GET", "/v1/notices/preferences")).toMatchObject({ datasets: { page: true, mail: true } });

    await page.goto(`${base}/settings/webhooks`);
    await press("New webhook");
    await page.fill("#sheet-webhook [name=name]", "CI");
    await page.fill("#sheet-webhook [name=url]", "https://10.0.0.1/hook");
    await press("Create webhook");
    await page.locator("#sheet-webhook").getByText("10.0.0.1 is not called by webhooks").waitFor();
    await page.fill("#sheet-webhook [name=url]", "https://hook.invalid/");
    await press("Create webhook");
    expect(await oneTimeLink()).toMatch(/^whsec_/);
    await press("Send a test");
    await page.getByText("The test failed").waitFor();
    expect(b.troubles.slice(before).filter((one) => !/status of 403/.test(one))).toEqual([]);
  });

  test("every dialog is inside the window and reads like text, at 390 and 1440 px", async () => {
    const { page, base } = b;
    await t.json("POST", "/v1/admin/users", { body: { email: "pending@example.test" } });
    const bad: string[] = [];
    let seen = 0;
    for (const width of [390, 1440]) {
      await page.setViewportSize({ width, height: 844 });
      for (const path of [
        "/settings",
        "/admin/users",
        `/admin/users/${t.users.member}`,
        "/admin/teams",
        `/admin/teams/${t.orgs.a}`,
        `/jobs/${idOf("ftjob-", 0)}`,
        `/jobs/${idOf("ftjob-", 1)}`,
        `/datasets/${idOf("ds_", 0)}`,
        `/deployments/${idOf("dep_", 0)}`,
        `/sweeps/${idOf("sweep_", 0)}`,
        "/hosts/docker.atlas",
        `/models/ft:smollm2-135m-instruct:alpha:m0001${"seed0".repeat(3)}`,
      ]) {
        await page.goto(base + path);
        const found = await page.evaluate(() =>
          [...document.querySelectorAll<HTMLElement>(".confirm")].map((box) => {
            box.showPopover();
            const { left, top, right, bottom } = box.getBoundingClientRect();
            const style = getComputedStyle(box);
            const cut = [...box.querySelectorAll<HTMLElement>("*")].filter(
              (each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0 && each.tagName !== "INPUT",
            );
            const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
            const text = [style.textAlign, style.whiteSpace, /mono/i.test(style.fontFamily) ? "mono" : "sans"].join(
              " ",
            );
            box.hidePopover();
            return { id: box.id, inside, text, cut: cut.length };
          }),
        );
        const mono = await page.evaluate(
          () =>
            [...document.querySelectorAll("main .button")].filter((each) =>
              /mono/i.test(getComputedStyle(each).fontFamily),
            ).length,
        );
        if (mono > 0) bad.push(`${width} ${path}: ${mono} buttons in the font of numbers`);
        seen += found.length;
        for (const { id, inside, text, cut } of found)
          if (!inside || cut > 0 || text !== "start normal sans")
            bad.push(`${width} ${path} ${id}: ${inside} ${text} ${cut}`);
      }
    }
    expect(bad).toEqual([]);
    expect(seen).toBeGreaterThanOrEqual(36);
  });

  test("Escape leaves the search field, the palette runs commands, and More is marked on a phone", async () => {
    const { page, base } = b;
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(`${base}/admin/users`);
    await page.keyboard.press("/");
    await page.keyboard.type("admin");
    await page.waitForURL(/q=admin/);
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("d");
    await page.waitForURL(`${base}/datasets`);

    const find = async (words: string) => {
      await page.keyboard.press("Control+k");
      await page.fill("#palette-input", words);
      await page.waitForResponse((answer) => new URL(answer.url()).searchParams.get("q") === words);
    };
    await find("nothing like this");
    await page.keyboard.press("Escape");
    await page.locator("#palette:not([open])").waitFor({ state: "attached" });
    await find("dark");
    await page.locator("#search-results button", { hasText: "Theme: dark" }).waitFor();
    await page.keyboard.press("Enter");
    await page.locator("html[data-theme=dark]").waitFor();
    expect(await page.getByRole("button", { name: "Dark", exact: true }).getAttribute("aria-pressed")).toBe("true");
    await page.reload();
    expect(await page.locator("html").getAttribute("data-theme")).toBe("dark");
    await page.getByRole("button", { name: "System", exact: true }).click();
    await page.locator("html:not([data-theme])").waitFor();
    for (const [words, path] of [
      ["audit", "/admin/audit"],
      ["api key", "/settings#keys"],
    ] as const) {
      await find(words);
      await page.locator(`#search-results a[href="${path}"]`).waitFor();
      await page.keyboard.press("Enter");
      await page.waitForURL(base + path);
    }

    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${base}/usage`);
    const more = page.locator("[popovertarget=more-menu]");
    expect(await more.getAttribute("class")).toBe("current");
    await page.goto(`${base}/jobs`);
    expect(await more.getAttribute("class")).toBeNull();
    // The notice of a lost connection lies over the page, which does not move.
    const top = () => page.locator("main").evaluate((main) => main.getBoundingClientRect().top);
    const before = await top();
    await page.locator("#connection").evaluate((strip) => {
      strip.removeAttribute("hidden");
      strip.textContent = "Connection lost.";
    });
    expect(await top()).toBe(before);
  });

  test("secondary actions wait behind a button on a phone", async () => {
    const { page, base } = b;
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${base}/admin/audit`);
    const csv = page.getByRole("link", { name: "CSV" });
    expect(await csv.isVisible()).toBe(false);
    await press("More actions");
    expect(await csv.isVisible()).toBe(true);
    await page.goto(`${base}/admin/users`);
    // One action alone needs no button before it.
    expect(await page.getByRole("button", { name: "Invite user" }).isVisible()).toBe(true);
    expect(await page.getByRole("button", { name: "More actions" }).isVisible()).toBe(false);
  });

  test("a session that ended in another tab says so, and typed text is there again after signing in", async () => {
    const { page, base } = b;
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(`${base}/jobs/new`);
    await page.fill("#job-form [name=name]", "typed before the end");
    const other = await b.context.newPage();
    await other.goto(`${base}/jobs`);
    await other.getByRole("button", { name: "Sign out" }).first().click();
    await other.waitForURL(/login/);
    expect(await other.getByText("Your session has ended").isVisible()).toBe(false);
    await other.close();
    // The page notices by itself.
    await page.waitForURL(/login/);
    await page.getByText("Your session has ended").waitFor();
    await page.fill("[name=email]", t.emails.admin);
    await page.fill("[name=password]", PASSWORD);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.waitForURL(`${base}/jobs/new`);
    await page.getByText("is here again").waitFor();
    expect(await page.inputValue("#job-form [name=name]")).toBe("typed before the end");
  });
});
