/**
 * The newest checkpoint is damaged, or its trainer dies while it saves: the run resumes from the previous one, and says
 * so.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { closeSync, openSync, readSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/live.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { FULL, row } from "./support/row.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await startBench({ trainer: "scripted" });
}, 120_000);
afterAll(() => bench?.close(), 60_000);

const checkpoints = (id: string) =>
  bench.rows<{ step: number; artifact_id: string; status: string }>(
    "SELECT c.step, c.artifact_id, a.status FROM checkpoint c JOIN artifact a ON a.id = c.artifact_id WHERE c.job_id = ? ORDER BY c.step DESC",
    [id],
  );

function flipBit(path: string): void {
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  const at = Math.floor(statSync(path).size * 0.9);
  readSync(file, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
}

/** The step from which the newest attempt went on: one before the first it reported. */
async function wentOnFrom(id: string): Promise<number> {
  const newest = (await bench.attempts(id)).at(-1);
  const [first] = await bench.rows<{ step: number }>("SELECT min(first_step) step FROM batch WHERE attempt_id = ?", [
    newest?.id ?? "",
  ]);
  return Number(first?.step) - 1;
}

describe("the newest checkpoint", () => {
  const damages: [string, string, string, (path: string) => void][] = [
    ["17", "is truncated", "adapter_model.safetensors", (path) => truncateSync(path, statSync(path).size - 3)],
    ["17b", "has one bit flipped", "optimizer.safetensors", flipBit],
    ["17c", "has lost a file", "trainer_state.json", (path) => rmSync(path)],
  ];
  for (const [number, fault, file, damage] of damages)
    row(
      {
        row: number,
        fault: `the newest checkpoint ${fault}`,
        expected: "resumed from the previous one; an event reports it",
      },
      () => bench,
      async () => {
        const id = await bench.train("talk-damaged", { max_steps: 60 });
        await bench.atStep(id, 17);
        await bench.call("POST", `/v1/jobs/${id}/pause`);
        await bench.reached(id, "paused");
        const [newest, before] = await checkpoints(id);
        damage(join(bench.dir, "artifacts", newest?.artifact_id ?? "", file));
        await bench.call("POST", `/v1/jobs/${id}/resume`);
        await bench.reached(id, "succeeded");
        const from = await wentOnFrom(id);
        if (from !== before?.step) throw new Error(`it resumed from step ${from}, not ${before?.step}`);
        const noted = (await bench.notes(id)).find(
          (note) => note.includes(`step ${newest?.step}`) && /damaged|not be used|invalid|passed over/i.test(note),
        );
        if (!noted) throw new Error(`no event reports it: ${(await bench.notes(id)).join(" | ")}`);
        return { times: 1, seen: `resumed from step ${from} of ${newest?.step}: "${noted}"` };
      },
    );

  row(
    { row: "17d", fault: "every checkpoint is damaged", expected: "starts from the beginning, says so, and succeeds" },
    () => bench,
    async () => {
      const id = await bench.train("talk-damaged", { max_steps: 40 });
      await bench.atStep(id, 12);
      await bench.call("POST", `/v1/jobs/${id}/pause`);
      await bench.reached(id, "paused");
      const all = await checkpoints(id);
      for (const one of all) truncateSync(join(bench.dir, "artifacts", one.artifact_id, "rng.json"), 0);
      await bench.call("POST", `/v1/jobs/${id}/resume`);
      await bench.reached(id, "succeeded");
      const from = await wentOnFrom(id);
      if (from !== 0) throw new Error(`it resumed from step ${from}`);
      return { times: all.length, seen: `${all.length} checkpoints passed over, began at step 1, succeeded` };
    },
  );

  row(
    {
      row: "18",
      fault: "kill -9 of the trainer in the middle of uploading a checkpoint",
      expected: "resumes from the previous one; nothing incomplete is left",
    },
    () => bench,
    async () => {
      const times = FULL ? 10 : 2;
      for (let n = 0; n < times; n++) {
        const id = await bench.train("talk-savekill.10-once");
        await bench.reached(id, "succeeded");
        const from = await wentOnFrom(id);
        if (from !== 5) throw new Error(`it resumed from step ${from}, not 5`);
        const ends = (await bench.attempts(id)).map((one) => one.outcome).join();
        if (ends !== "killed,succeeded") throw new Error(`attempts: ${ends}`);
        await until("the half-done upload to be gone", async () => {
          const open = await bench.rows("SELECT 1 FROM artifact WHERE job_id = ? AND status = 'uploading'", [id]);
          return open.length === 0;
        });
      }
      return { times, seen: "killed, then resumed from step 5 of 10; the incomplete upload is gone" };
    },
  );
});
