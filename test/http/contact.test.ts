/** The contact and abuse addresses: which values the settings take, and every place that shows them. */
import { afterEach, expect, test } from "bun:test";
import { publishVersion } from "../../src/accounts/terms/versions.ts";
import { loadConfig } from "../../src/config.ts";
import { systemActor } from "../../src/ctx.ts";
import type { errorBody } from "../../src/errors.ts";
import { mailOf } from "../../src/notices/mail/template.ts";
import { createTestApp, type TestApp } from "../support/app.ts";

const HELP = "help@example.test";
const ABUSE = "https://example.test/abuse?from=lab";
let app: TestApp;
afterEach(() => app?.close());

const page = async (path: string) =>
  (await app.request("GET", path, { as: "anonymous", headers: { accept: "text/html" } })).text();
const publish = () =>
  publishVersion(app.ctx, systemActor(), { document: "terms", text: "Be kind.", summary: "", material: true });
const letter = { title: "Done", body: "", path: "/jobs", action: "Open", reason: "You asked for it." };

test.each([
  ["help@example.test", true],
  ["https://example.test/help", true],
  ["http://intranet/help", true],
  ["help", false],
  ["javascript:alert(1)", false],
  ["mailto:help@example.test", false],
  ['https://example.test/"><script>', false],
  ["https://example.test/two words", false],
])("the setting takes %s: %p", (address, taken) => {
  const read = () => loadConfig({ data_dir: "/tmp/none", abuse_address: address }, {});
  if (taken) expect(read().abuse_address).toBe(address);
  else expect(read).toThrow('Setting "abuse_address": must be a mail address');
});

test("pages, mails, errors and the API reference show the addresses", async () => {
  app = await createTestApp({ config: { contact_address: HELP, abuse_address: ABUSE } });
  await publish();
  const login = await page("/login");
  expect(login).toContain(`Questions: <a class="wrap-any" href="mailto:${HELP}">${HELP}</a>`);
  expect(login).toContain(`<a href="mailto:${HELP}">Contact</a>`);
  expect(login).toContain(`<a href="${ABUSE}">Report abuse</a>`);
  const terms = await page("/terms");
  expect(terms).toContain(`To report abuse: <a class="wrap-any" href="${ABUSE}">`);
  expect(await page("/privacy")).toContain(`Need help? Contact <a class="wrap-any" href="mailto:${HELP}">`);
  const mail = mailOf(app.ctx, letter);
  expect(mail.text).toEndWith(`\nQuestions: ${HELP}`);
  expect(mail.html).toContain(`<br>Questions: ${HELP}</p>`);
  const document = await app.json<{ info: Record<string, unknown> }>("GET", "/openapi.json");
  expect(document.info.contact).toEqual({ email: HELP });
});

test("a failure of the server names the contact", async () => {
  const broken = () => {
    throw new Error("broken");
  };
  app = await createTestApp({ config: { contact_address: HELP }, ctx: { compute: { get: broken, list: broken } } });
  const failed = await app.request("GET", "/v1/providers");
  expect(failed.status).toBe(500);
  const { error } = (await failed.json()) as ReturnType<typeof errorBody>;
  expect(error.message).toEndWith(`Contact ${HELP} with that id if it happens again.`);
});

test("nothing of it shows without the settings", async () => {
  app = await createTestApp();
  await publish();
  for (const path of ["/login", "/terms", "/privacy"]) {
    const text = await page(path);
    expect(text).not.toContain("Contact");
    expect(text).not.toContain("Questions:");
    expect(text).not.toContain("abuse:");
  }
  expect(mailOf(app.ctx, letter).text).not.toContain("Questions:");
  expect((await app.json<{ info: object }>("GET", "/openapi.json")).info).not.toHaveProperty("contact");
});
