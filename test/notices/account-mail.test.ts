/** Links in mails that change an account: a forgotten password, and a new e-mail address. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { twoFactor, user } from "../../src/db/schema/auth.ts";
import { noticeDelivery } from "../../src/db/schema/notices.ts";
import { startNotices } from "../../src/notices/delivery/loop.ts";
import { startSecurityNotices } from "../../src/notices/security/listen.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { type MailBox, startMailBox } from "../support/mail-server.ts";

const SITE = "https://lab.example.com";
const RESET = "account.password_reset";
const NEW_PASSWORD = "quite another phrase 92";
let lab: TestApp;
let box: MailBox;
let clock: FakeClock;
let stops: (() => void)[] = [];

beforeAll(async () => {
  box = await startMailBox();
  clock = fakeClock(Date.now());
  const mail = { mail_url: `smtp://localhost:${box.port}`, mail_from: "lab@example.com", mail_ca: box.ca };
  lab = await createTestApp({ config: { ...mail, public_url: SITE }, ctx: { clock } });
  stops = [startNotices(lab.ctx), startSecurityNotices(lab.ctx)];
});
afterAll(async () => {
  for (const stop of stops) stop();
  await Promise.all([lab.close(), box.close()]);
});
afterEach(() => {
  box.taken.length = 0;
  // Limits of an hour are over.
  clock.advance(2 * 3_600_000);
});

const post = (path: string, form: Record<string, string>, as: "anonymous" | "member" = "anonymous") =>
  lab.request("POST", path, { as, form, headers: { origin: SITE } });
const get = (path: string) => lab.request("GET", path, { as: "anonymous" });
const signIn = (email: string, password: string) => post("/login", { email, password }).then(({ status }) => status);
/** The mail to an address whose text contains `words`. */
const mailTo = (address: string, words: string) =>
  until(
    `a mail to ${address}`,
    async () => box.taken.find(({ to, text }) => to === address && text.includes(words)),
    45_000,
    5,
  );
const linkIn = (text: string) => {
  const link = new URL(/: (https:\S+)/.exec(text)?.[1] ?? "");
  expect(link.origin).toBe(SITE);
  return link.pathname + link.search;
};
const tokenIn = (path: string) => new URL(path, SITE).searchParams.get("token") ?? "";

describe("a forgotten password", () => {
  test("is replaced with the link in a mail, once", async () => {
    const answer = await post("/forgot", { email: ` ${lab.emails.member.toUpperCase()} ` });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain("If there is an account for");
    const mail = await mailTo(lab.emails.member, "Choose a new password");
    const path = linkIn(mail.text);
    expect(await (await get(path)).text()).toContain(lab.emails.member);
    const [stored] = await lab.ctx.db.select().from(noticeDelivery);
    expect(stored?.payload).not.toContain(tokenIn(path));
    // The old one works until the link is used.
    expect(await signIn(lab.emails.member, PASSWORD)).toBe(303);
    const form = { token: tokenIn(path), password: NEW_PASSWORD, email: lab.emails.member };
    expect((await post("/reset", form)).status).toBe(303);
    expect(await signIn(lab.emails.member, PASSWORD)).toBe(401);
    expect(await signIn(lab.emails.member, NEW_PASSWORD)).toBe(303);
    expect((await get(path)).status).toBe(410);
    expect((await mailTo(lab.emails.member, "Your password was changed")).to).toBe(lab.emails.member);
  });

  test("the answer does not say whether there is an account", async () => {
    const known = await (await post("/forgot", { email: lab.emails.other })).text();
    const unknown = await (await post("/forgot", { email: "nobody@example.test" })).text();
    const same = (text: string) =>
      text
        .replaceAll(lab.emails.other, "X")
        .replaceAll("nobody@example.test", "X")
        .replace(/data-now="\d+"/, "");
    expect(same(unknown)).toBe(same(known));
    await mailTo(lab.emails.other, "Choose a new password");
    const resets = box.taken.filter(({ text }) => text.startsWith("Choose a new password"));
    expect(resets.map(({ to }) => to)).toEqual([lab.emails.other]);
  });

  test("an account gets three mails an hour, and a network eight requests for it in a quarter of an hour", async () => {
    const statuses: number[] = [];
    for (let n = 0; n < 9; n++) statuses.push((await post("/forgot", { email: lab.emails.otherAdmin })).status);
    expect(statuses).toEqual([...Array.from({ length: 8 }, () => 200), 429]);
    const stored = async () => {
      const rows = await lab.ctx.db.select().from(noticeDelivery);
      return rows.filter(({ destination, type }) => destination === `mail:${lab.emails.otherAdmin}` && type === RESET);
    };
    await until("three mails", async () => (await stored()).length >= 3, 45_000, 5);
    // A request after the hour is answered after all before it.
    clock.advance(3_600_001);
    await post("/forgot", { email: lab.emails.otherAdmin });
    await until("a fourth mail", async () => (await stored()).length >= 4, 45_000, 5);
    expect(await stored()).toHaveLength(4);
  });

  test("without a mail server the page says whom to ask", async () => {
    const plain = await createTestApp();
    const page = await plain.request("GET", "/forgot", { as: "anonymous" });
    expect(await page.text()).toContain("Ask an administrator for a link");
    const form = { email: plain.emails.member };
    expect((await plain.request("POST", "/forgot", { as: "anonymous", form })).status).toBe(409);
    await plain.close();
  });
});

