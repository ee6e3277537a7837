/** The limit of the time in the queue, on a machine whose clock may be set. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { job } from "../../src/db/schema/jobs.ts";
import { expireQueued, type SupervisorState } from "../../src/training/attempts/supervise.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { HOUR, insertAll, jobRow } from "../support/seed-rows.ts";

let clock: FakeClock;
let t: TestApp;

beforeAll(async () => {
  clock = fakeClock();
  t = await createTestApp({ ctx: { clock } });
  await insertAll(t.ctx, job, [jobRow(t.actor("member"), clock.now(), 0, "queued")]);
});
afterAll(() => t.close());

test("a job over its limit fails at the second look, and a clock that was set back in between forgets the first", async () => {
  const supervisor: SupervisorState = {
    startedAt: clock.now(),
    launching: new Set(),
    goneSince: new Map(),
    late: new Set(),
    lateQueued: new Set(),
    askAgainAt: new Map(),
    orphanSince: new Map(),
  };
  const look = async () => {
    await expireQueued(t.ctx, supervisor);
    const [row] = await t.ctx.db.select({ state: job.state }).from(job);
    return row?.state;
  };
  const seen = [await look()];
  for (const hours of [48, -48, 48, 0]) {
    clock.advance(hours * HOUR);
    seen.push(await look());
  }
  expect(seen).toEqual(["queued", "queued", "queued", "queued", "failed"]);
});
