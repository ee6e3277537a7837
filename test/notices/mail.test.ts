/**
 * Mail through a real SMTP server: settings, the test with the server's own words, notices of jobs and accounts, and
 * the link that secures an account.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { installation } from "../../src/db/schema/audit.ts";
import { notice, noticeDelivery, noticeEvent, noticePreference } from "../../src/db/schema/notices.ts";
import type { BusEvents } from "../../src/lib/bus.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { recordEvent } from "../../src/notices/events/store.ts";
import type { EventType } from "../../src/notices/events/types.ts";
import { startSecurityNotices } from "../../src/notices/security/listen.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { MAIL_USER, type MailBox, startMailBox } from "../support/mail-server.ts";

interface Notice {
  id: string;
  type: string;
  title: string;
  body: string;
  path: string;
  read_at: number | null;
}

const SITE = "https://lab.example.com";
let lab: TestApp;
let box: MailBox;
let clock: FakeClock;
let stops: (() => void)[] = [];

beforeAll(async () => {
  box = await startMailBox();
  clock = fakeClock(Date.now());
  lab = await createTestApp({ config: { mail_ca: box.ca, public_url: SITE }, ctx: { clock } });
  stops = [startNotices(lab.ctx), startSecurityNotices(lab.ctx)];
});
afterAll(async () => {
  for (const stop of stops) stop();
  await Promise.all([lab.close(), box.close()]);
});

const settings = (more: object = {}) => ({
  host: "localhost",
  port: box.port,
  security: "starttls",
  user: MAIL_USER.name,
  password: MAIL_USER.password,
  from: "Fine-Tune Lab <lab@example.com>",
  ...more,
});
const setMail = (more: object = {}) => lab.json("POST", "/v1/admin/mail", { body: settings(more) });
const clear = () =>
  lab.ctx.write(async (tx) => {
    for (const table of [noticeDelivery, noticeEvent, notice, noticePreference]) await tx.delete(table);
  });

beforeEach(() => setMail());
afterEach(async () => {
  box.taken.length = 0;
  box.unknown.clear();
  await clear();
});

/** Something happens to a thing of the member. */
async function happen(type: EventType = "fine_tuning.job.failed", more: object = {}) {
  const event = { org: lab.orgs.a, type, subject: "ftjob-1", userId: lab.users.member, path: "/jobs/ftjob-1" };
  const words = { title: "Run <b> failed", body: "Out of memory. Use a smaller batch." };
  const message = await lab.ctx.write((tx) => recordEvent(tx, lab.ctx, { ...event, ...words, ...more }));
  lab.ctx.bus.emit(message.name, message.event as never);
}
const mails = (n: number) => until(`${n} mails`, async () => (box.taken.length >= n ? box.taken : null), 45_000, 5);
const notices = async (as: "member" | "admin" | "other" = "member") =>
  (await lab.json<{ data: Notice[] }>("GET", "/v1/notices", { as })).data;
const listed = (n: number) =>
  until(`${n} notices`, async () => ((await notices()).length >= n ? notices() : null), 45_000, 5);

