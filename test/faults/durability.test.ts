/**
 * The same faults with the real trainer: the server dies or stays away while it trains, it is killed while it saves,
 * and it is left without memory.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { existsSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { trainerMissing, until } from "../support/live.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { FULL, row } from "./support/row.ts";
import { failed, onlyAttempt, outcomes } from "./support/shared-rows.ts";

const skip = trainerMissing;
let bench: Bench;

beforeAll(async () => {
  if (skip === null) bench = await startBench({ trainer: "real", rows: FULL ? 2000 : 400 });
}, 120_000);
afterAll(() => bench?.close(), 60_000);

const scratch = (key: string) => join(bench.dir, "process", key, "scratch");

/** Events the trainer of `key` has written down, sent or not. */
function spooled(key: string): number {
  const path = join(scratch(key), "events.jsonl");
  return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0;
}

/** True while a checkpoint is being written: beside its place, under a name with a dot, renamed when whole. */
function savingNow(key: string): boolean {
  const folder = join(scratch(key), "checkpoints");
  return existsSync(folder) && readdirSync(folder).some((name) => /^\.step-\d+-\d+$/.test(name));
}

const stored = async (id: string) =>
  (await bench.rows<{ artifact_id: string; step: number }>(
    "SELECT artifact_id, step FROM checkpoint WHERE job_id = ? ORDER BY step DESC",
    [id],
  )) ?? [];

