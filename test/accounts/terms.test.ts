/** Terms of the installation over HTTP, with a moved clock: publishing, acceptance, notices, records, new accounts. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { createInvitation } from "../../src/accounts/organizations/invitations.ts";
import { noticeDelivery } from "../../src/db/schema/notices.ts";
import { termsAcceptance } from "../../src/db/schema/terms.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { mailIn } from "../../src/notices/delivery/outbox.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";

const DAY = 86_400_000;
let app: TestApp;
let clock: FakeClock;
let cookies: Record<string, string> = {};

interface Version {
  id: string;
  version: number;
}
interface Pending {
  due: Version[];
  upcoming: Version[];
  adult_needed: boolean;
}

const open = async (config: Parameters<typeof createTestApp>[0] = {}) => {
  clock = fakeClock(Date.now());
  cookies = {};
  app = await createTestApp({ ...config, ctx: { clock } });
};
const inDays = (days: number) => Math.floor((clock.now() + days * DAY) / 1000);
const publish = (text: string, more: object = {}, document = "terms") =>
  app.request("POST", "/v1/admin/terms", {
    headers: { cookie: cookies.admin ?? "" },
    body: { document, text, ...more },
  });
const published = async (...given: Parameters<typeof publish>) => {
  const answer = await publish(...given);
  expect(await answer.clone().json()).toMatchObject({ object: "terms_version" });
  return (await answer.json()) as Version;
};
const errorOf = async (answer: Response) =>
  ((await answer.json()) as { error: { code: string; message: string; param: string | null } }).error;
const me = (as: "admin" | "member") => app.request("GET", "/v1/jobs", { as });

async function signIn(as: "admin" | "member"): Promise<string> {
  const answer = await app.request("POST", "/login", {
    as: "anonymous",
    form: { email: app.emails[as], password: PASSWORD },
  });
  cookies[as] = answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  return cookies[as];
}
const withCookie = (as: "admin" | "member", method: string, path: string, more: object = {}) =>
  app.request(method, path, {
    ...more,
    headers: { cookie: cookies[as] ?? "", accept: "text/html", "user-agent": "Test browser" },
  });
const pending = async (as: "admin" | "member") =>
  (await (await withCookie(as, "GET", "/v1/terms/acceptance")).json()) as Pending;
const accept = (as: "admin" | "member", versions: Version[], adult = true) =>
  withCookie(as, "POST", "/v1/terms/acceptance", { body: { versions: versions.map(({ id }) => id), adult } });

describe("terms", () => {
  beforeEach(async () => {
    await open();
    await signIn("admin");
    await signIn("member");
  });
  afterEach(() => app.close());

  test("nothing of them shows as long as no document is published", async () => {
    for (const path of ["/terms", "/privacy", "/acceptable-use"])
      expect((await app.request("GET", path, { as: "anonymous", headers: { accept: "text/html" } })).status).toBe(404);
    expect(await app.json<{ data: unknown[] }>("GET", "/v1/terms", { as: "anonymous" })).toMatchObject({ data: [] });
    expect(await pending("member")).toMatchObject({ due: [], upcoming: [], adult_needed: false });
    const home = await (await withCookie("member", "GET", "/")).text();
    expect(home).not.toContain("Terms of service");
    expect((await withCookie("member", "GET", "/accept-terms")).headers.get("location")).toBe("/");
  });

  test("a published document is public, and its Markdown cannot run anything", async () => {
    await published(
      "# Rules\n\n<script>alert(1)</script>\n\n[bad](javascript:alert(1)) [good](https://example.com) ![x](https://x.y/z.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |",
      {},
      "acceptable-use",
    );
    const answer = await app.request("GET", "/acceptable-use", { as: "anonymous", headers: { accept: "text/html" } });
    const page = await answer.text();
    expect(answer.status).toBe(200);
    expect(page).toContain('<h2 id="rules">Rules</h2>');
    expect(page).toContain("&lt;script>alert(1)");
    expect(page).toContain('<a href="https://example.com" rel="noopener noreferrer nofollow">good</a>');
    expect(page).toContain("<td>1</td>");
    expect(page).not.toContain("javascript:alert");
    expect(page).not.toContain("z.png");
    expect(page).toContain('<a href="/acceptable-use">Acceptable use policy</a>');
  });

  test("a material change takes effect 30 days ahead or later; a typo may be corrected at once", async () => {
    await published("First.");
    await accept("admin", (await pending("admin")).due);
    const soon = await publish("Second.", { effective_at: inDays(29) });
    expect(soon.status).toBe(400);
    const error = await errorOf(soon);
    const earliest = new Date(Math.ceil((clock.now() + 30 * DAY) / DAY) * DAY).toISOString().slice(0, 10);
    expect(error).toMatchObject({ code: "terms_too_soon", param: "effective_at" });
    expect(error.message).toContain(earliest);
    expect((await errorOf(await publish("Second.", { material: true }))).code).toBe("terms_too_soon");
    expect(await published("First!", { material: false })).toMatchObject({ version: 2, material: false });
    expect((await me("admin")).status).toBe(200);
    expect(await published("Second.", { effective_at: inDays(31) })).toMatchObject({ version: 3 });
    expect((await errorOf(await publish("First?", { material: false }))).code).toBe("terms_before_scheduled");
    expect((await errorOf(await publish("Second.", { effective_at: inDays(40) }))).code).toBe("terms_unchanged");
    expect((await errorOf(await publish("Old.", { effective_at: inDays(-2), material: false }, "privacy"))).code).toBe(
      "terms_in_the_past",
    );
  });

  test("after the date pages lead to the acceptance and keys are refused with its address, until it is recorded", async () => {
    await published("First.");
    expect((await withCookie("member", "GET", "/jobs?tab=all")).headers.get("location")).toBe(
      "/accept-terms?next=%2Fjobs%3Ftab%3Dall",
    );
    const refused = await me("member");
    expect(refused.status).toBe(403);
    const error = await errorOf(refused);
    expect(error.code).toBe("terms_not_accepted");
    expect(error.message).toMatch(/https?:\/\/\S+\/accept-terms$/);
    const { due, adult_needed } = await pending("member");
    expect([due.length, adult_needed]).toEqual([1, true]);
    const byKey = await app.request("POST", "/v1/terms/acceptance", { as: "member", body: { versions: [due[0]?.id] } });
    expect((await errorOf(byKey)).code).toBe("person_needed");
    expect((await errorOf(await accept("member", due, false))).code).toBe("adult_needed");
    expect((await errorOf(await accept("member", [{ id: "terms_x", version: 1 }]))).code).toBe("terms_changed");
    const form = { next: "/jobs", versions: due.map(({ id }) => id).join(","), accept_terms: "yes", adult: "yes" };
    const accepted = await withCookie("member", "POST", "/accept-terms", { form });
    expect([accepted.status, accepted.headers.get("location")]).toEqual([303, "/jobs"]);
    expect((await me("member")).status).toBe(200);
    expect((await me("admin")).status).toBe(403);

    clock.advance(1000);
    await accept("admin", due);
    await published("Second.", { effective_at: inDays(31), summary: "Section 2 is new." });
    expect((await me("member")).status).toBe(200);
    const home = await (await withCookie("member", "GET", "/jobs")).text();
    expect(home).toContain("Terms of service: a new version takes effect on");
    expect(home).toContain("Section 2 is new.");
    clock.advance(1000);
    await accept("admin", (await pending("admin")).upcoming, false);
    expect(await (await withCookie("admin", "GET", "/jobs")).text()).not.toContain("a new version takes effect");

    clock.advance(31 * DAY + 1000);
    expect((await errorOf(await me("member"))).code).toBe("terms_not_accepted");
    expect((await me("admin")).status).toBe(200);
    await signIn("member");
    expect((await pending("member")).adult_needed).toBe(false);
    await accept("member", (await pending("member")).due, false);
    expect((await me("member")).status).toBe(200);

    const rows = await app.json<{ data: Record<string, unknown>[] }>("GET", "/v1/admin/terms/acceptances");
    expect(rows.data.map(({ email, version, how }) => [email, version, how])).toEqual([
      [app.emails.member, 2, "api"],
      [app.emails.admin, 2, "api"],
      [app.emails.admin, 1, "api"],
      [app.emails.member, 1, "page"],
    ]);
    expect(rows.data.at(-1)).toMatchObject({ address: "local", user_agent: "Test browser", adult: true });
    const csv = await (await app.request("GET", "/v1/admin/terms/acceptances/export")).text();
    expect(csv.trim().split("\r\n")).toHaveLength(5);
    expect(csv).toContain(`,${app.emails.member},terms,1,page,true,local,Test browser,`);
    const jsonl = await (await app.request("GET", "/v1/admin/terms/acceptances/export?format=jsonl")).text();
    expect(
      jsonl
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual(rows.data);
    const audit = await app.json<{ data: unknown[] }>("GET", "/v1/admin/audit?action=terms.accept");
    expect(audit.data).toHaveLength(4);
  });

  test("everybody gets a notice and a mail of a material change, and another one when it is withdrawn", async () => {
    await published("First.");
    await accept("admin", (await pending("admin")).due);
    await app.json("POST", "/v1/admin/mail", {
      headers: { cookie: cookies.admin ?? "" },
      body: { host: "127.0.0.1", port: 9, security: "none", from: "lab@example.test" },
    });
    const stop = startNotices(app.ctx);
    const titles = async () => {
      const { data } = await app.json<{ data: { title: string }[] }>("GET", "/v1/notices");
      return data.map(({ title }) => title);
    };
    await until("the notice", async () => (await titles()).length === 1);
    await published("First!", { material: false });
    clock.advance(1000);
    const next = await published("Second.", { effective_at: inDays(31), summary: "Section 2 is new." });
    await until("the notice", async () => (await titles()).length === 2);
    expect((await titles())[0]).toMatch(/^Terms of service: a new version takes effect on \d{4}-\d\d-\d\d$/);
    const mails = (await app.ctx.db.select().from(noticeDelivery)).map((row) => mailIn(app.ctx, row));
    expect(mails.map(({ to }) => to).sort()).toEqual(
      [...Object.values(app.emails), ...Object.values(app.emails)].sort(),
    );
    expect(mails.at(-1)?.mail.text).toContain("Section 2 is new.");
    clock.advance(1000);
    const withdrawn = await withCookie("admin", "DELETE", `/v1/admin/terms/${next.id}`);
    expect(withdrawn.status).toBe(200);
    await until("the notice", async () => (await titles()).length === 3);
    expect((await titles())[0]).toBe("Terms of service: version 3 was withdrawn");
    clock.advance(32 * DAY);
    expect((await me("admin")).status).toBe(200);
    stop();
  });

  test("the editor shows a preview and the difference to the version before", async () => {
    await published("One.\n\nTwo.");
    await accept("admin", (await pending("admin")).due);
    const form = { text: "One.\r\n\r\n**Three.**", summary: "", date: "2000-01-01" };
    const preview = await (await withCookie("admin", "POST", "/admin/terms/terms/preview", { form })).text();
    expect(preview).toContain("<strong>Three.</strong>");
    expect(preview).toContain("<del>- Two.\n</del>");
    expect(preview).toContain("<ins>+ **Three.**\n</ins>");
    const refused = await withCookie("admin", "POST", "/admin/terms/terms", { form });
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain("A version cannot take effect in the past");
    const saved = await withCookie("admin", "POST", "/admin/terms/terms", {
      form: { ...form, date: "", minor: "yes" },
    });
    expect(saved.status).toBe(303);
    expect(await (await withCookie("admin", "GET", "/admin/terms")).text()).toContain("Replaced");
    expect(await (await withCookie("admin", "GET", "/terms?version=1")).text()).toContain("Two.");
  });
});

test("an invitation and a sign-up ask for acceptance and for the age, and record both", async () => {
  await open({ config: { open_sign_up: true } });
  await signIn("admin");
  await published("First.");
  const { token } = await createInvitation(app.ctx, app.actor("admin"), { email: "new@example.test", role: "member" });
  const page = await (await app.request("GET", `/invite?token=${token}`, { as: "anonymous" })).text();
  expect(page).toContain('name="accept_terms"');
  expect(page).toContain("18 or older");
  const send = async (form: Record<string, string>) => {
    const answer = await app.request("POST", "/invite", {
      as: "anonymous",
      form: { name: "N", password: "a phrase nobody guesses", ...form },
    });
    return [answer.status, await answer.text()] as const;
  };
  const accounts: Record<string, string>[] = [{ token }, { email: "walk-in@example.test" }];
  for (const account of accounts) {
    expect(await send(account)).toEqual([400, expect.stringContaining("Accept the documents to continue")]);
    expect(await send({ ...account, accept_terms: "yes" })).toEqual([400, expect.stringContaining("18 or older")]);
    expect((await send({ ...account, accept_terms: "yes", adult: "yes" }))[0]).toBe(303);
  }
  const rows = await app.ctx.db.select().from(termsAcceptance);
  expect(rows.map(({ email, how, adult, number }) => [email, how, adult, number])).toEqual([
    ["new@example.test", "invitation", true, 1],
    ["walk-in@example.test", "sign_up", true, 1],
  ]);
  await app.close();
});

test("with the setting, continued use after the date is recorded as acceptance", async () => {
  await open({ config: { terms_acceptance: "continued_use" } });
  await signIn("admin");
  await published("First.", { effective_at: inDays(3) });
  expect((await me("member")).status).toBe(200);
  expect(await app.ctx.db.select().from(termsAcceptance)).toEqual([]);
  clock.advance(4 * DAY);
  for (let n = 0; n < 2; n++) expect((await me("member")).status).toBe(200);
  expect(await app.ctx.db.select().from(termsAcceptance)).toMatchObject([
    { email: app.emails.member, how: "continued_use", number: 1, adult: false },
  ]);
  await app.close();
});

describe.skipIf(!hasBrowser)("in a browser", () => {
  let browser: Awaited<ReturnType<typeof openBrowser>>;
  beforeAll(async () => {
    await open();
    browser = await openBrowser(app);
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
  });

  test("a person publishes, sees the banner, and accepts after the date before going on", async () => {
    const { page, base, troubles } = browser;
    await page.goto(`${base}/admin/terms/terms`);
    await page.fill("[name=text]", "# Terms\n\nBe kind to the GPUs.");
    await page.fill("[name=date]", new Date(clock.now() + 2 * DAY).toISOString().slice(0, 10));
    await page.getByRole("button", { name: "Preview" }).click();
    await page.getByText("Be kind to the GPUs.").first().waitFor();
    await page.getByRole("button", { name: "Publish" }).click();
    await page.waitForURL(`${base}/admin/terms`);
    await page.goto(`${base}/jobs`);
    await page.getByText("a new version takes effect on").waitFor();
    clock.advance(3 * DAY);
    await page.goto(`${base}/login`);
    if (await page.locator("[name=password]").count()) {
      await page.fill("[name=email]", app.emails.admin);
      await page.fill("[name=password]", PASSWORD);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
    }
    await page.goto(`${base}/datasets`);
    await page.waitForURL(`${base}/accept-terms?next=%2Fdatasets`);
    await page.check("[name=accept_terms]");
    await page.check("[name=adult]");
    await page.getByRole("button", { name: "Accept and continue" }).click();
    await page.waitForURL(`${base}/datasets`);
    await page.getByRole("link", { name: "Terms of service" }).click();
    await page.getByRole("heading", { name: "Terms of service", level: 1 }).waitFor();
    expect(troubles).toEqual([]);
  });
});
