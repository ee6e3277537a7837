/** Metering with a fast clock and the real transitions: every schedule leaves one correct set of intervals. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { verifyLedger } from "../../src/billing/ledger/verify.ts";
import type { TrainerEvent } from "../../src/contract/trainer.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { artifact } from "../../src/db/schema/models.ts";
import { newId } from "../../src/lib/ids.ts";
import { meterRunning } from "../../src/training/attempts/meter.ts";
import { applyTrainerEvents } from "../../src/training/attempts/trainer-events.ts";
import { isOurs } from "../../src/training/jobs/failures.ts";
import { attemptFailed, finishJob, jobIn, move, newestAttempt } from "../../src/training/jobs/transitions.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";
import { fakeClock } from "../support/clock.ts";

const HOUR = 3_600_000;
const clock = fakeClock(Date.UTC(2026, 10, 30, 22));
let t: TestApp;
/** What kills the transaction under way, as a crash does; null = nothing. */
let crashes: (() => boolean) | null = null;

beforeAll(async () => {
  t = await createTestApp({
    ctx: {
      clock,
      failPoint: (name) => {
        if (name === "meter.open" && crashes?.()) throw new Error("killed");
      },
    },
  });
});
afterAll(() => t.close());

const violations = async () =>
  (await verifyLedger(t.ctx.db)).flatMap(({ name, violations }) => violations.map((one) => `${name}: ${one}`));

interface Made {
  gpus?: number;
  price?: number;
  kind?: "train" | "serve";
  id?: string;
}

/** An attempt whose launch was just recorded; with an id, the next one of that job. */
async function launched({ gpus = 2, price = 0, kind = "train", id = newId("trainJob") }: Made = {}) {
  const now = clock.now();
  const attemptId = newId("attempt");
  await t.ctx.write(async (tx) => {
    const [before] = await tx.select().from(job).where(eq(job.id, id));
    const number = (before?.attempts ?? 0) + 1;
    const spec = { ...trainSpec(), kind } as ReturnType<typeof trainSpec>;
    if (before) await tx.update(job).set({ state: "starting", attempts: number }).where(eq(job.id, id));
    else
      await tx.insert(job).values({
        id,
        org: t.orgs.a,
        kind,
        name: "test",
        state: "starting",
        spec,
        request: {},
        metadata: {},
        progress: {},
        attempts: 1,
        createdBy: t.users.admin,
        createdAt: now,
        queuedAt: now,
      });
    const { phase: _phase, ...progress } = before?.progress ?? {};
    await tx.update(job).set({ progress }).where(eq(job.id, id));
    await tx.insert(attempt).values({
      id: attemptId,
      org: t.orgs.a,
      jobId: id,
      number,
      state: "starting",
      provider: "cloud",
      offer: {
        id: "o",
        location: "there",
        gpus,
        gpuName: "H100",
        gpuMemoryMb: 80_000,
        cpus: 8,
        memoryMb: 1000,
        pricePerHour: price,
        startsInS: 0,
        available: true,
      },
      tokenHash: attemptId,
      createdAt: now,
      startedAt: now,
    });
  });
  return { id, attemptId };
}
type Launched = Awaited<ReturnType<typeof launched>>;

const send = (of: Launched, ...events: object[]) =>
  t.ctx.write((tx) =>
    applyTrainerEvents(
      t.ctx,
      tx,
      { id: of.attemptId, jobId: of.id },
      events.map((event) => ({ seq: 1, at: clock.now(), ...event })) as TrainerEvent[],
    ),
  );
const phase = (of: Launched, name: string) => send(of, { type: "phase", phase: name, message: "" });
const progress = (of: Launched, tokens: number) =>
  send(of, { type: "progress", step: 1, total_steps: 10, fraction: 0.1, eta_s: null, tokens_seen: tokens });
const saved = (of: Launched) =>
  t.ctx.write((tx) =>
    tx.insert(artifact).values({
      id: newId("artifact"),
      org: t.orgs.a,
      jobId: of.id,
      attemptId: of.attemptId,
      kind: "checkpoint",
      step: 1,
      metrics: {},
      files: [],
      manifestHash: crypto.randomUUID(),
      bytes: 1,
      status: "complete",
      createdAt: clock.now(),
      completedAt: clock.now(),
    }),
  );
async function fail(of: Launched, reason: "lost" | "out_of_memory") {
  await t.ctx.write(async (tx) => {
    const row = await jobIn(tx, of.id);
    const which = await newestAttempt(tx, of.id);
    if (row && which) await attemptFailed(tx, t.ctx, row, which, { reason, message: reason, retry: true });
  });
}
const finish = (of: Launched) =>
  t.ctx.write(async (tx) => {
    const row = await jobIn(tx, of.id);
    if (row) await finishJob(tx, t.ctx, row, { state: "succeeded" });
  });
const moveTo = (of: Launched, state: "pausing" | "stopping") =>
  t.ctx.write(async (tx) => {
    const row = await jobIn(tx, of.id);
    if (row) await move(tx, t.ctx, row, state);
  });

