/** Invitations by mail, through a real mail server: what the mail says, once per invitation, again, and recalled. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { createCtx } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { invitation, organization } from "../../src/db/schema/auth.ts";
import { noticeDelivery } from "../../src/db/schema/notices.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { type MailBox, startMailBox } from "../support/mail-server.ts";

const SITE = "https://lab.example.com";
const HOUR = 3_600_000;
interface View {
  id: string;
  email: string;
  path: string | null;
  mail: string | null;
}
let lab: TestApp;
let box: MailBox;
let clock: FakeClock;
let stop: (() => void) | null = null;

beforeAll(async () => {
  box = await startMailBox();
  clock = fakeClock(Date.parse("2026-11-30T10:00:00Z"));
  const mail = { mail_url: `smtp://localhost:${box.port}`, mail_from: "lab@example.com", mail_ca: box.ca };
  lab = await createTestApp({ config: { ...mail, public_url: SITE }, ctx: { clock } });
});
afterAll(async () => {
  stop?.();
  await Promise.all([lab?.close(), box?.close()]);
});
afterEach(() => {
  stop?.();
  stop = null;
  box.taken.length = 0;
  // Limits of an hour are over.
  clock.advance(2 * HOUR);
});

const deliver = () => {
  stop = startNotices(lab.ctx);
};
const invite = (email: string, more: object = {}) =>
  lab.json<View>("POST", "/v1/organization/members", { body: { email, send_mail: true, ...more } });
const pending = async () => (await lab.json<{ data: View[] }>("GET", "/v1/organization/invitations?limit=100")).data;
const rowsTo = async (email: string) =>
  lab.ctx.db
    .select()
    .from(noticeDelivery)
    .where(eq(noticeDelivery.destination, `mail:${email}`));
const mailTo = (email: string, number = 1) =>
  until(`mail ${number} to ${email}`, async () => box.taken.filter(({ to }) => to === email)[number - 1], 45_000, 5);
const linkIn = (text: string) =>
  /Accept the invitation: https:\/\/lab\.example\.com(\/invite\?token=\w+)/.exec(text)?.[1] ?? "";
const statusOf = async (path: string) => (await lab.request("GET", path, { as: "anonymous" })).status;

test("the mail names team, inviter, role and end, and its link lets the invited address in, once", async () => {
  const email = "nina@example.test";
  const made = await invite(email, { role: "viewer" });
  // Whoever invites does not see the link.
  expect(made).toMatchObject({ email, path: null, mail: "waiting" });
  const [stored] = await rowsTo(email);
  deliver();
  const { text, raw } = await mailTo(email);
  const link = linkIn(text);
  expect(raw).toContain("Subject: [Fine-Tune Lab] Invitation to Alpha\r\n");
  expect(text.slice(0, text.indexOf("Accept the invitation"))).toBe(`Invitation to Alpha

admin (${lab.emails.admin}) invites you to the team Alpha at ${SITE}.
Your role: Viewer: sees everything, changes nothing.
The link is for ${email} only. It works once, until 2026-12-07 10:00 UTC.
If you do not know the sender, ignore this mail: without the link nobody gets an account with your address.

`);
  expect(stored?.payload).not.toContain(link.split("token=")[1] ?? "no link");
  await until("sent", async () => (await pending()).find((each) => each.id === made.id)?.mail === "sent");
  const token = link.split("token=")[1] ?? "";
  const form = { token, password: "a new phrase of Nina 73", name: "Nina", email: "somebody@else.test" };
  const entered = await lab.request("POST", "/invite", { as: "anonymous", form, headers: { origin: SITE } });
  expect(entered.status).toBe(303);
  const members = await lab.json<{ data: { email: string; role: string }[] }>("GET", "/v1/organization/members");
  expect(members.data).toContainEqual(expect.objectContaining({ email, role: "viewer" }));
  expect(await statusOf(link)).toBe(410);
  const audit = await lab.json<{ data: { detail: object }[] }>("GET", "/v1/admin/audit?action=invitation.create");
  expect(audit.data[0]?.detail).toMatchObject({ email, team_role: "viewer", mailed: true });
});

/** Invites and dies at once; the mail waits, because nothing sends it there. */
const INVITE_AND_DIE = `
  const [app, dir] = process.argv.slice(-2);
  const { createTestApp } = await import(app);
  const lab = await createTestApp({ config: JSON.parse(process.env.FTL_TEST_MAIL) });
  const body = { email: "olga@example.test", send_mail: true };
  await lab.json("POST", "/v1/organization/members", { body });
  await Bun.write(dir, lab.dir);
  process.kill(process.pid, "SIGKILL");`;

