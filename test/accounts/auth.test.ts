/** Accounts over HTTP: signing in, sessions, the first administrator, invitations, and what is refused. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq, max } from "drizzle-orm";
import { isCommonPassword } from "../../src/accounts/auth/common-passwords.ts";
import { hashingLoad } from "../../src/accounts/auth/passwords.ts";
import { createInvitation, createSetupToken } from "../../src/accounts/organizations/invitations.ts";
import { createApp, createCtx } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { user } from "../../src/db/schema/auth.ts";
import { failedAttempt } from "../../src/db/schema/sign-in.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";

let app: TestApp;
let clock: FakeClock;
beforeEach(async () => {
  // better-auth stamps sessions with the real time.
  clock = fakeClock(Date.now());
  app = await createTestApp({ ctx: { clock } });
});
afterEach(() => app.close());

const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const login = (email: string, password: string, headers: Record<string, string> = {}) =>
  app.request("POST", "/login", { as: "anonymous", form: { email, password, next: "/" }, headers });
const cookieOf = (answer: Response) => {
  const set = answer.headers
    .getSetCookie()
    .find((each) => each.startsWith("ftl-session") || each.startsWith("__Host-"));
  if (!set) throw new Error(`no session cookie in an answer ${answer.status}`);
  return { cookie: set.split(";")[0] ?? "", set };
};
const signedIn = async (email: string) => cookieOf(await login(email, PASSWORD)).cookie;
const me = (headers: Record<string, string>) => app.request("GET", "/v1/me", { as: "anonymous", headers });

describe("signing in", () => {
  test("a form gives a cookie that opens the API as the same person as their key", async () => {
    const answer = await login(app.emails.admin, PASSWORD);
    expect(answer.status).toBe(303);
    expect(answer.headers.get("location")).toBe("/");
    const { cookie, set } = cookieOf(answer);
    expect(set).toMatch(/HttpOnly/);
    expect(set).toMatch(/SameSite=Lax/);
    const bySession = (await (await me({ cookie })).json()) as Record<string, unknown>;
    const byKey = await app.json("GET", "/v1/me");
    expect(bySession).toEqual({ ...byKey, via: "session" });
  });

  test("under https the cookie is Secure and bound to the host", async () => {
    const secure = await createTestApp({ config: { public_url: "https://lab.example.test" } });
    const answer = await secure.request("POST", "/login", {
      as: "anonymous",
      form: { email: secure.emails.admin, password: PASSWORD },
      headers: { host: "lab.example.test", origin: "https://lab.example.test" },
    });
    const { set } = cookieOf(answer);
    expect(set).toStartWith("__Host-");
    expect(set).toMatch(/; Secure/);
    expect(answer.headers.get("strict-transport-security")).toContain("max-age=");
    await secure.close();
  });

  test("an unknown address and a wrong password, also of a suspended account, get the same answer", async () => {
    await app.json("POST", `/v1/admin/users/${app.users.member}`, { body: { disabled: true } });
    const texts = new Set<string>();
    for (const [email, password] of [
      ["nobody@example.test", PASSWORD],
      [app.emails.admin, "wrong password here"],
      [app.emails.member, "wrong password here"],
    ] as const) {
      const answer = await login(email, password);
      expect(answer.status).toBe(401);
      expect(answer.headers.getSetCookie()).toEqual([]);
      texts.add((await answer.text()).replaceAll(email, ""));
    }
    expect(texts.size).toBe(1);
  });

  test("guessing is stopped after a few attempts, and time heals it", async () => {
    for (let i = 0; i < 8; i++) expect((await login(app.emails.admin, `guess number ${i}`)).status).toBe(401);
    const stopped = await login(app.emails.admin, PASSWORD);
    expect(stopped.status).toBe(429);
    expect(Number(stopped.headers.get("retry-after"))).toBeGreaterThan(60);
    clock.advance(16 * 60_000);
    expect((await login(app.emails.admin, PASSWORD)).status).toBe(303);
  });

  test("parallel sign-ins never hash more than two passwords at once, and a crowd is sent away", async () => {
    const answers = await Promise.all(
      Array.from({ length: 90 }, (_, i) => login(`crowd-${i}@example.test`, "some password")),
    );
    const statuses = new Set(answers.map((answer) => answer.status));
    expect(hashingLoad(app.ctx).peak).toBeLessThanOrEqual(2);
    expect(hashingLoad(app.ctx)).toMatchObject({ running: 0, waiting: 0 });
    expect([...statuses].sort()).toEqual([401, 429]);
    // Those who were sent away did not guess: only checked passwords count against the network.
    const checked = answers.filter((answer) => answer.status === 401).length;
    const [counted] = await app.ctx.db.select({ most: max(failedAttempt.failures) }).from(failedAttempt);
    expect(counted?.most).toBe(checked);
  }, 30_000);

  test("next never leads to another site", async () => {
    for (const next of ["https://evil.test", "//evil.test", "/\\evil.test", "javascript:alert(1)"]) {
      const answer = await app.request("POST", "/login", {
        as: "anonymous",
        form: { email: app.emails.admin, password: PASSWORD, next },
      });
      expect(answer.headers.get("location")).toBe("/");
    }
  });

  test("many sign-ins beside many writes neither fail nor stall: one writer queue", async () => {
    const started = performance.now();
    const work = [
      ...Array.from({ length: 6 }, () => login(app.emails.member, PASSWORD)),
      ...Array.from({ length: 40 }, (_, i) => app.request("POST", "/v1/keys", { body: { name: `key ${i}` } })),
    ];
    const statuses = (await Promise.all(work)).map((answer) => answer.status);
    expect(new Set(statuses)).toEqual(new Set([303, 200]));
    expect(performance.now() - started).toBeLessThan(5000);
  }, 60_000);
});

describe("sessions", () => {
  test("signing out ends the session at once, also for copies of the cookie", async () => {
    const cookie = await signedIn(app.emails.admin);
    expect((await me({ cookie })).status).toBe(200);
    const out = await app.request("POST", "/logout", { headers: { cookie } });
    expect(out.headers.getSetCookie()[0]).toContain("Max-Age=0");
    expect((await me({ cookie })).status).toBe(401);
  });

  test("a cookie with another token, another signature or none is nobody's", async () => {
    const cookie = await signedIn(app.emails.admin);
    const [name, value = ""] = cookie.split("=");
    const [token, signature = ""] = decodeURIComponent(value).split(".");
    for (const forged of [
      `x${token}.${signature}`,
      `${token}.${btoa("not the signature")}`,
      `${token}`,
      `${token}.`,
      "%zz",
      "",
    ])
      expect((await me({ cookie: `${name}=${encodeURIComponent(forged)}` })).status).toBe(401);
    expect((await me({ cookie })).status).toBe(200);
  });

  test("a session ends after its time", async () => {
    const cookie = await signedIn(app.emails.member);
    clock.advance(400 * 86_400_000);
    expect((await me({ cookie })).status).toBe(401);
  });

  test("a session ends without requests, and after its longest life in any case", async () => {
    const own = await createTestApp({ config: { session_idle_hours: 2, session_days: 1 }, ctx: { clock } });
    const enter = async () => {
      const form = { email: own.emails.admin, password: PASSWORD };
      return cookieOf(await own.request("POST", "/login", { as: "anonymous", form })).cookie;
    };
    const after = async (cookie: string, minutes: number) => {
      clock.advance(minutes * 60_000);
      const { status } = await own.request("GET", "/v1/me", { as: "anonymous", headers: { cookie } });
      // The time of use is written after the answer.
      await own.ctx.write(() => Promise.resolve());
      return status;
    };
    const busy = await enter();
    const idle = await enter();
    const statuses: number[] = [];
    for (let hour = 0; hour < 16; hour++) statuses.push(await after(busy, 95));
    expect(statuses).toEqual([...Array(15).fill(200), 401]);
    expect(await after(idle, 0)).toBe(401);
    const [user] = (await own.json<{ data: { sessions: number }[] }>("GET", "/v1/admin/users?limit=1")).data;
    expect(user?.sessions).toBe(0);
    await own.close();
  });

  test("disabling a user stops keys and sessions at once; enabling brings the keys back", async () => {
    const cookie = await signedIn(app.emails.member);
    const bearer = { authorization: `Bearer ${app.keys.member}` };
    expect([(await me({ cookie })).status, (await me(bearer)).status]).toEqual([200, 200]);
    await app.json("POST", `/v1/admin/users/${app.users.member}`, { body: { disabled: true } });
    expect([(await me({ cookie })).status, (await me(bearer)).status]).toEqual([401, 403]);
    await app.json("POST", `/v1/admin/users/${app.users.member}`, { body: { disabled: false } });
    expect([(await me({ cookie })).status, (await me(bearer)).status]).toEqual([401, 200]);
  });

  test("a role that was taken away is gone with the next request", async () => {
    await app.json("POST", `/v1/admin/users/${app.users.otherAdmin}`, { body: { role: "member" } });
    expect((await app.request("GET", "/v1/admin/users", { as: "otherAdmin" })).status).toBe(403);
  });

  test("the last administrator cannot be removed", async () => {
    await app.json("POST", `/v1/admin/users/${app.users.otherAdmin}`, { body: { role: "member" } });
    for (const body of [{ role: "member" }, { disabled: true }]) {
      const answer = await app.request("POST", `/v1/admin/users/${app.users.admin}`, { body });
      expect(answer.status).toBe(409);
      expect(await codeOf(answer)).toBe("last_admin");
    }
  });
});

describe("the first administrator", () => {
  async function empty() {
    const dir = mkdtempSync(join(tmpdir(), "ftl-first-"));
    const ctx = await createCtx(loadConfig({ data_dir: dir }, {}), { log: () => {}, clock });
    const http = createApp(ctx);
    const send = (method: string, path: string, form?: Record<string, string>) =>
      http.handle(
        new Request(`http://localhost${path}`, {
          method,
          headers: { origin: "http://localhost" },
          body: form && new URLSearchParams(form),
        }),
      );
    const close = async () => {
      await ctx.close();
      rmSync(dir, { recursive: true, force: true });
    };
    return { ctx, send, close };
  }
  const form = { email: "first@example.test", password: "a phrase nobody guesses", name: "First" };

  test("the link works once, signs in, and is refused afterwards", async () => {
    const lab = await empty();
    const token = (await createSetupToken(lab.ctx)) ?? "";
    expect((await lab.send("GET", `/setup?token=${token}`)).status).toBe(200);
    expect((await lab.send("POST", "/setup", { ...form, token, password: "short" })).status).toBe(400);
    const done = await lab.send("POST", "/setup", { ...form, token });
    expect(done.status).toBe(303);
    cookieOf(done);
    for (const again of [
      await lab.send("GET", `/setup?token=${token}`),
      await lab.send("POST", "/setup", { ...form, email: "second@example.test", token }),
    ])
      expect(again.status).toBe(410);
    expect(await createSetupToken(lab.ctx)).toBeNull();
    await lab.close();
  });

  test("a wrong, an old and an expired link are refused", async () => {
    const lab = await empty();
    const old = (await createSetupToken(lab.ctx)) ?? "";
    const token = (await createSetupToken(lab.ctx)) ?? "";
    for (const wrong of ["", "x", old])
      expect((await lab.send("POST", "/setup", { ...form, token: wrong })).status).toBe(410);
    clock.advance(25 * 3_600_000);
    expect((await lab.send("POST", "/setup", { ...form, token })).status).toBe(410);
    await lab.close();
  });

  test("two at the same time make one administrator", async () => {
    const lab = await empty();
    const token = (await createSetupToken(lab.ctx)) ?? "";
    const both = await Promise.all(
      ["one", "two"].map((name) => lab.send("POST", "/setup", { ...form, email: `${name}@example.test`, token })),
    );
    expect(both.map((answer) => answer.status).sort()).toEqual([303, 410]);
    await lab.close();
  });
});

describe("invitations", () => {
  test("an invited person chooses a password and is in, with the invited address and role", async () => {
    const made = await app.json<{ path: string }>("POST", "/v1/admin/users", { body: { email: "New@Example.test" } });
    const token = made.path.split("=")[1] ?? "";
    const page = await app.request("GET", made.path, { as: "anonymous" });
    expect(await page.text()).toContain("new@example.test");
    const form = { token, email: "someone-else@example.test", name: "New", password: "a phrase nobody guesses" };
    const done = await app.request("POST", "/invite", { as: "anonymous", form });
    expect(done.status).toBe(303);
    const found = (await (await me({ cookie: cookieOf(done).cookie })).json()) as Record<string, unknown>;
    expect(found).toMatchObject({ email: "new@example.test", role: "member", organization: app.orgs.a });
    expect((await app.request("POST", "/invite", { as: "anonymous", form })).status).toBe(410);
  });

  test("an old, a replaced and an invented invitation are refused", async () => {
    const invite = () => createInvitation(app.ctx, app.actor("admin"), { email: "late@example.test", role: "member" });
    const first = await invite();
    const second = await invite();
    const accept = (token: string) =>
      app.request("POST", "/invite", { as: "anonymous", form: { token, password: "a phrase nobody guesses" } });
    expect((await accept(first.token)).status).toBe(410);
    expect((await accept("invented")).status).toBe(410);
    clock.advance(8 * 86_400_000);
    expect((await accept(second.token)).status).toBe(410);
  });

  test("nobody signs up without an invitation unless the configuration says so", async () => {
    const form = { email: "walk-in@example.test", name: "W", password: "a phrase nobody guesses" };
    expect((await app.request("POST", "/invite", { as: "anonymous", form })).status).toBe(410);
  });

  test("signing up verifies no address, says nothing about others' accounts, and is limited", async () => {
    const open = await createTestApp({ config: { open_sign_up: true }, ctx: { clock } });
    const signUp = (email: string, password = "a phrase nobody guesses") =>
      open.request("POST", "/invite", { as: "anonymous", form: { email, name: "W", password } });
    const seen = async (answer: Response) => ({
      status: answer.status,
      location: answer.headers.get("location"),
      cookies: answer.headers.getSetCookie(),
      text: await answer.text(),
    });
    const created = await seen(await signUp("walk-in@example.test"));
    expect(created).toEqual({ status: 303, location: "/login?created=1", cookies: [], text: "" });
    expect(await seen(await signUp(open.emails.admin))).toEqual(created);

    const enter = (email: string, password: string) =>
      open.request("POST", "/login", { as: "anonymous", form: { email, password } });
    const { cookie } = cookieOf(await enter("walk-in@example.test", "a phrase nobody guesses"));
    const actor = await open.json<{ id: string; organization: string; role: string }>("GET", "/v1/me", {
      as: "anonymous",
      headers: { cookie },
    });
    expect(actor.role).toBe("member");
    expect([open.orgs.a, open.orgs.b]).not.toContain(actor.organization);
    const [row] = await open.ctx.db.select().from(user).where(eq(user.id, actor.id));
    expect(row?.emailVerified).toBe(false);
    expect((await enter(open.emails.admin, "a phrase nobody guesses")).status).toBe(401);
    expect((await enter(open.emails.admin, PASSWORD)).status).toBe(303);

    const statuses: number[] = [];
    for (let n = 0; n < 7; n++) statuses.push((await signUp(`crowd-${n}@example.test`)).status);
    expect(statuses).toEqual([...Array(6).fill(303), 429]);
    await open.close();
  });

  test.each([
    ["short", "four-teen-char", /at least 15 characters/],
    ["too long", "x1".repeat(129), /at most 256 characters/],
    ["well known", "1qaz2wsx3edc4rfv", /among the first/],
    ["well known with an ending", "iloveyou-2024-2025!", /among the first/],
    ["well known with other signs", "P@ssw0rd12345678", /among the first/],
    ["one run repeated", "abababababababab", /among the first/],
    ["their own address", "weak@example.test", /mostly the name/],
    ["their own name", "Grace.Hopper.1906", /mostly the name/],
    ["the name of the product", "Finetune-Lab-2026!", /mostly the name/],
    ["the name of the organization", "Alpha-Alpha-2026", /mostly the name/],
  ])("a password that is %s is refused with the reason", async (_what, password, reason) => {
    const { token } = await createInvitation(app.ctx, app.actor("admin"), {
      email: "weak@example.test",
      role: "member",
    });
    const answer = await app.request("POST", "/invite", {
      as: "anonymous",
      form: { token, password, name: "Grace Hopper" },
    });
    expect(answer.status).toBe(400);
    expect(await answer.text()).toMatch(reason);
  });

  test("the list of well-known passwords has more than 3,000 that are long enough for the shortest minimum", async () => {
    const { dictionary } = await import("@zxcvbn-ts/language-common");
    const long = dictionary["passwords-common"].map(String).filter((each) => each.length >= 8);
    expect(long.length).toBeGreaterThan(3000);
    for (const each of [long[0], long[2999], long.at(-1), "summer2026!", "letmein!", "87654321"])
      expect(await isCommonPassword(app.ctx, each ?? "")).toBe(true);
    for (const each of ["river-otter-plays-chess", "alpha centauri trip", "PASSWORD of a quiet sea"])
      expect(await isCommonPassword(app.ctx, each)).toBe(false);
  });
});
