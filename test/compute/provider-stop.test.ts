/** Stop everything at a provider: its endpoints stop too, everybody concerned reads why, and it is audited. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { desc, eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import { reconcileOne } from "../../src/serving/deployments/step.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine } from "../support/engine.ts";
import { readyBase } from "../support/models.ts";
import { MACHINE } from "../support/plan-lab.ts";

let t: TestApp;
const WHY = "the account is under review";
const html = { headers: { accept: "text/html" } };

beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
});
afterAll(() => t.close());

/** An endpoint that answers at the only provider. */
async function endpoint(model: string) {
  const [own] = t.ctx.compute.list();
  const made = await deployEngine(t.ctx, { address: "http://127.0.0.1:9" }, { org: t.orgs.a, model });
  const id = newId("attempt");
  await t.ctx.write((tx) =>
    tx.insert(attempt).values({
      id,
      org: t.orgs.a,
      jobId: made.jobId,
      number: 1,
      state: "running",
      provider: own?.plugin.id ?? "",
      offer: MACHINE,
      tokenHash: id,
      createdAt: t.ctx.clock.now(),
      startedAt: t.ctx.clock.now(),
    }),
  );
  return made;
}

async function stepped(id: string) {
  const read = async () => (await t.ctx.db.select().from(deployment).where(eq(deployment.id, id)))[0];
  const row = await read();
  if (!row) throw new Error("no deployment");
  await reconcileOne(t.ctx, row, { hold: null, budget: null });
  return read();
}
const provider = () => t.ctx.compute.list()[0]?.plugin.id ?? "";
const stop = (body?: object, as: "admin" | "member" = "admin") =>
  t.request("POST", `/v1/admin/providers/${provider()}/stop`, { body, as });
const resume = () => t.json("POST", `/v1/admin/providers/${provider()}/resume`);
const newest = async (action: string) =>
  (await t.ctx.db.select().from(auditLog).where(eq(auditLog.action, action)).orderBy(desc(auditLog.seq)).limit(1))[0];

test("an endpoint there stops, stays wanted, and says who stopped it and why", async () => {
  const { id, jobId } = await endpoint("first");
  expect((await stop({ reason: WHY }, "member")).status).toBe(403);
  const answer = await stop({ reason: WHY });
  expect(await answer.json()).toMatchObject({ provider: provider(), stop_reason: WHY });
  expect(await newest("provider.stop")).toMatchObject({ target: provider(), detail: { reason: WHY } });
  expect(await stepped(id)).toMatchObject({ wanted: "running", state: "stopping", address: null });
  const [serving] = await t.ctx.db.select().from(job).where(eq(job.id, jobId));
  expect(serving?.state).toBe("stopping");
  const page = await (await t.request("GET", `/deployments/${id}`, html)).text();
  expect(page).toContain(`is stopped by an administrator: ${WHY}`);
  const providers = await (await t.request("GET", "/providers", html)).text();
  expect(providers).toContain(`: ${WHY}`);
  expect(providers).toContain("is stopped");
  // Its work is gone: it rests, and keeps the reason.
  await t.ctx.write(async (tx) => {
    await tx.update(job).set({ state: "cancelled" }).where(eq(job.id, jobId));
    await tx.update(attempt).set({ goneAt: t.ctx.clock.now() }).where(eq(attempt.jobId, jobId));
  });
  const rested = await stepped(id);
  expect(rested).toMatchObject({ jobId: null });
  expect(rested?.error).toContain(WHY);
  expect(await resume()).toMatchObject({ stopped_at: null, stop_reason: null });
});

test("without a reason, and with the form; one that is too long is refused by name", async () => {
  expect(await (await stop()).json()).toMatchObject({ stop_reason: null });
  expect((await newest("provider.stop"))?.detail).not.toHaveProperty("reason");
  const refused = await stop({ reason: "x".repeat(501) });
  expect([refused.status, ((await refused.json()) as { error: { param: string } }).error.param]).toEqual([
    400,
    "reason",
  ]);
  await resume();
  const form = { reason: WHY };
  expect((await t.request("POST", `/admin/providers/${provider()}/stop`, { form })).status).toBe(303);
  expect((await newest("provider.stop"))?.detail).toMatchObject({ reason: WHY });
  await resume();
});
