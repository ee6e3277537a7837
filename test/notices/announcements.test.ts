/** Announcements over HTTP with a moved clock: who sees them when, hiding, mails, changes and the pages. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { announcement } from "../../src/db/schema/announcements.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { noticeDelivery, noticeEvent } from "../../src/db/schema/notices.ts";
import { notEnded } from "../../src/notices/announcements/current.ts";
import type { AdminAnnouncementView, AnnouncementView } from "../../src/notices/announcements/model.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { mailIn } from "../../src/notices/delivery/outbox.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { browserOf, type CookieBrowser } from "../support/cookies.ts";
import { until } from "../support/live.ts";

const HOUR = 3_600_000;
const ALL: As[] = ["admin", "member", "other", "otherAdmin"];
let app: TestApp;
let clock: FakeClock;
let member: CookieBrowser;
let stop = () => {};

beforeAll(async () => {
  clock = fakeClock(Date.now());
  // Nothing listens at the address: deliveries wait in the outbox, where the test reads them.
  app = await createTestApp({ config: { mail_url: "smtp://127.0.0.1:1?tls=none" }, ctx: { clock } });
  stop = startNotices(app.ctx);
  // So that each role has accounts of its own: `admin` and `otherAdmin` own their organizations.
  await app.json("POST", `/v1/organization/members/${app.users.member}`, { body: { role: "admin" } });
  member = browserOf(app);
  await member.signIn("member");
});
afterAll(async () => {
  stop();
  await app.close();
});
beforeEach(async () => {
  await app.ctx.write(async (tx) => {
    for (const table of [announcement, noticeDelivery, noticeEvent]) await tx.delete(table);
  });
  notEnded.forget(app.ctx);
});

const inHours = (hours: number) => Math.floor((clock.now() + hours * HOUR) / 1000);
const announce = (body: object) =>
  app.json<AdminAnnouncementView & { id: string }>("POST", "/v1/admin/announcements", { body });
const seenBy = async (as: As) =>
  (await app.json<{ data: AnnouncementView[] }>("GET", "/v1/announcements", { as })).data.map(({ title }) => title);
const page = async (path = "/settings") =>
  (await member.send("GET", path, { headers: { accept: "text/html" } })).text();
const refusal = async (method: string, path: string, given: object = {}) => {
  const answer = await app.request(method, path, given);
  const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
  return [answer.status, error.code, error.param];
};
/** Addresses of the mails in the outbox. */
const mailed = async () => {
  const rows = await app.ctx.db.select().from(noticeDelivery);
  return rows.map((row) => mailIn(app.ctx, row)).sort((a, b) => (a.to < b.to ? -1 : 1));
};

describe("who sees an announcement", () => {
  const audiences: [string, (t: TestApp) => object, As[]][] = [
    ["everybody", () => ({}), ALL],
    ["one organization", ({ orgs }) => ({ organizations: [orgs.a] }), ["admin", "member"]],
    ["several organizations", ({ orgs }) => ({ organizations: [orgs.a, orgs.b] }), ALL],
    ["owners of teams", () => ({ roles: ["owner"] }), ["admin", "otherAdmin"]],
    ["administrators of teams", () => ({ roles: ["admin"] }), ["member"]],
    ["administrators of the installation", () => ({ roles: ["installation"] }), ["admin", "otherAdmin"]],
    ["a role in one organization", ({ orgs }) => ({ organizations: [orgs.b], roles: ["owner"] }), ["otherAdmin"]],
  ];
  test.each(audiences)("%s", async (_, audience, readers) => {
    await announce({ title: "News", mail: true, ...audience(app) });
    for (const as of ALL) expect([as, await seenBy(as)]).toEqual([as, readers.includes(as) ? ["News"] : []]);
    await until("the outbox", async () => (await mailed()).length >= readers.length);
    expect((await mailed()).map(({ to }) => to)).toEqual(readers.map((as) => app.emails[as]).sort());
  });

  test("it shows from its start to its end, in the page and the API", async () => {
    await announce({
      title: "Later",
      text: "**bold** <b>x</b>",
      starts_at: inHours(1),
      ends_at: inHours(3),
      mail: true,
    });
    expect(await seenBy("member")).toEqual([]);
    expect(await mailed()).toEqual([]);
    clock.advance(HOUR);
    expect(await seenBy("member")).toEqual(["Later"]);
    const shown = await page();
    expect(shown).toContain("<strong>bold</strong> &lt;b>x&lt;/b>");
    await until("the outbox", async () => (await mailed()).length === ALL.length);
    clock.advance(2 * HOUR);
    expect(await seenBy("member")).toEqual([]);
    expect(await page()).not.toContain("Later");
    expect((await mailed()).length).toBe(ALL.length);
  });
});

