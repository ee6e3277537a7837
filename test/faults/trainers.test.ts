/**
 * The trainer, its connection or its machine fails: the server distinguishes a slow trainer from a dead one, and never
 * lets two of them write.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import { renameSync } from "node:fs";
import { until } from "../support/live.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { FULL, row } from "./support/row.ts";
import { endOfAttempt, outcomes } from "./support/shared-rows.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await startBench({ trainer: "scripted" });
}, 120_000);
afterAll(() => bench?.close(), 60_000);

const steps = async (id: string) => (await bench.job(id)).progress.step ?? 0;

/** Cuts trainers off from the server, both alive, until `back` is called. */
function cutOff(): { back(): void } {
  const socket = bench.trainerSocket;
  renameSync(socket, `${socket}.away`);
  return { back: () => renameSync(`${socket}.away`, socket) };
}

describe("the way between trainer and server", () => {
  row(
    {
      row: "6",
      fault: "the trainer cannot reach the server for a while; both keep running",
      expected: "no second start; it recovers",
    },
    () => bench,
    async () => {
      const id = await bench.train("talk-cut", { max_steps: 120 });
      const key = await bench.workOf(id);
      const [before] = bench.hands.working().filter((work) => work.key === key);
      const times = FULL ? 20 : 4;
      for (let n = 0; n < times; n++) {
        await bench.atStep(id, (n + 1) * 5);
        const { back } = cutOff();
        await Bun.sleep(700);
        const { state } = await bench.job(id);
        back();
        if (state !== "running") throw new Error(`the job was ${state} while cut off`);
        const [now] = bench.hands.working().filter((work) => work.key === key);
        if (now?.id !== before?.id) throw new Error("another process");
      }
      await bench.reached(id, "succeeded");
      return {
        times,
        seen: `running throughout, the same process; attempts: ${await outcomes(bench, id, ["succeeded"])}`,
      };
    },
  );

  row(
    {
      row: "8",
      fault: "a stale attempt returns after it was replaced",
      expected: "refused and terminated; none of its writes counts",
    },
    () => bench,
    async () => {
      const id = await bench.train("talk-deaf-once", { max_steps: 60 });
      const key = await bench.workOf(id);
      const token = bench.hands.token(key);
      await bench.atStep(id, 8);
      bench.hands.freeze(key);
      await bench.setLimits(id, { no_progress_s: 1 });
      const given = await endOfAttempt(bench, id, 1);
      await bench.setLimits(id, { no_progress_s: 600 });
      // Its writes by the old token, sent while it is being ended.
      const events = [
        { seq: given.lastSeq + 1, at: Date.now(), type: "metrics", step: 50, epoch: 0, values: { "train/loss": 9 } },
      ];
      const answer = await bench.asTrainer(token, "POST", "/events", { events });
      const late = await bench.asTrainer(token, "GET", "/spec");
      if (answer.status !== 409 || late.status !== 409)
        throw new Error(`the old token was answered ${answer.status} and ${late.status}`);
      if (bench.hands.working().some((work) => work.key === key)) bench.hands.thaw(key);
      await bench.reached(id, "succeeded");
      const [zombie] = await bench.attempts(id);
      if (zombie?.lastSeq !== given.lastSeq) throw new Error("the old attempt wrote on");
      const wrong = await bench.rows(
        "SELECT 1 FROM point p JOIN series s ON s.id = p.series_id WHERE s.job_id = ? AND p.value = 9",
        [id],
      );
      if (wrong.length) throw new Error("a value of the old attempt is in the curve");
      return {
        times: 1,
        seen: `409 to the old token; attempts: ${await outcomes(bench, id, ["no_progress", "succeeded"])}`,
      };
    },
  );

  row(
    { row: "9", fault: "batches of events twice, out of order, several at once", expected: "each event stored once" },
    () => bench,
    async () => {
      const id = await bench.train("mute");
      const token = bench.hands.token(await bench.workOf(id));
      // The test reports for the sleeping trainer, which must have requested the spec before.
      const asked = "SELECT 1 FROM attempt WHERE job_id = ? AND trim_step IS NOT NULL";
      await until("the spec to be asked for", async () => (await bench.rows(asked, [id])).length > 0);
      const total = FULL ? 3000 : 400;
      const at = Date.now();
      const all = [
        {
          seq: 1,
          at,
          type: "plan",
          total_steps: total,
          steps_per_epoch: total,
          train_rows: 1,
          train_tokens_per_epoch: 1,
          trainable_parameters: 1,
          total_parameters: 1,
          rows_cut: 0,
          rows_dropped: 0,
        },
        ...Array.from({ length: total }, (_, n) => [
          { seq: 2 * n + 2, at, type: "metrics", step: n + 1, epoch: 0, values: { "train/loss": n + 1, "x/y": -n } },
          { seq: 2 * n + 3, at, type: "log", level: "info", message: `step ${n + 1}` },
        ]).flat(),
      ];
      let sent = 0;
      let known = 0;
      const deliver = async () => {
        while (known < all.length) {
          // From somewhere before what is known to somewhere behind it, shuffled: duplicates, overlaps and gaps.
          const from = Math.max(0, known - 30 + Math.floor(Math.random() * 40));
          const part = all.slice(from, from + 1 + Math.floor(Math.random() * 60)).sort(() => Math.random() - 0.5);
          const answer = await bench.asTrainer(token, "POST", "/events", { events: part });
          if (!answer.ok) throw new Error(`a batch was answered ${answer.status}: ${await answer.text()}`);
          known = Math.max(known, ((await answer.json()) as { last_seq: number }).last_seq);
          sent++;
        }
      };
      await Promise.all([deliver(), deliver(), deliver(), deliver()]);
      const [stored] = await bench.rows<{ points: number; wrong: number }>(
        "SELECT count(*) points, sum(p.value <> p.step) wrong FROM point p JOIN series s ON s.id = p.series_id WHERE s.job_id = ? AND s.key = 'train/loss'",
        [id],
      );
      const [lines] = await bench.rows<{ n: number; d: number }>(
        "SELECT count(*) n, count(DISTINCT message) d FROM log_line WHERE job_id = ?",
        [id],
      );
      if (stored?.points !== total || stored.wrong !== 0 || lines?.n !== total || lines.d !== total)
        throw new Error(`${stored?.points} points (${stored?.wrong} wrong), ${lines?.n} lines of ${total}`);
      await bench.call("POST", `/v1/jobs/${id}/cancel`);
      const last = [{ seq: all.length + 1, at, type: "finished", outcome: "cancelled" }];
      await bench.asTrainer(token, "POST", "/events", { events: last });
      await bench.reached(id, "cancelled");
      return { times: sent, seen: `${sent} batches sent for ${all.length} events; each stored once` };
    },
  );
});