describe("a run of the real trainer", () => {
  const kills = FULL ? 100 : 8;
  row(
    {
      row: "1r",
      fault: "kill -9 of the server at random moments, real trainer",
      expected: "the same process; no step, metric or event lost or duplicated",
      skip,
      timeoutMs: 900_000,
    },
    () => bench,
    async () => {
      const id = await bench.train("kills", { batch_size: 8, max_steps: 50_000, save_every: 500 });
      await bench.atStep(id, 3);
      const before = bench.hands.working().map((work) => work.id);
      let done = 0;
      for (; done < kills; done++) {
        await Bun.sleep(50 + Math.random() * (FULL ? 900 : 400));
        if ((await bench.job(id)).state !== "running") break;
        await bench.kill9();
        await Bun.sleep(Math.random() * 300);
        await bench.start();
        const now = bench.hands.working().map((work) => work.id);
        if (now.length > 0 && now.join() !== before.join()) throw new Error(`${now} instead of ${before}`);
      }
      if (done < kills) throw new Error(`the job ended after ${done} kills`);
      // A run that no machine ends before the last kill.
      await bench.call("POST", `/v1/jobs/${id}/cancel`);
      await bench.reached(id, "cancelled");
      await onlyAttempt(bench, id);
      const [points] = await bench.rows<{ n: number }>(
        "SELECT count(*) n FROM point p JOIN series s ON s.id = p.series_id WHERE s.job_id = ?",
        [id],
      );
      return { times: done, seen: `the same process, one attempt, ${points?.n} points without a gap` };
    },
  );

  row(
    {
      row: "5",
      fault: `the server is down while the trainer runs (${FULL ? "ten minutes" : "until 20 events wait"})`,
      expected: "the trainer keeps its events and sends them later; nothing is missing",
      skip,
      timeoutMs: 1_200_000,
    },
    () => bench,
    async () => {
      const id = await bench.train("away", {
        ...(FULL
          ? { batch_size: 1, n_epochs: 50, max_steps: 90_000, save_every: 5000 }
          : { batch_size: 8, max_steps: 250, save_every: 125 }),
      });
      const key = await bench.workOf(id);
      await bench.atStep(id, 3);
      await bench.stop();
      const from = performance.now();
      const before = spooled(key);
      if (FULL) await Bun.sleep(600_000);
      await until("events to wait", async () => spooled(key) - before >= (FULL ? 60 : 20), 120_000);
      const waiting = spooled(key) - before;
      const away = Math.round((performance.now() - from) / 1000);
      await bench.start();
      if (FULL) {
        await until(
          "the events to arrive",
          async () => ((await bench.attempts(id))[0]?.lastSeq ?? 0) > before + waiting,
          120_000,
        );
        await bench.call("POST", `/v1/jobs/${id}/cancel`);
      }
      await bench.reached(id, FULL ? "cancelled" : "succeeded");
      await onlyAttempt(bench, id);
      return {
        times: 1,
        seen: `away for ${away} s; ${waiting} events waited and were sent; one attempt, whole curve`,
      };
    },
  );

  row(
    {
      row: "18r",
      fault: "kill -9 of the real trainer in the middle of a save",
      expected: "resumes from the previous checkpoint",
      skip,
      timeoutMs: 900_000,
    },
    () => bench,
    async () => {
      // Saves come often, so that the kill hits one well before the end.
      const id = await bench.train("saves", { batch_size: 8, max_steps: 60, save_every: 15 });
      const key = await bench.workOf(id);
      await until("a first checkpoint", async () => (await stored(id)).length > 0, 120_000);
      await until("a save under way", async () => savingNow(key), 60_000, 1);
      bench.hands.kill(key);
      await bench.reached(id, "succeeded");
      return { times: 1, seen: `attempts: ${await outcomes(bench, id, ["killed", "succeeded"])}` };
    },
  );

  row(
    {
      row: "17r",
      fault: "the newest checkpoint of the real trainer is truncated",
      expected: "resumed from the previous one",
      skip,
      timeoutMs: 900_000,
    },
    () => bench,
    async () => {
      const id = await bench.train("damaged", { batch_size: 8, max_steps: 160, save_every: 40 });
      await until("two checkpoints", async () => (await stored(id)).length >= 2, 120_000);
      await bench.call("POST", `/v1/jobs/${id}/pause`);
      await bench.reached(id, "paused");
      const [last, before] = await stored(id);
      truncateSync(join(bench.dir, "artifacts", last?.artifact_id ?? "", "adapter_model.safetensors"), 100);
      await bench.call("POST", `/v1/jobs/${id}/resume`);
      await bench.reached(id, "succeeded");
      const newest = (await bench.attempts(id)).at(-1);
      const [first] = await bench.rows<{ step: number }>(
        "SELECT min(first_step) step FROM batch WHERE attempt_id = ?",
        [newest?.id ?? ""],
      );
      if ((first?.step ?? 0) <= (before?.step ?? 0) || (first?.step ?? 0) > (before?.step ?? 0) + 1)
        throw new Error(`it continued at step ${first?.step} after the checkpoint of step ${before?.step}`);
      return {
        times: 1,
        seen: `continued at step ${first?.step}, after the checkpoint of step ${before?.step}; step ${last?.step} was damaged`,
      };
    },
  );

  row(
    {
      row: "12r",
      fault: "the real trainer gets no more memory (its address space is limited while it trains)",
      expected: "failed: out_of_memory, advice, no blind retry",
      skip: skip ?? (Bun.which("prlimit") ? null : "prlimit is not installed"),
      timeoutMs: 900_000,
    },
    () => bench,
    async () => {
      const id = await bench.train("starved", { batch_size: 8, max_steps: 5000, save_every: 1000 });
      const key = await bench.workOf(id);
      await bench.atStep(id, 3);
      const [work] = bench.hands.working().filter((one) => one.key === key);
      const pid = Number(work?.id.split("@")[0]);
      const kilobytes = Number(/VmSize:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
      Bun.spawnSync(["prlimit", "--pid", String(pid), `--as=${kilobytes * 1024}`]);
      const done = await failed(bench, id);
      await outcomes(bench, id, ["out_of_memory"]);
      if (!done.error?.advice) throw new Error("no advice");
      return { times: 1, seen: `failed: "${done.error.message.slice(0, 120)}"` };
    },
  );
});
