/** Signing in with a real browser: an administrator adds a provider, and somebody signs in there and out again. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser, type TestBrowser } from "../support/browser.ts";
import { type IdentityProvider, startIdentityProvider } from "../support/identity-provider.ts";
import { type SamlIdentityProvider, startSamlProvider } from "../support/saml-provider.ts";

/** A folder for screenshots, to look at by hand. */
const SHOTS = process.env.FTL_SHOTS;

describe.skipIf(!hasBrowser)("in a browser", () => {
  let t: TestApp;
  let idp: IdentityProvider;
  let saml: SamlIdentityProvider;
  let b: TestBrowser;
  let callback = "";
  beforeAll(async () => {
    idp = await startIdentityProvider(() => callback);
    saml = await startSamlProvider(Date.now);
    t = await createTestApp({ config: { sso_hosts: [idp.host, saml.host] } });
    b = await openBrowser(t);
    b.page.setDefaultTimeout(30_000);
  }, 60_000);
  afterAll(async () => {
    await b?.close();
    await t?.close();
    await idp?.close();
    await saml?.close();
  });
  const shoot = async (name: string) => {
    if (SHOTS) await b.page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
  };

  test("a provider is added and tested in the page, and somebody signs in there by address, and out again", async () => {
    const { page, base } = b;
    await page.goto(`${base}/admin/sso`);
    await shoot("list-empty");
    await page.getByRole("link", { name: "Add provider" }).click();
    await page.fill("[name=name]", "Acme ID");
    await page.fill("[name=issuer]", idp.issuer);
    await page.fill("[name=client_id]", idp.clientId);
    await page.fill("[name=client_secret]", idp.clientSecret);
    await page.fill("[name=domains]", "acme");
    await page.fill("[name=group_0]", "lab");
    await page.selectOption("[name=organization_0]", { label: "Beta" });
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Each domain must be a domain such as example.com").waitFor();
    await shoot("form-refused");
    await page.fill("[name=domains]", "acme.test\nacme.example");
    await page.fill("[name=client_secret]", idp.clientSecret);
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(/\/admin\/sso\/sso_/);
    callback = `${page.url()}/callback`.replace("/admin", "");
    expect(await page.locator("main").textContent()).toContain(callback);
    await page.getByRole("button", { name: "Test" }).click();
    await page.getByText("The provider answers").waitFor();
    await shoot("provider");
    await page.goto(`${base}/admin/sso`);
    await shoot("list");

    idp.people.set("rosa", { email: "rosa@acme.test", email_verified: true, name: "Rosa", groups: ["lab"] });
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("link", { name: "Continue with Acme ID" }).waitFor();
    await shoot("login");
    await page.fill("[name=email]", "rosa@acme.test");
    await page.getByRole("button", { name: "Continue with e-mail" }).click();
    expect(b.troubles.filter((each) => !each.includes("422"))).toEqual([]);
    await page.waitForURL(`${idp.issuer}/interaction/**`);
    await page.fill("[name=login]", "rosa");
    await page.fill("[name=password]", "anything");
    await page.getByRole("button", { name: "Sign-in" }).click();
    await page.waitForURL(`${base}/`);
    // The provider's page has no icon, and its style is from elsewhere.
    b.troubles.length = 0;
    expect(await page.locator(".rail").textContent()).toContain("rosa@acme.test");
    await page.goto(`${base}/settings`);
    expect(await page.locator("#password").textContent()).toContain("has no password");
    await shoot("settings");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.getByText("You are signed out here").waitFor();
    await shoot("signed-out");
    await page.getByRole("link", { name: "Sign in with a password" }).click();
    await page.fill("[name=email]", t.emails.admin);
    await page.fill("[name=password]", PASSWORD);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.waitForURL(`${base}/`);
    expect(b.troubles).toEqual([]);
  }, 120_000);

  test("a SAML provider of another site is added and tested in the page, and somebody signs in there", async () => {
    const { page, base } = b;
    await page.goto(`${base}/admin/sso/new`);
    await page.getByRole("link", { name: "SAML 2.0" }).click();
    await page.fill("[name=name]", "Acme SAML");
    await page.fill("[name=domains]", "saml.test");
    await page.selectOption("[name=default_organization]", { label: "Beta" });
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("Give the address of the provider's metadata").waitFor();
    await shoot("saml-refused");
    await page.fill("[name=metadata_url]", saml.metadataUrl);
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(/\/admin\/sso\/sso_/);
    const at = page.url().replace("/admin", "");
    const shown = await page.locator("main").textContent();
    expect([shown?.includes(`${at}/acs`), shown?.includes(`${at}/metadata`)]).toEqual([true, true]);
    await page.getByRole("button", { name: "Test" }).click();
    await page.getByText(`Its entity ID is ${saml.entityId}`).waitFor();
    await shoot("saml-provider");
    await page.getByRole("button", { name: "Create a token" }).click();
    await page.getByText("Copy it now.").waitFor();
    const token = /scim-[0-9a-z]{32}/.exec((await page.locator("main").textContent()) ?? "")?.[0];
    await shoot("scim");
    const asked = await fetch(`${base}/scim/v2/Users`, { headers: { authorization: `Bearer ${token}` } });
    expect([asked.status, await asked.json()]).toMatchObject([200, { totalResults: 0 }]);
    await page.goto(page.url().replace(/\/scim$/, ""));
    expect(await page.locator("main").textContent()).not.toContain(token ?? "-");
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "dark" });
    await shoot("scim-narrow");
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.emulateMedia({ colorScheme: "light" });
    saml.trust(await (await fetch(`${at}/metadata`)).text());

    saml.people.set("sami", { attributes: { mail: "sami@saml.test" } });
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("link", { name: "Continue with Acme SAML" }).click();
    // The provider is at localhost, the application at 127.0.0.1: its form is a post from another site.
    await page.waitForURL(`http://${saml.host}/sign-in**`);
    await page.fill("[name=person]", "sami");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    await page.waitForURL(`${base}/`);
    b.troubles.length = 0;
    expect(await page.locator(".rail").textContent()).toContain("sami@saml.test");
  }, 120_000);
});