test("a mail whose server was killed is sent by the next one, once", async () => {
  const at = join(tmpdir(), `ftl-invited-${process.pid}`);
  const mail = { mail_url: `smtp://localhost:${box.port}`, mail_from: "lab@example.com", mail_ca: box.ca };
  const support = join(import.meta.dir, "../support/app.ts");
  const child = Bun.spawn([process.execPath, "-e", INVITE_AND_DIE, support, at], {
    env: { ...process.env, FTL_TEST_MAIL: JSON.stringify(mail) },
    stderr: "inherit",
  });
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  const dir = await Bun.file(at).text();
  const ctx = await createCtx(loadConfig({ data_dir: dir, ...mail }, {}), { log: () => {} });
  const rows = () => ctx.db.select().from(noticeDelivery);
  for (let n = 0; n < 2; n++) {
    const end = startNotices(ctx);
    await mailTo("olga@example.test");
    // The mail server has it a moment before the database says so.
    await until("the delivery to be stored", async () => (await rows())[0]?.state !== "waiting");
    end();
  }
  expect((await rows()).map(({ state, destination }) => [state, destination])).toEqual([
    ["sent", "mail:olga@example.test"],
  ]);
  expect(box.taken).toHaveLength(1);
  await ctx.close();
  rmSync(dir, { recursive: true, force: true });
  rmSync(at);
}, 60_000);

test("sending again makes a new link and a new week; three mails an hour go to one address", async () => {
  const email = "quinn@example.test";
  const first = await invite(email);
  deliver();
  const old = linkIn((await mailTo(email)).text);
  const again = await lab.json<View>("POST", `/v1/organization/invitations/${first.id}/send`);
  expect(again).toMatchObject({ email, path: null, mail: "waiting" });
  const next = linkIn((await mailTo(email, 2)).text);
  expect([await statusOf(old), await statusOf(next)]).toEqual([410, 200]);
  await invite(email);
  await mailTo(email, 3);
  const [open] = (await pending()).filter((each) => each.email === email);
  const refused = await lab.request("POST", `/v1/organization/invitations/${open?.id}/send`);
  const body = (await refused.json()) as { error: { code: string; message: string } };
  expect([refused.status, body.error.code]).toEqual([429, "too_many_invitation_mails"]);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(3000);
  // The refusal left the last link as it was.
  expect(await statusOf(linkIn((await mailTo(email, 3)).text))).toBe(200);
  // A link to pass on is not limited.
  const made = await lab.json<View>("POST", `/v1/organization/invitations/${open?.id}/renew`);
  expect(made).toMatchObject({ email, mail: null });
  expect(await statusOf(made.path ?? "")).toBe(200);
  clock.advance(HOUR + 1);
  expect((await lab.request("POST", `/v1/organization/invitations/${made.id}/send`)).status).toBe(200);
}, 60_000);

test("a hundred invitations an hour are mailed into one team; a link to pass on still works", async () => {
  const earlier = Array.from({ length: 99 }, (_, n) => ({
    id: `inv_${n}`,
    organizationId: lab.orgs.a,
    email: `guest-${n}@example.test`,
    role: "viewer",
    status: "canceled",
    expiresAt: new Date(clock.now()),
    createdAt: new Date(clock.now()),
    inviterId: lab.users.admin,
  }));
  await lab.ctx.write((tx) => tx.insert(invitation).values(earlier));
  clock.advance(HOUR / 2);
  expect(await invite("guest-99@example.test")).toMatchObject({ mail: "waiting" });
  const body = { email: "guest-100@example.test" };
  const refused = await lab.request("POST", "/v1/organization/members", { body: { ...body, send_mail: true } });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1800"]);
  expect(await refused.json()).toMatchObject({
    error: { code: "too_many_invitation_mails", message: expect.stringContaining("100 invitations into this team") },
  });
  expect(await rowsTo(body.email)).toEqual([]);
  expect((await lab.json<View>("POST", "/v1/organization/members", { body })).path).toStartWith("/invite?token=");
  const elsewhere = { as: "otherAdmin" as const, body: { email: "guest-x@example.test", send_mail: true } };
  expect((await lab.request("POST", "/v1/organization/members", elsewhere)).status).toBe(200);
});