describe("the mail server", () => {
  test("is stored with an encrypted password, which no answer shows", async () => {
    const shown = await setMail();
    expect(shown).toEqual({
      object: "mail_server",
      configured: true,
      source: "page",
      host: "localhost",
      port: box.port,
      security: "starttls",
      user: "lab",
      password_set: true,
      from: "Fine-Tune Lab <lab@example.com>",
    });
    const rows = await lab.ctx.db.select().from(installation);
    expect(rows.find(({ key }) => key === "mail")?.value).toContain("localhost");
    expect(JSON.stringify(rows)).not.toContain(MAIL_USER.password);
    expect(await lab.json("POST", "/v1/admin/mail", { body: settings({ password: null }) })).toEqual(shown);
    expect((await lab.request("GET", "/v1/admin/mail", { as: "member" })).status).toBe(403);
  });

  const refused: [string, object, string][] = [
    ["another server with the stored password", { host: "127.0.0.1", password: null }, "password_again"],
    ["another user with the stored password", { user: "other", password: null }, "password_again"],
    ["a password without encryption", { security: "none" }, "password_in_clear"],
    ["a sender that is no address", { from: "Lab" }, "invalid_value"],
    ["a sender with a line break", { from: "Lab\r\nBcc: x@example.com <a@example.com>" }, "invalid_value"],
  ];
  test.each(refused)("refuses %s", async (_, more, code) => {
    const answer = await lab.request("POST", "/v1/admin/mail", { body: settings(more) });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code } });
  });

  test("a test mail answers with the server's own words", async () => {
    const sent = await lab.json("POST", "/v1/admin/mail/test", { body: {} });
    expect(sent).toEqual({
      object: "mail_test",
      to: lab.emails.admin,
      accepted: true,
      answer: "250 2.0.0 Ok: queued as 1",
    });
    expect(box.taken[0]).toMatchObject({ secure: true, user: "lab", from: "lab@example.com" });
    await setMail({ password: "wrong" });
    expect(await lab.json("POST", "/v1/admin/mail/test", { body: {} })).toMatchObject({
      accepted: false,
      answer: expect.stringMatching(/^535 5\.7\.8 Authentication failed/),
    });
    await setMail();
    box.unknown.add("nobody@example.com");
    expect(await lab.json("POST", "/v1/admin/mail/test", { body: { to: "nobody@example.com" } })).toMatchObject({
      accepted: false,
      answer: expect.stringMatching(/^550 5\.1\.1 No such user here/),
    });
  });

  test("must have a certificate of a known authority", async () => {
    const strict = await createTestApp();
    await strict.json("POST", "/v1/admin/mail", { body: settings() });
    const answer = await strict.json<{ accepted: boolean; answer: string }>("POST", "/v1/admin/mail/test", {
      body: {},
    });
    expect(answer.accepted).toBe(false);
    expect(answer.answer).toMatch(/certificate/i);
    expect(box.taken).toEqual([]);
    await strict.close();
  });

  test("of the configuration wins, and uses TLS from the start", async () => {
    const tls = await startMailBox({ secure: true });
    const url = `smtps://${MAIL_USER.name}:${MAIL_USER.password}@localhost:${tls.port}`;
    const fixed = await createTestApp({ config: { mail_url: url, mail_from: "lab@example.com", mail_ca: tls.ca } });
    expect(await fixed.json("GET", "/v1/admin/mail")).toMatchObject({ source: "configuration", security: "tls" });
    expect(await fixed.json("POST", "/v1/admin/mail/test", { body: {} })).toMatchObject({ accepted: true });
    expect(tls.taken[0]).toMatchObject({ secure: true, user: "lab" });
    expect((await fixed.request("POST", "/v1/admin/mail", { body: settings() })).status).toBe(409);
    const page = await (await fixed.request("GET", "/admin/settings")).text();
    expect(page).not.toContain(MAIL_USER.password);
    await Promise.all([fixed.close(), tls.close()]);
  });
});

