/** Metering with a fast clock and the real transitions: what is cut, free, lost, and charged. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { deployment } from "../../src/db/schema/deployments.ts";
import { gpuAllocation, hostSample } from "../../src/db/schema/hosts.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { meterRunning } from "../../src/training/attempts/meter.ts";
import { finishJob, jobIn } from "../../src/training/jobs/transitions.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { metered } from "../support/attempt-metering.ts";
import { fakeClock } from "../support/clock.ts";

const HOUR = 3_600_000;
const clock = fakeClock(Date.UTC(2026, 10, 30, 22));
let t: TestApp;
const { violations, launched, phase, progress, saved, fail, finish, rowsOf, sumOf } = metered(() => t, clock);

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
});
afterAll(() => t.close());

describe("an attempt", () => {
  test("is metered while it runs: cut at hours and where charging begins, with start-up and memory test free", async () => {
    const of = await launched({ price: 7.2 });
    for (const [seconds, next] of [
      [60, "loading_model"],
      [60, "canary"],
      [30, "training"],
    ] as const) {
      clock.advance(seconds * 1000);
      await phase(of, next);
    }
    clock.advance(HOUR);
    await progress(of, 5000);
    await meterRunning(t.ctx);
    const gpu = await rowsOf(of, "gpu_seconds");
    expect(gpu.map(({ ms, quantity, free }) => [ms / 1000, quantity, free])).toEqual([
      [60, 120, "start_up"],
      [60, 120, "start_up"],
      [30, 60, "memory_test"],
      [3450, 6900, null],
      [150, 300, null],
    ]);
    // 3600 s of 2 GPUs are charged at what the provider takes: it takes 7.20 USD an hour for both.
    expect(await sumOf(of.id, "gpu_seconds")).toEqual({ all: 7500, free: 300, micros: 7_200_000 });
    expect((await sumOf(of.id, "training_tokens")).all).toBe(5000);
    const view = await t.json<{ usage: Record<string, number> }>("GET", `/v1/jobs/${of.id}`);
    // One core at 10 W; no GPU of this host reports its power.
    const kwh = (10 * 3750) / 3_600_000;
    expect(view.usage).toEqual({
      seconds: 3750,
      captured_seconds: 3600,
      free_seconds: 150,
      discarded_seconds: 0,
      tokens: 5000,
      cost_usd: 7.2,
      discarded_usd: 0,
      energy_kwh: kwh,
      carbon_g: kwh * 400,
    });
    await finish(of);
    expect(await violations()).toEqual([]);
  });

  test("that we lose is charged to its last checkpoint, and its tokens are charged once when they are trained again", async () => {
    const of = await launched({ gpus: 1, price: 3.6 });
    await phase(of, "training");
    clock.advance(600_000);
    await progress(of, 1000);
    await saved(of);
    clock.advance(300_000);
    await progress(of, 1500);
    await fail(of, "lost");
    expect((await sumOf(of.id, "gpu_seconds")).all).toBe(600);
    expect((await sumOf(of.id, "gpu_seconds")).micros).toBe(600_000);
    const view = await t.json<{ usage: Record<string, number> }>("GET", `/v1/jobs/${of.id}`);
    expect(view.usage).toMatchObject({ captured_seconds: 600, discarded_seconds: 300, discarded_usd: 0.3 });
    const again = await launched({ gpus: 1, price: 3.6, id: of.id });
    await phase(again, "training");
    clock.advance(300_000);
    await progress(again, 1500);
    await finish(again);
    expect((await sumOf(of.id, "training_tokens")).all).toBe(1500);
    expect((await sumOf(of.id, "gpu_seconds")).micros).toBe(900_000);
    const page = await (await t.request("GET", `/jobs/${of.id}`, { headers: { accept: "text/html" } })).text();
    for (const words of ["15 min", "5 min", "Discarded"]) expect(page).toContain(words);
    expect(await violations()).toEqual([]);
  });

  test("that its user's settings end is charged whole", async () => {
    const of = await launched({ gpus: 1, price: 3.6 });
    await phase(of, "training");
    clock.advance(600_000);
    await fail(of, "out_of_memory");
    expect(await sumOf(of.id, "gpu_seconds")).toEqual({ all: 600, free: 0, micros: 600_000 });
  });

  test("counts every whole second once, however often it is cut, and no time that only the machine's clock made", async () => {
    const of = await launched({ gpus: 1 });
    await phase(of, "training");
    for (let n = 0; n < 40; n++) {
      clock.advance(1300);
      await meterRunning(t.ctx, true);
    }
    // The clock is set two days forward: the times of open attempts move with it.
    clock.advance(48 * HOUR);
    await t.ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ startedAt: sql`${attempt.startedAt} + ${48 * HOUR}` })
        .where(eq(attempt.id, of.attemptId)),
    );
    clock.advance(8000);
    await finish(of);
    expect((await sumOf(of.id, "gpu_seconds")).all).toBe(60);
    expect(await violations()).toEqual([]);
  });

  test("has the energy of its GPUs as sampled, a shared one divided among its work, and an estimate for its core", async () => {
    const of = await launched({ gpus: 2 });
    await phase(of, "training");
    const at = clock.now();
    await t.ctx.write(async (tx) => {
      for (const [source, powers] of [
        ["GPU-one", [280, 320]],
        ["GPU-two", [500]],
      ] as const)
        for (const [n, powerW] of powers.entries())
          await tx.insert(hostSample).values({ source, at: at + n * 1000, powerW });
      for (const [gpuUuid, share, attemptId] of [
        ["GPU-one", 0, of.attemptId],
        ["GPU-two", 0, of.attemptId],
        ["GPU-two", 1, "att_other"],
      ] as const)
        await tx.insert(gpuAllocation).values({ gpuUuid, share, attemptId, jobId: of.id, createdAt: at });
    });
    clock.advance(600_000);
    await finish(of);
    expect((await sumOf(of.id, "joules")).all).toBe((300 + 500 / 2 + 10) * 600);
  });

  test("of an engine has seconds for each of its endpoints while it is ready, and its GPU once", async () => {
    const of = await launched({ gpus: 1, kind: "serve" });
    const add = (id: string) =>
      t.ctx.write((tx) =>
        tx.insert(deployment).values({
          id,
          org: t.orgs.a,
          name: id,
          model: `ft:${id}`,
          baseModelId: "tiny",
          wanted: "running",
          state: "ready",
          jobId: of.id,
          createdBy: t.users.admin,
          createdAt: clock.now(),
        }),
      );
    await phase(of, "serving");
    await add("dep_one");
    clock.advance(600_000);
    await meterRunning(t.ctx, true);
    await add("dep_two");
    clock.advance(300_000);
    await t.ctx.write(async (tx) => {
      const row = await jobIn(tx, of.id);
      if (row) await finishJob(tx, t.ctx, row, { state: "failed" });
    });
    const endpoints = await t.ctx.db.all<{ id: string; model: string; seconds: number }>(
      sql`select deployment_id as id, model, sum(quantity) as seconds from meter_interval
        where job_id = ${of.id} and meter = 'endpoint_seconds' group by 1, 2 order by 1`,
    );
    expect(endpoints).toEqual([
      { id: "dep_one", model: "ft:dep_one", seconds: 900 },
      { id: "dep_two", model: "ft:dep_two", seconds: 300 },
    ]);
    expect((await sumOf(of.id, "gpu_seconds")).all).toBe(900);
    expect(await violations()).toEqual([]);
  });
});