test("revoking recalls a mail that waits; so does a new link", async () => {
  const made = await invite("rob@example.test");
  expect(await rowsTo("rob@example.test")).toHaveLength(1);
  await lab.json("DELETE", `/v1/organization/invitations/${made.id}`);
  const kept = await invite("sara@example.test");
  await lab.json("POST", `/v1/organization/invitations/${kept.id}/renew`);
  expect([await rowsTo("rob@example.test"), await rowsTo("sara@example.test")]).toEqual([[], []]);
});

test("the pages offer the mail, send it again, and say what became of it", async () => {
  const page = async (path: string) => (await lab.request("GET", path)).text();
  const post = (path: string, form: Record<string, string> = {}) =>
    lab.request("POST", path, { form, headers: { origin: SITE, accept: "text/html" } });
  expect(await page("/team")).toContain('name="send"');
  const sent = await post("/team/members", { email: "tim@example.test", role: "member", send: "yes" });
  expect([sent.status, sent.headers.get("location")]).toEqual([303, "/team"]);
  expect(await page("/team")).toContain("Mail is waiting to be sent");
  const admin = await post("/admin/invite", {
    email: "uma@example.test",
    role: "member",
    organization: lab.orgs.b,
    send: "yes",
  });
  expect(admin.headers.get("location")).toBe("/admin/users");
  deliver();
  expect((await mailTo("uma@example.test")).text).toContain("the team Beta");
  await mailTo("tim@example.test");
  await until("both sent", async () => (await pending()).every(({ mail }) => mail !== "waiting"));
  const users = await page("/admin/users");
  expect([users.includes("Mailed"), users.includes("Send again")]).toEqual([true, true]);
  const [uma] = (await lab.json<{ data: View[] }>("GET", "/v1/admin/invitations")).data.filter(
    ({ email }) => email === "uma@example.test",
  );
  expect((await post(`/admin/invitations/${uma?.id}/send`)).status).toBe(303);
  await mailTo("uma@example.test", 2);
  // Without the check mark the page shows the link.
  const link = await post("/team/members", { email: "vera@example.test", role: "member" });
  expect(await link.text()).toContain("/invite?token=");
  expect(await rowsTo("vera@example.test")).toEqual([]);
}, 60_000);

test("a team's name that reads like an address does not become a link in the mail", async () => {
  const rename = (name: string) =>
    lab.ctx.write((tx) => tx.update(organization).set({ name }).where(eq(organization.id, lab.orgs.a)));
  await rename("Unlock at https://evil.example now");
  await invite("wim@example.test");
  deliver();
  const { text, raw } = await mailTo("wim@example.test");
  expect(raw).not.toContain("evil");
  expect(text).toContain(`the team ${lab.orgs.a} at`);
  await rename("Alpha");
});

test("without a mail server there is the link to pass on, and no offer to mail it", async () => {
  const own = await createTestApp();
  const body = { email: "xenia@example.test", send_mail: true };
  const refused = await own.request("POST", "/v1/organization/members", { body });
  expect(((await refused.json()) as { error: { code: string } }).error.code).toBe("no_mail_server");
  const made = await own.json<View>("POST", "/v1/organization/members", { body: { email: body.email } });
  expect(made.path).toStartWith("/invite?token=");
  const page = await (await own.request("GET", "/team")).text();
  expect([page.includes('name="send"'), page.includes("You get a link to send yourself")]).toEqual([false, true]);
  await own.close();
});