describe("a new e-mail address", () => {
  const ask = (email: string, password = PASSWORD) =>
    lab.request("POST", "/settings/email", {
      as: "other" as const,
      form: { email, password },
      headers: { origin: SITE },
    });
  const stored = async () =>
    (await lab.ctx.db.select().from(user).where(eq(user.id, lab.users.other))).map(({ email }) => email).join();

  test("needs the password, a free address, and the link in a mail", async () => {
    expect((await ask("fresh@example.test", "wrong password")).status).toBe(403);
    expect((await ask(lab.emails.admin)).status).toBe(409);
    expect((await ask("no address")).status).toBe(422);
    expect((await ask("first@example.test")).status).toBe(200);
    const first = linkIn((await mailTo("first@example.test", "Confirm your new")).text);
    expect((await ask("Fresh@Example.test")).status).toBe(200);
    const path = linkIn((await mailTo("fresh@example.test", "Confirm your new")).text);
    // A newer request replaces the first, and opening a link changes nothing.
    expect((await get(first)).status).toBe(410);
    expect((await get(path)).status).toBe(200);
    expect(await stored()).toBe(lab.emails.other);

    expect((await post("/confirm-email", { token: tokenIn(path) })).status).toBe(303);
    expect(await stored()).toBe("fresh@example.test");
    expect(await signIn("fresh@example.test", PASSWORD)).toBe(303);
    expect(await signIn(lab.emails.other, PASSWORD)).toBe(401);
    expect((await post("/confirm-email", { token: tokenIn(path) })).status).toBe(410);
    const before = await mailTo(lab.emails.other, "The e-mail address of your account was changed");
    expect(before.text).toContain("This was not me");
    await mailTo("fresh@example.test", "The e-mail address of your account was changed");
  });

  test("a link of the day before yesterday no longer works", async () => {
    expect((await ask("later@example.test")).status).toBe(200);
    const path = linkIn((await mailTo("later@example.test", "Confirm your new")).text);
    clock.advance(24 * 3_600_000);
    expect((await get(path)).status).toBe(410);
  });
});

describe("a second factor that somebody else added", () => {
  const announce = (kind: "sign_in.new_device" | "two_factor.added") =>
    lab.ctx.bus.emit("security.event", {
      org: lab.orgs.b,
      userId: lab.users.otherAdmin,
      kind,
      ip: "203.0.113.7",
      userAgent: null,
      at: clock.now(),
    });
  /** Whether the account has a second factor, after its owner said that the sign-in was not theirs. */
  async function afterwards(addedBefore: boolean): Promise<boolean> {
    const id = lab.users.otherAdmin;
    await lab.ctx.write(async (tx) => {
      await tx.update(user).set({ twoFactorEnabled: true }).where(eq(user.id, id));
      await tx.delete(twoFactor).where(eq(twoFactor.userId, id));
      await tx.insert(twoFactor).values({ id: "factor", userId: id, secret: "x", backupCodes: "x", verified: true });
    });
    if (addedBefore) {
      announce("two_factor.added");
      await mailTo(lab.emails.otherAdmin, "A second factor was added");
      clock.advance(3_600_000);
    }
    announce("sign_in.new_device");
    const mail = await mailTo(lab.emails.otherAdmin, "New device");
    if (!addedBefore) {
      announce("two_factor.added");
      await mailTo(lab.emails.otherAdmin, "A second factor was added");
    }
    const path = new URL(/secure my account: (\S+)/.exec(mail.text)?.[1] ?? "").searchParams.get("token") ?? "";
    expect((await post("/not-me", { token: path })).status).toBe(303);
    const [row] = await lab.ctx.db.select().from(user).where(eq(user.id, id));
    return row?.twoFactorEnabled ?? false;
  }

  test("is removed when it is newer than what its owner did not do, and stays when it is older", async () => {
    expect(await afterwards(true)).toBe(true);
    box.taken.length = 0;
    clock.advance(3_600_000);
    expect(await afterwards(false)).toBe(false);
    expect(await lab.ctx.db.select().from(twoFactor)).toEqual([]);
  });
});