describe("hiding", () => {
  test("a user hides information and warnings for itself, and sees them again when they say something else", async () => {
    const { id } = await announce({ title: "Slow uploads", severity: "warning" });
    expect(await page()).toContain(`action="/announcements/${id}/dismiss"`);
    const answer = await member.send("POST", `/announcements/${id}/dismiss`, { form: {} });
    expect(answer.status).toBe(303);
    expect(await page()).not.toContain("Slow uploads");
    expect(await page("/announcements")).toContain("you dismissed its banner");
    const [own] = (await app.json<{ data: AnnouncementView[] }>("GET", "/v1/announcements", { as: "member" })).data;
    expect(own).toMatchObject({ dismissed: true, dismissible: true });
    const [others] = (await app.json<{ data: AnnouncementView[] }>("GET", "/v1/announcements", { as: "other" })).data;
    expect(others).toMatchObject({ dismissed: false });
    const list = await app.json<{ data: AdminAnnouncementView[] }>("GET", "/v1/admin/announcements");
    expect(list.data[0]?.dismissals).toBe(1);
    await app.json("POST", `/v1/admin/announcements/${id}`, { body: { ends_at: inHours(1) } });
    expect(await page()).not.toContain("Slow uploads");
    await app.json("POST", `/v1/admin/announcements/${id}`, { body: { text: "Solved tomorrow." } });
    expect(await page()).toContain("Slow uploads");
  });

  test("a critical one stays", async () => {
    const { id } = await announce({ title: "Change your keys", severity: "critical" });
    expect(await page()).toContain("Change your keys");
    expect(await page()).not.toContain(`/announcements/${id}/dismiss`);
    expect(await refusal("POST", `/v1/announcements/${id}/dismiss`, { as: "member" })).toEqual([
      409,
      "announcement_stays",
      null,
    ]);
  });

  test("one of another organization is not there", async () => {
    const { id } = await announce({ title: "Beta only", organizations: [app.orgs.b] });
    const asked = await refusal("POST", `/v1/announcements/${id}/dismiss`, { as: "member" });
    expect(asked).toEqual([404, "announcement_not_found", "id"]);
  });
});

describe("mail", () => {
  test("users choose whether they get it, except a critical one", async () => {
    const choose = (mail: boolean) =>
      app.json("POST", "/v1/notices/preferences", { as: "member", body: { announcements: { mail } } });
    await choose(false);
    await announce({ title: "News", mail: true });
    await until("the outbox", async () => (await mailed()).length === 3);
    expect((await mailed()).map(({ to }) => to)).not.toContain(app.emails.member);
    await announce({ title: "Urgent", text: "Read [this](https://example.com).", severity: "critical", mail: true });
    await until("the outbox", async () => (await mailed()).length === 7);
    const urgent = (await mailed()).filter(({ to }) => to === app.emails.member);
    expect(urgent.map(({ mail }) => mail.subject)).toEqual(["[Fine-Tune Lab] Urgent"]);
    expect(urgent[0]?.mail.text).toContain("/announcements");
    await choose(true);
  });

  test("a change does not send it again, and one that ended before its start is never sent", async () => {
    const { id } = await announce({ title: "News", mail: true });
    await until("the outbox", async () => (await mailed()).length === 4);
    const { id: later } = await announce({ title: "Never", starts_at: inHours(1), mail: true });
    await app.json("POST", `/v1/admin/announcements/${later}/end`);
    const changed = await app.json<AdminAnnouncementView>("POST", `/v1/admin/announcements/${id}`, {
      body: { title: "Other news", mail: false },
    });
    expect(changed).toMatchObject({ title: "Other news", mail: true, state: "current" });
    clock.advance(2 * HOUR);
    await announce({ title: "Last", organizations: [app.orgs.b], roles: ["owner"], mail: true });
    await until("the outbox", async () => (await mailed()).length >= 5);
    expect((await mailed()).filter(({ mail }) => !mail.subject.endsWith("] News")).length).toBe(1);
  });
});

