/** Random schedules of attempts with a fast clock and crashes: each leaves one correct set of intervals. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { meterRunning } from "../../src/training/attempts/meter.ts";
import { isOurs } from "../../src/training/jobs/failures.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Launched, metered } from "../support/attempt-metering.ts";
import { fakeClock } from "../support/clock.ts";

const clock = fakeClock(Date.UTC(2026, 10, 30, 22));
let t: TestApp;
/** What kills the transaction under way, as a crash does; null = nothing. */
let crashes: (() => boolean) | null = null;
const { violations, launched, phase, saved, fail, finish, moveTo, sumOf } = metered(() => t, clock);

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