describe("a notice", () => {
  test("is mailed as text and HTML with links to this installation, and is in the page", async () => {
    await happen();
    const [mail] = await mails(1);
    expect(mail?.to).toBe(lab.emails.member);
    expect(mail?.raw).toMatch(/^Subject: \[Fine-Tune Lab\] Run <b> failed\r$/m);
    expect(mail?.raw).toMatch(/^Auto-Submitted: auto-generated\r$/m);
    expect(mail?.text).toBe(
      [
        "Run <b> failed",
        "",
        "Out of memory. Use a smaller batch.",
        "",
        `Open it: ${SITE}/jobs/ftjob-1`,
        "",
        "-- ",
        "You get this because of your settings; change them under Settings, Notifications.",
        `Fine-Tune Lab at ${SITE}`,
      ].join("\n"),
    );
    expect(mail?.raw).toContain("Run &lt;b&gt; failed");
    const [shown] = await listed(1);
    expect(shown).toMatchObject({ type: "fine_tuning.job.failed", title: "Run <b> failed", read_at: null });
    expect(await notices("admin")).toEqual([]);
    const [row] = await lab.ctx.db.select().from(noticeDelivery);
    expect(row?.payload).not.toContain("memory");
    expect(mail?.raw).toContain(`Message-ID: <${row?.id}@example.com>`);
  });

  test("is sent once, although its event is read twice", async () => {
    await happen();
    await mails(1);
    await lab.ctx.write((tx) => tx.update(noticeEvent).set({ spreadAt: null }));
    await happen("fine_tuning.job.succeeded", { title: "Another" });
    await mails(2);
    expect(box.taken.map(({ raw }) => /Subject: (.*)/.exec(raw)?.[1]?.trim())).toEqual([
      "[Fine-Tune Lab] Run <b> failed",
      "[Fine-Tune Lab] Another",
    ]);
    expect(await notices()).toHaveLength(2);
  });

  test("to an address that does not exist is given up at once", async () => {
    box.unknown.add(lab.emails.member);
    await happen();
    const { data } = await until(
      "the dead letter",
      async () => {
        const found = await lab.json<{ data: object[] }>("GET", "/v1/admin/deliveries");
        return found.data.length > 0 ? found : null;
      },
      45_000,
      5,
    );
    expect(data).toEqual([
      expect.objectContaining({
        channel: "mail",
        destination: lab.emails.member,
        status: "dead",
        attempts: 1,
        last_error: expect.stringMatching(/550 5\.1\.1 No such user/),
      }),
    ]);
  });

  test("is only in the page without a mail server", async () => {
    await lab.json("DELETE", "/v1/admin/mail");
    await happen();
    await listed(1);
    expect(await lab.ctx.db.select().from(noticeDelivery)).toEqual([]);
  });

  test("is counted until it is read, one or all", async () => {
    for (const title of ["A", "B", "C"]) await happen("dataset.import.failed", { title });
    const all = await listed(3);
    const unread = async (as: "member" | "other" = "member") =>
      (await lab.json<{ unread: number }>("GET", "/v1/notices/unread", { as })).unread;
    expect(await unread()).toBe(3);
    const ids = [all[0]?.id ?? ""];
    expect(await lab.json("POST", "/v1/notices/read", { as: "other", body: { ids } })).toMatchObject({ read: 0 });
    expect(await lab.json("POST", "/v1/notices/read", { as: "member", body: { ids } })).toMatchObject({ read: 1 });
    expect(await unread()).toBe(2);
    const { data } = await lab.json<{ data: Notice[] }>("GET", "/v1/notices?unread=true", { as: "member" });
    expect(data.map(({ id }) => id)).toEqual(all.slice(1).map(({ id }) => id));
    expect(await lab.json("POST", "/v1/notices/read", { as: "member", body: {} })).toMatchObject({ read: 2 });
    expect(await unread()).toBe(0);
    // Imports are not mailed unless the user wants it.
    expect(await lab.ctx.db.select().from(noticeDelivery)).toEqual([]);
  });

  test("goes where its user wants it", async () => {
    const chosen = await lab.json("POST", "/v1/notices/preferences", {
      as: "member",
      body: { jobs: { page: false, mail: false }, datasets: { mail: true } },
    });
    expect(chosen).toMatchObject({ jobs: { page: false, mail: false }, datasets: { page: true, mail: true } });
    await happen();
    await happen("dataset.import.failed", { title: "Import failed" });
    await mails(1);
    expect(box.taken.map(({ text }) => text.split("\n")[0])).toEqual(["Import failed"]);
    expect((await listed(1)).map(({ title }) => title)).toEqual(["Import failed"]);
    const off = await lab.request("POST", "/v1/notices/preferences", {
      as: "member",
      body: { security: { mail: false } },
    });
    expect(off.status).toBe(400);
    expect(await off.json()).toMatchObject({ error: { code: "security_notices_stay" } });
  });
});