describe("administrators", () => {
  test("end and delete an announcement; the audit log names what it said", async () => {
    const { id } = await announce({ title: "Gone soon" });
    expect(await app.json("POST", `/v1/admin/announcements/${id}/end`)).toMatchObject({ state: "ended" });
    expect(await refusal("POST", `/v1/admin/announcements/${id}/end`)).toEqual([409, "announcement_ended", null]);
    expect(await seenBy("member")).toEqual([]);
    expect(await app.json("DELETE", `/v1/admin/announcements/${id}`)).toMatchObject({ id, deleted: true });
    expect(await refusal("DELETE", `/v1/admin/announcements/${id}`)).toEqual([404, "announcement_not_found", "id"]);
    const entries = (await app.ctx.db.select().from(auditLog)).filter(({ target }) => target === id);
    expect(entries.map(({ action }) => action)).toEqual([
      "announcement.create",
      "announcement.end",
      "announcement.delete",
    ]);
    expect(JSON.stringify(entries.at(-1)?.detail)).toContain("Gone soon");
  });

  test.each([
    [{ title: " " }, [400, "invalid_value", "title"]],
    [{ title: "a", text: "x".repeat(1001) }, [400, "invalid_value", "text"]],
    [{ title: "a", severity: "fatal" }, [400, "invalid_type", "severity"]],
    [{ title: "a", roles: ["king"] }, [400, "invalid_type", "roles.0"]],
    [{ title: "a", organizations: ["org-none"] }, [400, "organization_not_found", "organizations"]],
    [{ title: "a", ends_at: 1 }, [400, "announcement_ends_first", "ends_at"]],
    [{ title: "a", starts_at: 9_000_000_000, ends_at: 8_000_000_000 }, [400, "announcement_ends_first", "ends_at"]],
    [{ title: "a", color: "red" }, [400, "unknown_parameter", "color"]],
  ])("%j is refused", async (body, expected) => {
    expect(await refusal("POST", "/v1/admin/announcements", { body })).toEqual(expected);
  });

  test("the pages write, preview, change, end and delete one", async () => {
    const admin = browserOf(app);
    await admin.signIn("admin");
    const text = async (path: string) => (await admin.send("GET", path, { headers: { accept: "text/html" } })).text();
    expect(await text("/admin/announcements")).toContain("No announcements");
    expect(await page("/announcements")).toContain("No announcements");
    const form = {
      title: "Upgrade",
      text: "*Soon* <script>alert(1)</script>",
      severity: "warning",
      ends_at: "2099-01-01T10:00",
    };
    const preview = await admin.send("POST", "/admin/announcements/new/preview", { form });
    const shown = await preview.text();
    expect(shown).toContain("<em>Soon</em> &lt;script>alert(1)");
    expect(shown).toContain('value="2099-01-01T10:00"');
    expect(await seenBy("member")).toEqual([]);
    const refused = await admin.send("POST", "/admin/announcements/new", {
      form: { ...form, ends_at: "2000-01-01T10:00" },
    });
    expect([refused.status, (await refused.text()).includes("It must end after it starts")]).toEqual([400, true]);
    expect((await admin.send("POST", "/admin/announcements/new", { form })).headers.get("location")).toBe(
      "/admin/announcements",
    );
    const { data } = await app.json<{ data: AdminAnnouncementView[] }>("GET", "/v1/admin/announcements");
    expect(data[0]).toMatchObject({ title: "Upgrade", severity: "warning", ends_at: Date.UTC(2099, 0, 1, 10) / 1000 });
    const path = `/admin/announcements/${data[0]?.id}`;
    expect(await text("/admin/announcements")).toContain("End this announcement?");
    expect(await text(path)).toContain('value="Upgrade"');
    await admin.send("POST", path, { form: { ...form, title: "Upgrade tonight", roles: "owner" } });
    expect(await seenBy("admin")).toEqual(["Upgrade tonight"]);
    expect(await seenBy("member")).toEqual([]);
    await admin.send("POST", `${path}/end`, { form: {} });
    expect(await seenBy("admin")).toEqual([]);
    await admin.send("POST", `${path}/delete`, { form: {} });
    expect(await text("/admin/announcements")).toContain("No announcements");
  });
});
