/** The audit log: a row with every change, none without one, and a chain that shows every later change. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { audit, verifyAudit } from "../../src/accounts/audit/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";

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
