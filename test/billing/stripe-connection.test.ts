/** The client of Stripe: keys, modes, errors without keys, the test of an administrator, and the page. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import Stripe from "stripe";
import { askStripe, STRIPE_API_VERSION, stripeClient } from "../../src/billing/stripe/client.ts";
import { HANDLED_EVENTS } from "../../src/billing/stripe/connection.ts";
import { loadConfig } from "../../src/config.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { localstripeMissing } from "../support/localstripe.ts";
import { SIGNING_SECRET, startStripe, TEST_KEY, type TestStripe } from "../support/stripe-fake.ts";
import { objectOf } from "../support/stripe-objects.ts";

const PUBLIC = "https://lab.example.test";
const HOST = { host: "lab.example.test" };
let stripe: TestStripe;
let lab: TestApp;

beforeAll(async () => {
  if (localstripeMissing) return;
  stripe = await startStripe();
  lab = await createTestApp({ config: { stripe_test_url: stripe.url, public_url: PUBLIC } });
});
afterAll(async () => {
  await lab?.close();
  await stripe?.stop();
});

const secret = (name: string, value: string) =>
  lab.request("POST", "/v1/admin/settings/secrets", { body: { name, value } });
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "none",
    (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
  );

describe.skipIf(localstripeMissing !== null)("Stripe", () => {
  test("without a key nothing is asked, and the answer says who enters it", async () => {
    const before = await lab.json("GET", "/v1/admin/stripe");
    expect(before).toMatchObject({ mode: null, webhook_secret_set: false, webhook_url: `${PUBLIC}/v1/stripe/webhook` });
    expect((await lab.request("POST", "/v1/admin/stripe/test")).status).toBe(409);
    expect(stripe.seen).toEqual([]);
  });

  test("what is not a key of Stripe is refused, and members see neither keys nor page", async () => {
    for (const wrong of ["pk_test_1234567890", "sk_prod_1234567890", "sk_test_", "whsec_1234567890"])
      expect((await secret("stripe_secret_key", wrong)).status).toBe(400);
    expect((await secret("stripe_webhook_secret", TEST_KEY)).status).toBe(400);
    for (const path of ["/v1/admin/stripe", "/admin/payments"])
      expect((await lab.request("GET", path, { as: "member" })).status).toBe(403);
  });

  test("a key is stored encrypted and used at once, and the test reports account, mode and webhook", async () => {
    await secret("stripe_secret_key", TEST_KEY);
    const tried = () => lab.json("POST", "/v1/admin/stripe/test");
    expect(await tried()).toMatchObject({
      account: "acct_test",
      mode: "test",
      charges_enabled: true,
      webhook: "missing",
    });
    const endpoint = objectOf("webhook_endpoint", {
      id: "we_1",
      url: `${PUBLIC}/v1/stripe/webhook`,
      status: "enabled",
      api_version: "2025-01-01.acacia",
      enabled_events: ["invoice.paid"],
    });
    stripe.endpoints.push(endpoint);
    expect(await tried()).toMatchObject({ webhook: "other_version" });
    endpoint.api_version = STRIPE_API_VERSION;
    expect(await tried()).toMatchObject({
      webhook: "missing_events",
      missing_events: HANDLED_EVENTS.filter((type) => type !== "invoice.paid"),
    });
    endpoint.enabled_events = ["*"];
    expect(await tried()).toMatchObject({ webhook: "no_secret", missing_events: [] });
    await secret("stripe_webhook_secret", SIGNING_SECRET);
    expect(await tried()).toMatchObject({ webhook: "ok" });
    endpoint.status = "disabled";
    expect(await tried()).toMatchObject({ webhook: "disabled" });
    expect(STRIPE_API_VERSION).toBe(Stripe.API_VERSION);
  });

  test("the page says unmistakably that it is test mode, and shows no key", async () => {
    const page = await (await lab.request("GET", "/admin/payments")).text();
    expect(page).toContain("Test mode");
    expect(page).toContain("no card is charged");
    for (const hidden of [TEST_KEY, SIGNING_SECRET]) expect(page).not.toContain(hidden);
  });

  test("errors of Stripe carry their code and never a key", async () => {
    expect(await codeOf(askStripe(lab.ctx, (client) => client.invoices.retrieve("in_none")))).toBe(
      "stripe_resource_missing: Stripe refused: No such invoice: 'in_none'",
    );
    const other = "sk_test_51AnotherKeyOfSomebody";
    await secret("stripe_secret_key", other);
    const refused = await codeOf(askStripe(lab.ctx, (client) => client.accounts.retrieveCurrent()));
    expect(refused).toBe("stripe_key_refused: Stripe refused the key. Enter a valid one.");
    const down = await createTestApp({ config: { stripe_test_url: "http://127.0.0.1:9", stripe_secret_key: other } });
    const unreachable = await codeOf(
      askStripe(down.ctx, (client) => client.accounts.retrieveCurrent({}, { maxNetworkRetries: 0 })),
    );
    expect(unreachable).toStartWith("stripe_unreachable: ");
    expect(refused + unreachable).not.toContain("51Another");
    await down.close();
    await secret("stripe_secret_key", TEST_KEY);
  });

  test("a live key is never sent to a server of tests, which is refused beyond this machine", async () => {
    const live = await createTestApp({
      config: { stripe_test_url: stripe.url, stripe_secret_key: "sk_live_1234567890" },
    });
    expect(() => stripeClient(live.ctx)).toThrow("A live key is sent only to Stripe");
    await live.close();
    const given = { listen: "127.0.0.1:1" };
    for (const url of [
      "https://api.example.test",
      "http://10.0.0.1:80",
      "http://127.0.0.1.example.test:80",
      "http://127.0.0.1:1/x",
    ])
      expect(() => loadConfig({ ...given, stripe_test_url: url }, {})).toThrow("stripe_test_url");
    expect(() => loadConfig({ listen: "0.0.0.0:1", stripe_test_url: stripe.url }, {})).toThrow("stripe_test_url");
    expect(loadConfig({ ...given, stripe_test_url: stripe.url }, {}).stripe_test_url).toBe(stripe.url);
  });

  test("the form of the page stores a key, and says what is wrong with another", async () => {
    const send = (value: string) =>
      lab.request("POST", "/admin/payments", {
        form: { stripe_secret_key: value },
        headers: { ...HOST, origin: PUBLIC, "sec-fetch-site": "same-origin" },
      });
    expect((await send(TEST_KEY)).status).toBe(303);
    const wrong = await send("secret");
    expect(wrong.status).toBe(400);
    expect(await wrong.text()).toContain("Enter a secret or restricted key of Stripe");
  });
});
