/** The audit log: a row with every change, none without one, and a chain that shows every later change. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { noteRefusal } from "../../src/accounts/audit/refusals.ts";
import { pruneAudit } from "../../src/accounts/audit/retention.ts";
import { audit, verifyAudit } from "../../src/accounts/audit/service.ts";
import { runCommand } from "../../src/cli/admin-commands.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";

let app: TestApp;
beforeEach(async () => {
  app = await createTestApp();
  for (let i = 0; i < 5; i++) await app.json("POST", "/v1/keys", { body: { name: `key ${i}` } });
});
afterEach(() => app.close());

interface Row {
  id: string;
  action: string;
  actor: string;
  target: string;
  detail: Record<string, unknown>;
}
const list = (query = "", as: "admin" | "otherAdmin" = "admin") =>
  app.json<{ data: Row[]; has_more: boolean; last_id: string }>("GET", `/v1/admin/audit${query}`, { as });

test("a change names who, what and on what, and never holds a secret", async () => {
  const made = await app.json<{ id: string; key: string }>("POST", "/v1/keys", { body: { name: "audited" } });
  const [row] = (await list(`?target=${made.id}`)).data;
  expect(row).toMatchObject({ action: "key.create", actor: app.users.admin, target: made.id });
  expect(row?.detail).toMatchObject({ name: "audited", key: app.keyIds.admin });
  expect(JSON.stringify(row)).not.toContain(made.key);
});

test("a change that fails leaves no row", async () => {
  const before = await verifyAudit(app.ctx);
  const failing = app.ctx.write(async (tx) => {
    await audit(tx, app.ctx, app.actor("admin"), "test.fails", "nothing");
    throw new Error("rolled back");
  });
  await expect(failing).rejects.toThrow("rolled back");
  expect(await verifyAudit(app.ctx)).toEqual(before);
});

test("every organization reads its own rows, page by page", async () => {
  const seen: string[] = [];
  for (let after = ""; ; ) {
    const page = await list(`?limit=3${after && `&after=${after}`}`);
    seen.push(...page.data.map((row) => row.id));
    if (!page.has_more) break;
    after = page.last_id;
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.length).toBeGreaterThanOrEqual(5);
  const others = (await list("?limit=100", "otherAdmin")).data.map((row) => row.id);
  expect(others.filter((id) => seen.includes(id))).toEqual([]);
  const foreign = await app.request("GET", `/v1/admin/audit?after=${seen[0]}`, { as: "otherAdmin" });
  expect(foreign.status).toBe(404);
});

test("an untouched log is whole, also after many writers at once", async () => {
  await Promise.all(
    Array.from({ length: 60 }, (_, i) => app.json("POST", "/v1/keys", { body: { name: `parallel ${i}` } })),
  );
  const answer = await app.json<{ intact: boolean; rows: number }>("GET", "/v1/admin/audit/verify");
  expect(answer.intact).toBe(true);
  expect(answer.rows).toBeGreaterThanOrEqual(65);
});

test.each([
  ["a changed detail", sql`UPDATE audit_log SET detail = '{"name":"innocent"}' WHERE seq = 7`],
  ["another actor", sql`UPDATE audit_log SET actor = 'somebody' WHERE seq = 7`],
  ["a moved time", sql`UPDATE audit_log SET at = at + 1 WHERE seq = 7`],
  ["a row taken out of the middle", sql`DELETE FROM audit_log WHERE seq = 7`],
  ["the first row taken out", sql`DELETE FROM audit_log WHERE seq = 1`],
  ["the last rows cut off", sql`DELETE FROM audit_log WHERE seq > 10`],
])("%s is found", async (_what, tampering) => {
  expect((await verifyAudit(app.ctx)).brokenAt).toBeNull();
  await app.ctx.write((tx) => tx.run(tampering));
  const answer = await app.json<{ intact: boolean; broken_at: string }>("GET", "/v1/admin/audit/verify");
  expect(answer.intact).toBe(false);
  expect(answer.broken_at).toBeTruthy();
});

interface NamedRow extends Row {
  actor_email: string | null;
  target_name: string | null;
}
const named = async (query: string) => (await app.json<{ data: NamedRow[] }>("GET", `/v1/admin/audit${query}`)).data;
const signIn = (email: string, password: string) =>
  app.request("POST", "/login", { as: "anonymous", form: { email, password } });

test("entries name people and things, and filters choose them", async () => {
  await app.json("POST", "/v1/keys", { as: "member", body: { name: "of the member" } });
  const mine = await named(`?actor=${app.emails.member}`);
  expect(mine).toMatchObject([{ actor_email: app.emails.member, action: "key.create", target_name: "of the member" }]);
  expect((await named("?action=key.create")).map((row) => row.action)).toEqual(Array(8).fill("key.create"));
  expect((await named("?action=user.")).every((row) => row.action.startsWith("user."))).toBe(true);
  expect(await named("?action=user.&actor=nobody@example.test")).toEqual([]);
  const today = new Date(app.ctx.clock.now()).toISOString().slice(0, 10);
  const tomorrow = new Date(app.ctx.clock.now() + 86_400_000).toISOString().slice(0, 10);
  expect((await named(`?from=${today}&until=${today}`)).length).toBeGreaterThan(5);
  expect(await named(`?from=${tomorrow}`)).toEqual([]);
  expect((await app.request("GET", "/v1/admin/audit?from=2026-13-45")).status).toBe(400);
});

test("sign-ins that failed and sign-outs are recorded, without what was typed into the wrong field", async () => {
  await signIn(app.emails.member, "not-the-password");
  await signIn("my secret password", "not-the-password");
  const failed = await named("?action=session.fail");
  expect(failed.map((row) => row.detail)).toEqual([
    { address: "local", user_agent: "", reason: "unknown" },
    { address: "local", user_agent: "", reason: "password", email: app.emails.member },
  ]);
  expect(failed[1]?.target).toBe(app.users.member);

  const cookie = (await signIn(app.emails.member, PASSWORD)).headers.getSetCookie()[0]?.split(";")[0] ?? "";
  await app.request("POST", "/logout", { as: "anonymous", form: {}, headers: { cookie } });
  expect(await named("?action=session.end")).toMatchObject([{ actor: app.users.member, target: app.users.member }]);
});

test("failed sign-ins cannot flood the log: 100 entries in 15 minutes, then a count", async () => {
  for (let n = 0; n < 130; n++)
    await noteRefusal(app.ctx, {
      action: "session.fail",
      account: null,
      target: "none",
      source: { address: `10.0.0.${n}`, userAgent: "flood" },
      reason: "unknown",
    });
  const count = await app.ctx.db.all<{ n: number }>(
    sql`SELECT count(*) AS n FROM audit_log WHERE action = 'session.fail'`,
  );
  expect(count[0]?.n).toBe(100);
});

test("the export has every entry that matches, as CSV and as JSON lines", async () => {
  await app.json("POST", "/v1/keys", { body: { name: '=HYPERLINK("x"), a "name"' } });
  const csv = await app.request("GET", "/v1/admin/audit/export?action=key.create");
  expect(csv.headers.get("content-disposition")).toMatch(/^attachment; filename="audit-\d{4}-\d\d-\d\d\.csv"$/);
  const lines = (await csv.text()).trim().split("\r\n");
  const { data } = await list("?action=key.create&limit=100");
  expect(lines[0]).toBe("time,actor,actor_email,action,target,target_name,detail,id,hash");
  expect(lines.length).toBe(data.length + 1);
  expect(lines[1]).toContain(`,admin@example.test,key.create,`);
  expect(lines[1]).toContain(`"'=HYPERLINK(""x""), a ""name"""`);
  const jsonl = await (await app.request("GET", "/v1/admin/audit/export?format=jsonl&action=key.create")).text();
  expect(
    jsonl
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).id),
  ).toEqual(data.map((row) => row.id));
});

test("retention removes old entries, and verification says how many and still finds every other gap", async () => {
  const clock = fakeClock(Date.now());
  const lab = await createTestApp({ config: { audit_retention_days: 30 }, ctx: { clock } });
  try {
    const verify = () => lab.json<{ intact: boolean; rows: number; removed: number }>("GET", "/v1/admin/audit/verify");
    const before = await verify();
    expect(before).toMatchObject({ intact: true, removed: 0 });
    expect(await pruneAudit(lab.ctx)).toBe(0);
    clock.advance(31 * 86_400_000);
    await lab.json("POST", "/v1/keys", { body: { name: "young" } });
    expect(await pruneAudit(lab.ctx)).toBe(before.rows);
    expect(await verify()).toMatchObject({ intact: true, rows: 2, removed: before.rows });
    expect(await runCommand(lab.ctx, "audit.verify", {})).toEqual({ rows: 2, broken_at: null, removed: before.rows });
    const page = await (await lab.request("GET", "/admin/audit?verify=yes")).text();
    expect(page).toContain(`${before.rows} older entries were removed`);

    // Everything is old: the entry about the removal stays, and later ones follow from it.
    clock.advance(31 * 86_400_000);
    expect(await pruneAudit(lab.ctx)).toBe(2);
    await lab.json("POST", "/v1/keys", { body: { name: "later" } });
    expect(await verify()).toMatchObject({ intact: true, rows: 2, removed: before.rows + 2 });

    // The entry about the removal does not explain another one.
    await lab.json("POST", "/v1/keys", { body: { name: "last" } });
    await lab.ctx.write((tx) => tx.run(sql`delete from audit_log where seq = (select min(seq) from audit_log)`));
    expect(await verify()).toMatchObject({ intact: false });
  } finally {
    await lab.close();
  }
});
