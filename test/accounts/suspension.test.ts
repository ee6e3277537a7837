/** Suspending users and organizations over HTTP, and lifting it: who is refused, with which words, and what stays. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { verifyAudit } from "../../src/accounts/audit/service.ts";
import { liftEnded } from "../../src/accounts/suspension/service.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { startSecurityNotices } from "../../src/notices/security/listen.ts";
import { type As, createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";

const DAY = 86_400_000;
let t: TestApp;
let clock: FakeClock;
let stopNotices: () => void;
beforeAll(async () => {
  clock = fakeClock(Date.now());
  t = await createTestApp({ ctx: { clock }, config: { contact_address: "help@lab.test" } });
  stopNotices = startSecurityNotices(t.ctx);
});
afterAll(async () => {
  stopNotices();
  await t.close();
});

const login = (as: As, password = PASSWORD) =>
  t.request("POST", "/login", { as: "anonymous", form: { email: t.emails[as], password, next: "/" } });
const cookieOf = async (as: As) => {
  const answer = await login(as);
  expect(answer.status).toBe(303);
  return answer.headers
    .getSetCookie()
    .map((each) => each.split(";")[0])
    .join("; ");
};
const get = (path: string, cookie: string) =>
  t.request("GET", path, { as: "anonymous", headers: { cookie, accept: "text/html" } });
const errorOf = async (answer: Response) => (await answer.json()).error as { code: string; message: string };
const events = async () =>
  (await t.ctx.db.select().from(noticeEvent)).map(({ type, userId, body }) => ({ type, userId, body }));
const suspend = (path: string, body: Record<string, unknown>, as: As = "admin") =>
  t.request("POST", `/v1/admin/${path}/suspend`, { as, body });
const user = (as: As) => `users/${t.users[as]}`;

describe("a suspended user", () => {
  let cookie: string;
  beforeAll(async () => {
    cookie = await cookieOf("member");
    const until = Math.floor((clock.now() + 3 * DAY) / 1000);
    const answer = await suspend(user("member"), { reason: "Unpaid invoice", until });
    expect(await answer.json()).toMatchObject({ disabled: true, suspension: { reason: "Unpaid invoice", until } });
  });

  test("is signed out, and their key answers 403 with the reason and the contact address", async () => {
    expect((await get("/v1/me", cookie)).status).toBe(401);
    const answer = await t.request("GET", "/v1/models", { as: "member" });
    expect(answer.status).toBe(403);
    const { code, message } = await errorOf(answer);
    expect(code).toBe("account_suspended");
    expect(message).toContain("Reason: Unpaid invoice.");
    expect(message).toContain("Contact help@lab.test.");
    expect(message).toContain(`until ${new Date(clock.now() + 3 * DAY).toISOString().slice(0, 10)}`);
  });

  test("reads why at sign-in only with the right password", async () => {
    const wrong = await login("member", "not the password at all");
    expect(wrong.status).toBe(401);
    expect(await wrong.text()).not.toContain("suspended");
    const right = await login("member");
    expect(right.status).toBe(403);
    expect(await right.text()).toContain("This account is suspended");
    expect(right.headers.getSetCookie()).toEqual([]);
  });

  test("gets a security notice with the reason", async () => {
    await until("the notice", async () => (await events()).some(({ type }) => type === "security.account.suspended"));
    const [notice] = (await events()).filter(({ type }) => type === "security.account.suspended");
    expect(notice).toMatchObject({ userId: t.users.member, body: expect.stringContaining("Reason: Unpaid invoice") });
  });

  test("is free again at the end; the key works, the session does not", async () => {
    clock.advance(4 * DAY);
    expect((await t.request("GET", "/v1/models", { as: "member" })).status).toBe(403);
    await liftEnded(t.ctx);
    expect((await t.request("GET", "/v1/models", { as: "member" })).status).toBe(200);
    expect((await get("/v1/me", cookie)).status).toBe(401);
    await cookieOf("member");
    await until("the notice", async () => (await events()).some(({ type }) => type === "security.account.restored"));
  });
});

describe("a suspended organization", () => {
  let cookie: string;
  beforeAll(async () => {
    cookie = await cookieOf("other");
    expect((await suspend(`orgs/${t.orgs.b}`, { reason: "Abuse report 12" })).status).toBe(200);
  });

  test("ends sessions and refuses keys of its members, and nobody else's", async () => {
    expect((await get("/v1/me", cookie)).status).toBe(401);
    for (const as of ["other", "otherAdmin"] as const) {
      const answer = await t.request("GET", "/v1/models", { as });
      expect([as, answer.status, (await errorOf(answer)).code]).toEqual([as, 403, "account_suspended"]);
    }
    expect((await t.request("GET", "/v1/models", { as: "member" })).status).toBe(200);
  });

  test("shows its members why, with the way out, on every page", async () => {
    const signedIn = await cookieOf("other");
    for (const path of ["/", "/jobs", "/settings"]) {
      const answer = await get(path, signedIn);
      expect([path, answer.status]).toEqual([path, 403]);
      const page = await answer.text();
      expect(page).toContain("Your team is suspended");
      expect(page).toContain("Abuse report 12");
      expect(page).toContain("mailto:help@lab.test");
      expect(page).toContain('action="/logout"');
    }
    expect((await get("/settings/data", signedIn)).status).toBe(200);
    const out = await t.request("POST", "/logout", { as: "anonymous", headers: { cookie: signedIn } });
    expect(out.status).toBe(303);
  });

  test("still lets its administrators of the installation administer", async () => {
    const signedIn = await cookieOf("otherAdmin");
    expect((await get("/admin/users", signedIn)).status).toBe(200);
    expect((await get("/jobs", signedIn)).status).toBe(403);
  });

  test("shows the state on its page, and works again when that is lifted", async () => {
    const admin = await cookieOf("admin");
    expect(await (await get(`/admin/teams/${t.orgs.b}`, admin)).text()).toContain("Abuse report 12");
    const lifted = await t.json("POST", `/v1/admin/orgs/${t.orgs.b}/lift`);
    expect(lifted).toMatchObject({ suspension: null });
    expect((await t.request("GET", "/v1/models", { as: "other" })).status).toBe(200);
    const types = (await events()).filter(({ type }) => type.startsWith("security.organization."));
    await until("the notices", async () => (await events()).some((one) => one.type.endsWith("organization.restored")));
    expect(types.every(({ userId }) => userId === t.users.otherAdmin)).toBe(true);
  });
});

describe("what cannot be suspended", () => {
  test.each([
    ["oneself", () => suspend(user("admin"), { reason: "x" }), "own_account"],
    ["one's own organization", () => suspend(`orgs/${t.orgs.a}`, { reason: "x" }), "own_organization"],
    ["until the past", () => suspend(user("member"), { reason: "x", until: 1 }), "end_in_the_past"],
    ["without a reason", () => suspend(user("member"), { reason: " " }), "invalid_value"],
    ["by a member", () => suspend(user("other"), { reason: "x" }, "member"), "admin_only"],
    ["nobody", () => suspend("users/user-none", { reason: "x" }), "user_not_found"],
  ])("%s", async (_, ask, code) => {
    expect((await errorOf(await ask())).code).toBe(code);
  });

  test("the last administrator", async () => {
    expect((await suspend(user("otherAdmin"), { reason: "x" })).status).toBe(200);
    const last = await t.request("POST", `/v1/admin/users/${t.users.admin}`, { body: { disabled: true } });
    expect((await errorOf(last)).code).toBe("last_admin");
    await t.json("POST", `/v1/admin/users/${t.users.otherAdmin}/lift`);
  });
});

test("every suspension and its end is in the audit log, which stays intact", async () => {
  const actions = (await t.ctx.db.select().from(auditLog)).map(({ action }) => action);
  for (const action of ["user.suspend", "user.lift", "organization.suspend", "organization.lift", "key.refused"])
    expect([action, actions.includes(action)]).toEqual([action, true]);
  expect((await verifyAudit(t.ctx)).brokenAt).toBeNull();
});
