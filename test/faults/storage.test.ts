/**
 * The database is locked or held open by another program: writers wait or get an error, readers are not affected, and
 * the log of writes stays bounded.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/live.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { FULL, row } from "./support/row.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await startBench({ trainer: "scripted" });
}, 120_000);
afterAll(() => bench?.close(), 60_000);

/** Runs these statements on the database in another process and holds that state until `release`. */
async function holdFrom(statements: string[]): Promise<{ release(): Promise<void> }> {
  const code = `
    const { Database } = require("bun:sqlite");
    const database = new Database(process.argv[1]);
    database.run("PRAGMA busy_timeout = 5000");
    for (const statement of ${JSON.stringify(statements)}) database.query(statement).all();
    console.log("held");
    process.stdin.on("data", () => { try { database.run("ROLLBACK"); } finally { database.close(); process.exit(0); } });`;
  const child = Bun.spawn([process.execPath, "-e", code, join(bench.dir, "lab.db")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await child.stdout.getReader().read();
  if (!new TextDecoder().decode(value).includes("held")) throw new Error("the other program holds nothing");
  return {
    async release() {
      child.stdin.write("go\n");
      await child.stdin.end();
      await child.exited;
    },
  };
}

/** Asks again and again until stopped; the slowest answer in milliseconds. */
function probe(path: string): { stop(): Promise<{ slowest: number; asked: number }> } {
  let going = true;
  let slowest = 0;
  let asked = 0;
  const running = (async () => {
    while (going) {
      const from = performance.now();
      await bench.call("GET", path);
      slowest = Math.max(slowest, performance.now() - from);
      asked++;
      await Bun.sleep(30);
    }
  })();
  return {
    async stop() {
      going = false;
      await running;
      return { slowest: Math.round(slowest), asked };
    },
  };
}

describe("another process holds the database's write lock", () => {
  row(
    { row: "21", fault: "locked for 3 s", expected: "writes wait and succeed; reads continue" },
    () => bench,
    async () => {
      const id = await bench.train("talk-locked", { max_steps: 60 });
      await bench.atStep(id, 3);
      const times = FULL ? 5 : 1;
      let slowest = 0;
      let waited = 0;
      for (let n = 0; n < times; n++) {
        const held = await holdFrom(["BEGIN IMMEDIATE"]);
        const reads = probe("/v1/jobs?limit=5");
        const from = performance.now();
        const write = bench.writeSomething(`locked ${n}`);
        await Bun.sleep(3000);
        await held.release();
        await write;
        waited = Math.max(waited, performance.now() - from);
        slowest = Math.max(slowest, (await reads.stop()).slowest);
      }
      if (slowest > 1000) throw new Error(`a read took ${slowest} ms meanwhile`);
      await bench.reached(id, "succeeded");
      return {
        times,
        seen: `the write took ${(waited / 1000).toFixed(1)} s; slowest read meanwhile ${slowest} ms; the job's curve is whole`,
      };
    },
  );

  row(
    {
      row: "21b",
      fault: `locked for ${FULL ? 30 : 12} s`,
      expected: "writes get 503 in time; reads continue; recovers at once",
    },
    () => bench,
    async () => {
      const id = await bench.train("talk-locked", { max_steps: 60 });
      await bench.atStep(id, 3);
      const held = await holdFrom(["BEGIN IMMEDIATE"]);
      const reads = probe("/v1/jobs?limit=5");
      const end = performance.now() + (FULL ? 30_000 : 12_000);
      let refused = 0;
      let longest = 0;
      // Several at once: the last in line must not wait for all before it.
      while (performance.now() < end - 6000) {
        const from = performance.now();
        const answers = await Promise.all(
          Array.from({ length: 10 }, (_, n) =>
            fetch(`${bench.url}/v1/keys`, {
              method: "POST",
              headers: { authorization: `Bearer ${bench.key}`, "content-type": "application/json" },
              body: JSON.stringify({ name: `refused ${n}` }),
            }),
          ),
        );
        longest = Math.max(longest, performance.now() - from);
        for (const answer of answers) {
          const { error } = (await answer.json()) as { error?: { code: string } };
          if (answer.status !== 503 || error?.code !== "database_busy" || !answer.headers.get("retry-after"))
            throw new Error(`a write was answered ${answer.status} ${JSON.stringify(error)}`);
          refused++;
        }
      }
      await Bun.sleep(Math.max(0, end - performance.now()));
      const { slowest } = await reads.stop();
      await held.release();
      const from = performance.now();
      await bench.writeSomething("after the lock");
      const again = Math.round(performance.now() - from);
      if (slowest > 1000) throw new Error(`a read took ${slowest} ms meanwhile`);
      if (longest > 7000) throw new Error(`a write waited for ${Math.round(longest)} ms`);
      await bench.reached(id, "succeeded");
      return {
        times: 1,
        seen: `${refused} writes refused with 503, after ${(longest / 1000).toFixed(1)} s at most; slowest read ${slowest} ms; the first write afterwards took ${again} ms`,
      };
    },
  );

  row(
    {
      row: "22",
      fault: "another program reads for a long time during many writes",
      expected: "a warning in the log; the write-ahead log shrinks again",
    },
    () => bench,
    async () => {
      const wal = join(bench.dir, "lab.db-wal");
      const size = () => (existsSync(wal) ? Math.round(statSync(wal).size / 2 ** 20) : 0);
      const id = await bench.train("mute");
      const token = bench.hands.token(await bench.workOf(id));
      await until("the spec to be asked for", async () => {
        const asked = "SELECT 1 FROM attempt WHERE job_id = ? AND trim_step IS NOT NULL";
        return (await bench.rows(asked, [id])).length > 0;
      });
      const at = Date.now();
      let seq = 0;
      const text = "x".repeat(8000);
      const write = async (batches: number) => {
        for (let n = 0; n < batches; n++) {
          const events = Array.from({ length: 800 }, () => ({
            seq: ++seq,
            at,
            type: "log",
            level: "info",
            message: `${seq} ${text}`,
          }));
          const answer = await bench.asTrainer(token, "POST", "/events", { events });
          if (!answer.ok) throw new Error(`events were answered ${answer.status}`);
        }
      };
      await write(2);
      const before = size();
      const held = await holdFrom(["BEGIN", "SELECT count(*) FROM job"]);
      await write(14);
      const during = size();
      if (during < 64) throw new Error(`the write-ahead log has ${during} MiB only: the reader does not hold it`);
      await until("the alarm", async () => bench.log().includes("write-ahead log"), 45_000);
      await held.release();
      await write(3);
      const after = await until(
        "the log of writes to shrink",
        async () => (size() <= 64 ? { mib: size() } : null),
        45_000,
      );
      await write(6);
      const later = size();
      if (later > 64) throw new Error(`it grew to ${later} MiB again`);
      const last = [{ seq: seq + 1, at, type: "failed", reason: "internal", message: "enough", retry: false }];
      await bench.asTrainer(token, "POST", "/events", { events: last });
      return {
        times: 1,
        seen: `${before} MiB before, ${during} MiB with the reader (alarm), ${after.mib} MiB after it left, ${later} MiB later`,
      };
    },
  );
});
