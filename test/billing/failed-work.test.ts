/** Credits for failed work: who is at fault, and whether a checkpoint kept the work, decide. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { credit } from "../../src/db/schema/billing.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { artifact } from "../../src/db/schema/models.ts";
import { creditLostWork } from "../../src/training/jobs/lost-credits.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Launched, metered } from "../support/attempt-metering.ts";
import { item, setPrices } from "../support/billing.ts";
import { fakeClock } from "../support/clock.ts";
import { insertJob, serveSpec } from "../support/models.ts";

const HOUR = 3_600_000;
let t: TestApp;
const clock = fakeClock(Date.UTC(2026, 10, 15, 12));
const { launched, phase, saved, fail, finish, moveTo, send, violations } = metered(() => t, clock);

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  await setPrices(t, [{ ...item, meter: "gpu_seconds", unit_micros: 3_600_000 }]);
  await t.json("PATCH", "/v1/billing/settings", { body: { mode: "chargeback", credit_failed_work: true } });
});
afterAll(() => t.close());

/** Ten minutes of work for $0.60, a checkpoint, and five minutes after it. */
async function worked(again?: Launched): Promise<Launched> {
  const of = await launched({ gpus: 1, id: again?.id });
  await phase(of, "training");
  clock.advance(600_000);
  await saved(of);
  clock.advance(300_000);
  return of;
}
/** Its job is over, and what is credited is credited. @returns micro-dollars for the attempt; null = nothing */
async function creditOf({ attemptId }: Launched): Promise<number | null> {
  clock.advance(2 * HOUR);
  for (let n = 0; n < 2; n++) await creditLostWork(t.ctx);
  const rows = await t.ctx.db.select().from(credit).where(eq(credit.source, attemptId));
  expect(rows.length).toBeLessThan(2);
  expect(await violations()).toEqual([]);
  return rows[0] ? rows[0].micros : null;
}

test("our failure that ends a job is credited with what its checkpoint had cost, once and after an hour", async () => {
  const of = await worked();
  await fail(of, "bad_result");
  clock.advance(0.9 * HOUR);
  await creditLostWork(t.ctx);
  expect(await t.ctx.db.select().from(credit).where(eq(credit.source, of.attemptId))).toEqual([]);
  expect(await creditOf(of)).toBe(600_000);
});

test("work that a checkpoint kept and a later attempt resumed from is not credited", async () => {
  const of = await worked();
  await fail(of, "lost");
  const next = await worked(of);
  await finish(next);
  expect([await creditOf(of), await creditOf(next)]).toEqual([null, null]);
});

test("work of an attempt after which the next one began at step 0 is credited", async () => {
  const of = await worked();
  await fail(of, "gpu_lost");
  // Its checkpoint was damaged.
  await t.ctx.write((tx) => tx.update(artifact).set({ status: "deleted" }).where(eq(artifact.attemptId, of.attemptId)));
  const next = await worked(of);
  await finish(next);
  expect([await creditOf(of), await creditOf(next)]).toEqual([600_000, null]);
});

test.each(["out_of_memory", "bad_data", "diverged", "total_timeout"] as const)(
  "a failure by the user's data or settings is charged whole and not credited: %s",
  async (reason) => {
    const of = await worked();
    await fail(of, reason);
    expect(await creditOf(of)).toBeNull();
  },
);

test("nothing is credited while another attempt may follow, nor when the user cancels instead", async () => {
  const of = await worked();
  await fail(of, "lost");
  expect(await creditOf(of)).toBeNull();
  const next = await launched({ gpus: 1, id: of.id });
  await t.ctx.write((tx) => tx.update(attempt).set({ resumedFrom: null }).where(eq(attempt.id, next.attemptId)));
  await phase(next, "training");
  clock.advance(60_000);
  await moveTo(next, "stopping");
  await send(next, { type: "finished", outcome: "cancelled" });
  expect([await creditOf(of), await creditOf(next)]).toEqual([null, null]);
});

test("work whose checkpoint another job reads is not credited, and neither is an endpoint", async () => {
  const of = await worked();
  await fail(of, "bad_result");
  const [kept] = await t.ctx.db.select().from(artifact).where(eq(artifact.attemptId, of.attemptId));
  const spec = serveSpec("tiny", [{ name: "x", artifactId: kept?.id ?? "" }]);
  const reader = await insertJob(t.ctx, { org: t.orgs.a, kind: "serve", state: "running", spec });
  await t.ctx.write((tx) => tx.update(job).set({ createdAt: clock.now() }).where(eq(job.id, reader)));
  expect(await creditOf(of)).toBeNull();
  const endpoint = await launched({ gpus: 1, kind: "serve" });
  await phase(endpoint, "serving");
  clock.advance(600_000);
  await fail(endpoint, "bad_result");
  expect(await creditOf(endpoint)).toBeNull();
});

test("nothing is credited while the setting, or billing itself, is off", async () => {
  const of = await worked();
  await fail(of, "bad_result");
  const set = (body: object) => t.json("PATCH", "/v1/billing/settings", { body });
  await set({ credit_failed_work: false });
  expect(await creditOf(of)).toBeNull();
  await set({ mode: "off", credit_failed_work: true });
  expect(await creditOf(of)).toBeNull();
  await set({ mode: "chargeback" });
  expect(await creditOf(of)).toBe(600_000);
});
