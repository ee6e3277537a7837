/**
 * The machine's clock jumps while jobs run, or while the server is down: nobody is given up for it, and nobody is
 * billed for it.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { join } from "node:path";
import { steadyClock, systemClock } from "../../src/lib/clock.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";
import { readFrom, type Watched } from "./support/bench.ts";
import { processHands } from "./support/hands.ts";
import { row } from "./support/row.ts";

const HOUR = 3_600_000;
let lab: Lab;
let watched: Watched;
let offset = 0;

/** The clock of a server that starts now. */
const startClock = () => {
  lab.ctx.clock = steadyClock({ ...systemClock, now: () => Date.now() + offset });
};

beforeAll(async () => {
  lab = await createLab({ sweepMs: 500 });
  startClock();
  watched = {
    dir: lab.dir,
    hands: processHands(lab.dir),
    acknowledged: [],
    rows: (sql, args) => readFrom(join(lab.dir, "lab.db"), sql, args),
  };
}, 60_000);
afterAll(() => lab?.close(), 60_000);

const step = async (id: string) => ((await lab.job(id)).progress as { step?: number }).step ?? 0;
const atStep = (id: string, n: number) => until(`step ${n}`, async () => (await step(id)) >= n, 30_000, 10);

async function billed(id: string): Promise<number> {
  const lines = await watched.rows<{ ms: number }>(
    "SELECT sum(to_ms - from_ms) ms FROM meter_interval WHERE job_id = ? AND meter = 'cpu_seconds'",
    [id],
  );
  return Number(lines[0]?.ms);
}

const jumps: [string, string, number][] = [
  ["23", "two days forward", 48 * HOUR],
  ["23b", "one hour back", -HOUR],
];

describe("the clock jumps", () => {
  for (const [number, words, by] of jumps)
    row(
      { row: number, fault: `${words} while a job runs`, expected: "one attempt, billed for the time that passed" },
      () => watched,
      async () => {
        const from = performance.now();
        const id = await lab.train("talk-jump", { max_steps: 60 });
        await atStep(id, 5);
        offset += by;
        await lab.reached(id, "succeeded");
        const real = performance.now() - from;
        const attempts = await lab.attempts(id);
        if (attempts.length !== 1) throw new Error(`${attempts.length} attempts`);
        const ms = await billed(id);
        if (ms < 0 || ms > real + 1000) throw new Error(`billed ${ms} ms of ${Math.round(real)}`);
        return {
          times: 1,
          seen: `one attempt; billed ${(ms / 1000).toFixed(1)} s of ${(real / 1000).toFixed(1)} s that passed`,
        };
      },
    );

  for (const [number, words, by] of jumps)
    row(
      {
        row: `${number === "23" ? "23c" : "23d"}`,
        fault: `${words} while the server is down`,
        expected: "one attempt, billed for the time that passed",
      },
      () => watched,
      async () => {
        const from = performance.now();
        const id = await lab.train("talk-jump", { max_steps: 60 });
        await atStep(id, 5);
        await lab.goAway();
        offset += by;
        startClock();
        lab.comeBack();
        await lab.reached(id, "succeeded");
        const real = performance.now() - from;
        const attempts = await lab.attempts(id);
        if (attempts.length !== 1) throw new Error(`${attempts.length} attempts`);
        const ms = await billed(id);
        if (ms < 0 || ms > real + 1000) throw new Error(`billed ${ms} ms of ${Math.round(real)}`);
        return {
          times: 1,
          seen: `one attempt; billed ${(ms / 1000).toFixed(1)} s of ${(real / 1000).toFixed(1)} s that passed`,
        };
      },
    );

  row(
    {
      row: "23f",
      fault: "two days forward, and a cancel before the queue notices",
      expected: "the cancel is carried out at once; billed for the time that passed",
    },
    () => watched,
    async () => {
      const from = performance.now();
      const id = await lab.train("talk-jump", { max_steps: 600 });
      await atStep(id, 5);
      await lab.goAway();
      offset += 48 * HOUR;
      await lab.json("POST", `/v1/jobs/${id}/cancel`);
      lab.comeBack();
      await lab.reached(id, "cancelled");
      const real = performance.now() - from;
      const ms = await billed(id);
      if (ms > real + 1000) throw new Error(`billed ${ms} ms of ${Math.round(real)}`);
      return { times: 1, seen: `canceled; billed ${(ms / 1000).toFixed(1)} s of ${(real / 1000).toFixed(1)} s` };
    },
  );

  row(
    {
      row: "23e",
      fault: "one hour back while a job waits in the queue after a failure",
      expected: "it does not wait for an hour",
    },
    () => watched,
    async () => {
      const id = await lab.train("crash.3-once", { max_steps: 10 });
      await until("the first attempt to end", async () => (await lab.attempts(id))[0]?.state === "ended");
      await Bun.sleep(300); // the queue has looked at it, and planned its next look
      offset -= HOUR;
      const from = performance.now();
      await lab.reached(id, "succeeded");
      return {
        times: 1,
        seen: `the second attempt was through ${((performance.now() - from) / 1000).toFixed(1)} s later`,
      };
    },
  );
});