describe("the security of an account", () => {
  const announce = (kind: BusEvents["security.event"]["kind"], more: object = {}) =>
    lab.ctx.bus.emit("security.event", {
      org: lab.orgs.a,
      userId: lab.users.member,
      kind,
      ip: "203.0.113.7",
      userAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
      at: Date.UTC(2026, 10, 30, 7, 5),
      ...more,
    });

  test("a change of role, a new key and a changed address are reported", async () => {
    await lab.json("POST", `/v1/admin/users/${lab.users.member}`, { body: { role: "admin" } });
    await lab.json("POST", `/v1/admin/users/${lab.users.member}`, { body: { role: "member" } });
    const { id } = await lab.json<{ id: string }>("POST", "/v1/keys", { as: "member", body: { name: "CI" } });
    announce("email.changed", { previousEmail: "before@example.test" });
    await mails(5);
    expect(box.taken.map(({ to, text }) => `${to}: ${text.split("\n")[0]}`).sort()).toEqual([
      "before@example.test: The e-mail address of your account was changed",
      "member@example.test: API key CI was created for your account",
      "member@example.test: The e-mail address of your account was changed",
      "member@example.test: Your role is now administrator of the installation",
      "member@example.test: Your role is now member of the team",
    ]);
    expect((await listed(4)).map(({ type }) => type)).toContain("security.key.created");
    await lab.json("DELETE", `/v1/keys/${id}`, { as: "member" });
  });

  test("the link of a notice ends sessions, revokes new keys and asks for a new password, once", async () => {
    const signIn = (password: string) =>
      lab.request("POST", "/login", {
        as: "anonymous",
        form: { email: lab.emails.member, password },
        headers: { origin: SITE, host: "lab.example.com" },
      });
    const cookie = (await signIn(PASSWORD)).headers.getSetCookie().find((one) => one.includes("session"));
    const me = (headers: Record<string, string>) =>
      lab.request("GET", "/v1/me", { as: "anonymous", headers }).then(({ status }) => status);
    const session = { cookie: cookie?.split(";")[0] ?? "" };
    expect(await me(session)).toBe(200);
    clock.advance(120_000);
    announce("sign_in.new_device");
    const mail = await until(
      "the mail",
      async () => box.taken.find(({ text }) => text.startsWith("New device") && text.includes("203.0.113.7")),
      45_000,
      5,
    );
    expect(mail.text).toContain("Time: 2026-11-30 07:05 UTC\nAddress: 203.0.113.7\nDevice: Firefox on Linux");
    const link = new URL(/This was not me: secure my account: (\S+)/.exec(mail.text)?.[1] ?? "");
    expect(link.origin).toBe(SITE);
    const path = link.pathname + link.search;
    const stolen = await lab.json<{ key: string }>("POST", "/v1/keys", { as: "member", body: { name: "stolen" } });

    // Opening the link changes nothing.
    const page = await lab.request("GET", path, { as: "anonymous" });
    expect(await page.text()).toContain("New device signed in to your account");
    expect(await me(session)).toBe(200);
    const forged = `${path.slice(0, -2)}${path.endsWith("AA") ? "BB" : "AA"}`;
    expect((await lab.request("GET", forged, { as: "anonymous" })).status).toBe(410);

    const post = () =>
      lab.request("POST", "/not-me", {
        as: "anonymous",
        form: { token: link.searchParams.get("token") ?? "" },
        headers: { origin: SITE },
      });
    const [first, second] = await Promise.all([post(), post()]);
    const done = first.status === 303 ? first : second;
    expect([first.status, second.status].sort()).toEqual([303, 410]);
    const next = done.headers.get("location") ?? "";
    expect(next).toMatch(/^\/reset\?token=/);
    expect(await me(session)).toBe(401);
    expect(await me({ authorization: `Bearer ${stolen.key}` })).toBe(401);
    expect(await me({ authorization: `Bearer ${lab.keys.member}` })).toBe(200);
    expect((await signIn(PASSWORD)).status).toBe(401);
    const token = new URL(next, SITE).searchParams.get("token") ?? "";
    const changed = await lab.request("POST", "/reset", {
      as: "anonymous",
      form: { token, password: "quite another phrase 92", email: lab.emails.member },
      headers: { origin: SITE },
    });
    expect(changed.status).toBe(303);
    expect((await signIn("quite another phrase 92")).status).toBe(303);
    expect((await lab.request("GET", path, { as: "anonymous" })).status).toBe(410);
  });

  test("a link of last week no longer works", async () => {
    announce("password.changed");
    const [mail] = await mails(1);
    const link = new URL(/secure my account: (\S+)/.exec(mail?.text ?? "")?.[1] ?? "");
    clock.advance(7 * 86_400_000);
    expect((await lab.request("GET", link.pathname + link.search, { as: "anonymous" })).status).toBe(410);
  });
});
