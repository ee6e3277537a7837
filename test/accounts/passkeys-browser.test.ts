/** Passkeys with a real browser and its virtual authenticator: add, sign in alone, second factor, proof, remove. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { CDPSession } from "playwright-core";
import { type App, createApp } from "../../src/app.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { hasBrowser, launch, signIn, troublesOf } from "../support/browser.ts";
import { fakeClock } from "../support/clock.ts";

/** A folder for screenshots, to look at by hand. */
const SHOTS = process.env.FTL_SHOTS;

describe.skipIf(!hasBrowser)("in a browser", () => {
  const clock = fakeClock(Date.now());
  let t: TestApp;
  let app: App;
  let browser: Awaited<ReturnType<typeof launch>>;
  beforeAll(async () => {
    t = await createTestApp({ ctx: { clock } });
    app = createApp(t.ctx).listen({ port: 0, hostname: "127.0.0.1" }) as App;
    browser = await launch();
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await app?.stop(true);
    await t?.close();
  });

  test("a passkey is added, signs in without a password, is the second factor after one, proves, and is removed", async () => {
    // Browsers bind no passkey to an IP address.
    const base = `http://localhost:${app.server?.port}`;
    const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    page.setDefaultTimeout(30_000);
    const troubles = troublesOf(page, /403 \(Forbidden\)/);
    const shoot = async (name: string) => {
      if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
    };
    const devices: CDPSession = await page.context().newCDPSession(page);
    await devices.send("WebAuthn.enable");
    await devices.send("WebAuthn.addVirtualAuthenticator", {
      options: {
        protocol: "ctap2",
        transport: "internal",
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    // This authenticator is touched at once: a sign-in page that offers it by itself would take its button away.
    await page.addInitScript(() => {
      PublicKeyCredential.isConditionalMediationAvailable = async () => false;
    });
    const signOut = async () => {
      await page.getByRole("button", { name: "Sign out", exact: true }).click();
      await page.waitForURL(/\/login/);
      await page.getByRole("button", { name: "Sign in with a passkey" }).waitFor();
    };

    await signIn(page, base, t.emails.member, PASSWORD);
    await page.goto(`${base}/settings/two-factor`);
    await shoot("two-factor-off");
    await page.getByRole("link", { name: "Add passkey" }).click();
    await page.fill("[name=name]", "Laptop");
    await shoot("add");
    await page.getByRole("button", { name: "Create passkey" }).click();
    await page.getByText("Your recovery codes").waitFor();
    await shoot("recovery-codes");
    expect(await page.locator("#passkeys").textContent()).toContain("Laptop");
    // The same authenticator does not take a second one.
    await page.getByRole("link", { name: "Add passkey" }).click();
    await page.getByRole("button", { name: "Create passkey" }).click();
    await page.getByText("has a passkey of your account already").waitFor();

    await signOut();
    await shoot("login");
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.waitForURL(`${base}/`);
    expect(await page.locator(".rail").textContent()).toContain(t.emails.member);

    await signOut();
    await page.fill("[name=email]", t.emails.member);
    await page.fill("[name=password]", PASSWORD);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.waitForURL(/\/login\/code/);
    await shoot("second-step");
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await page.waitForURL(`${base}/`);

    clock.advance(16 * 60_000);
    await page.goto(`${base}/settings/two-factor`);
    await page.getByRole("button", { name: "Remove", exact: true }).click();
    await page.getByRole("button", { name: "Remove the passkey" }).click();
    await page.getByRole("heading", { name: "Confirm that it is you" }).waitFor();
    await shoot("proof");
    await page.getByRole("button", { name: "Use a passkey" }).click();
    await page.getByText("No passkeys yet").waitFor();
    expect(troubles).toEqual([]);
  }, 120_000);

  test("the field of the address offers passkeys where the browser can", async () => {
    const base = `http://localhost:${app.server?.port}`;
    const page = await (await browser.newContext()).newPage();
    await page.addInitScript(() => {
      PublicKeyCredential.isConditionalMediationAvailable = async () => true;
      navigator.credentials.get = async (asked) => {
        document.documentElement.dataset.asked = JSON.stringify([asked?.mediation, asked?.publicKey?.userVerification]);
        return new Promise(() => undefined);
      };
    });
    await page.goto(`${base}/login`);
    await page.waitForSelector("html[data-asked]", { state: "attached" });
    expect(await page.getAttribute("html", "data-asked")).toBe('["conditional","required"]');
    expect(await page.getAttribute("[name=email]", "autocomplete")).toBe("username webauthn");
    // By its IP address the page offers none.
    await page.goto(`http://127.0.0.1:${app.server?.port}/login`);
    expect(await page.locator("[data-passkey]").count()).toBe(0);
  }, 60_000);
});