interface Seen {
  meter: string;
  begins: number;
  ms: number;
  quantity: number;
  free: string | null;
  micros: number;
}
const rowsOf = (of: Launched, meter: string) =>
  t.ctx.db.all<Seen>(sql`select meter, cast(substr(source, length(attempt_id) + length(meter) + 3) as integer) as begins,
    to_ms - from_ms as ms, quantity, free_reason as free, micros from meter_interval
    where attempt_id = ${of.attemptId} and meter = ${meter} order by n`);
const sumOf = async (id: string, meter: string) => {
  const [row] = await t.ctx.db.all<{ all: number; free: number; micros: number }>(
    sql`select coalesce(sum(quantity), 0) as "all", coalesce(sum(free), 0) as free, coalesce(sum(micros), 0) as micros
      from meter_interval where job_id = ${id} and meter = ${meter}`,
  );
  return row ?? { all: 0, free: 0, micros: 0 };
};

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
    expect((await sumOf(of.id, "provider_micros")).all).toBe(7_500_000);
    expect((await sumOf(of.id, "training_tokens")).all).toBe(5000);
    const view = await t.json<{ usage: Record<string, number> }>("GET", `/v1/jobs/${of.id}`);
    expect(view.usage).toEqual({
      seconds: 3750,
      captured_seconds: 3600,
      free_seconds: 150,
      discarded_seconds: 0,
      tokens: 5000,
      cost_usd: 7.2,
      discarded_usd: 0,
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
    // The provider takes its price for lost work too.
    expect((await sumOf(of.id, "provider_micros")).all).toBe(900_000);
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

/** A small seeded generator: the same numbers in every run. */
function random(seed: number) {
  let state = seed * 7919 + 1;
  return (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
}

/** What should be charged, kept beside the ledger: seconds of work, and how much of it is safe. */
interface Book {
  charged: number;
  free: number;
  lost: number;
}

/** One job of random steps, with crashes in the middle of transactions. Times are whole seconds. */
async function schedule(pick: (below: number) => number): Promise<{ of: Launched; gpus: number; book: Book }> {
  const gpus = 1 + pick(4);
  let of = await launched({ gpus, price: pick(2) * 3.6 });
  const book: Book = { charged: 0, free: 0, lost: 0 };
  let now = { phase: "starting", worked: false, unsaved: 0 };
  /** Repeats what a crash ended, as the server does after its restart. */
  const surviving = async (what: () => Promise<unknown>) => {
    crashes = () => pick(3) === 0;
    for (let tries = 0; ; tries++) {
      if (tries === 4) crashes = null;
      const done = await what().then(
        () => true,
        (error: Error) => {
          if (error.message !== "killed") throw error;
          return false;
        },
      );
      if (done) break;
    }
    crashes = null;
  };
  for (let step = 0; step < 25; step++) {
    const seconds = pick(10) === 0 ? pick(12_000) : pick(300);
    clock.advance(seconds * 1000);
    const free = now.phase === "canary" || now.phase === "downloading" || !now.worked;
    if (free) book.free += seconds;
    else {
      book.charged += seconds;
      now.unsaved += seconds;
    }
    const next = pick(8);
    if (next < 2) {
      const name = ["loading_model", "canary", "training", "evaluating", "downloading"][pick(5)] ?? "training";
      await surviving(() => phase(of, name));
      now = { ...now, phase: name, worked: now.worked || name === "training" || name === "evaluating" };
    } else if (next === 2) {
      await saved(of);
      now.unsaved = 0;
    } else if (next < 6) await surviving(() => meterRunning(t.ctx, pick(2) === 0));
    else if (next === 6) await surviving(() => moveTo(of, "pausing").catch(() => {}));
    else {
      const reason = pick(2) ? ("lost" as const) : ("out_of_memory" as const);
      await surviving(() => fail(of, reason));
      if (isOurs(reason)) {
        book.charged -= now.unsaved;
        book.lost += now.unsaved;
      }
      clock.advance(pick(100) * 1000);
      of = await launched({ gpus, id: of.id });
      now = { phase: "starting", worked: false, unsaved: 0 };
    }
  }
  await surviving(() => finish(of));
  return { of, gpus, book };
}

describe("random schedules of starts, phases, checkpoints, crashes, failures and ends", () => {
  for (const seed of [1, 2, 3, 4, 5, 6])
    test(`leave intervals without holes that add up to what was charged, free and lost (seed ${seed})`, async () => {
      const pick = random(seed);
      for (let n = 0; n < 3; n++) {
        const { of, gpus, book } = await schedule(pick);
        const sums = await sumOf(of.id, "gpu_seconds");
        const [gross] = await t.ctx.db.all<{ lost: number }>(
          sql`select coalesce(-sum(quantity), 0) as lost from meter_interval
            where job_id = ${of.id} and meter = 'gpu_seconds' and reverses is not null`,
        );
        expect({ charged: sums.all - sums.free, free: sums.free, lost: gross?.lost }).toEqual({
          charged: book.charged * gpus,
          free: book.free * gpus,
          lost: book.lost * gpus,
        });
      }
      expect(await violations()).toEqual([]);
    }, 60_000);
});