describe("the work", () => {
  row(
    {
      row: "7",
      fault: "the trainer and its watcher are killed together",
      expected: "a new attempt from the last checkpoint",
    },
    () => bench,
    async () => {
      const times = FULL ? 5 : 1;
      for (let n = 0; n < times; n++) {
        const id = await bench.train("talk-gone", { max_steps: 60 });
        await bench.atStep(id, 12);
        bench.hands.vanish(await bench.workOf(id));
        await bench.reached(id, "succeeded");
        await outcomes(bench, id, ["lost", "succeeded"]);
        const [first] = await bench.rows<{ message: string }>(
          "SELECT message FROM log_line WHERE attempt_id = ? ORDER BY id LIMIT 1",
          [(await bench.attempts(id))[1]?.id ?? ""],
        );
        const at = Number(first?.message.split(" ")[1]);
        if (!(at > 10)) throw new Error(`the new attempt began at ${first?.message}`);
      }
      return { times, seen: "lost, then a second attempt that began after step 10" };
    },
  );

  const bare: [string, string, string, string][] = [
    ["14", "bare", "the trainer reports success without an adapter", "bad_result"],
    ["14b", "bye", "the trainer exits with 0 without reporting", "bad_result"],
  ];
  for (const [number, suffix, fault, code] of bare)
    row(
      { row: number, fault, expected: `failed: ${code}` },
      () => bench,
      async () => {
        const id = await bench.train(suffix);
        const done = await until("the end", async () => {
          const now = await bench.job(id);
          if (now.state === "succeeded") throw new Error("it counts as a success");
          return now.state === "failed" ? now : null;
        });
        await outcomes(bench, id, [code]);
        if ((await steps(id)) > 20) throw new Error("more steps than asked for");
        return { times: 1, seen: `failed (${done.error?.code}): "${done.error?.message}"` };
      },
    );
});
