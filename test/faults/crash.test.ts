/**
 * The server is killed at random moments, and between each two steps that belong together. Its work keeps running and
 * is adopted once.
 */
import { afterAll, beforeAll, describe } from "bun:test";
import type { FailPoint } from "../../src/lib/fail-points.ts";
import { until } from "../support/live.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { FULL, type Outcome, row } from "./support/row.ts";
import { dieAt, onlyAttempt, same, sharedRows } from "./support/shared-rows.ts";

let bench: Bench;
let receiver: Receiver;
beforeAll(async () => {
  receiver = startReceiver();
  bench = await startBench({ trainer: "scripted", env: { FTL_WEBHOOK_HOSTS: receiver.host } });
}, 120_000);
afterAll(async () => {
  await bench?.close();
  receiver?.stop();
}, 60_000);

sharedRows("process", () => bench, null);

describe("the server is killed", () => {
  row(
    {
      row: "2b",
      fault: "kill -9 before starting the work of a stored attempt",
      expected: "started once, at the next start",
    },
    () => bench,
    async () => {
      let id = "";
      await dieAt(bench, "launch.before", 1, async () => {
        id = await bench.train("talk-later");
      });
      same("live pieces of work", 0, bench.hands.working().length);
      await bench.start();
      await bench.reached(id, "succeeded");
      await onlyAttempt(bench, id);
      return { times: 1, seen: "one attempt, started after the restart" };
    },
  );

  row(
    {
      row: "2f",
      fault: "kill -9 between the reservation of a budget and the launch",
      expected: "reserved once, released at the end, counted once",
    },
    () => bench,
    async () => {
      const item = { meter: "cpu_seconds", gpu_model: null, provider: null, model: null, cost_plus_percent: null };
      const prices = JSON.stringify({ items: [{ ...item, unit_micros: 36_000_000 }], free: [] });
      await bench.rows(
        `INSERT INTO price_list (id, org, prices, effective_at, created_by, created_at) VALUES ('test', NULL, ?, 0, 'x', 0)`,
        [prices],
      );
      const { id: budget } = await bench.call<{ id: string }>("POST", "/v1/budgets", {
        scope: "team",
        limit_usd: 100_000,
      });
      const used = () => bench.rows<{ micros: number }>("SELECT micros FROM budget_use WHERE budget_id = ?", [budget]);
      const before = Number((await used())[0]?.micros ?? 0);
      const holds = () => bench.rows<{ job: string; micros: number }>("SELECT job_id job, micros FROM budget_hold");
      let id = "";
      await dieAt(bench, "launch.before", 1, async () => {
        id = await bench.train("slow.100");
      });
      const [held, ...more] = await holds();
      same("reservations of other jobs", 0, more.length);
      same("the job with a reservation", id, held?.job);
      if (!(Number(held?.micros) > 0)) throw new Error("nothing was reserved");
      await bench.start();
      await bench.reached(id, "running");
      const again = await holds();
      same("reservations", 1, again.length);
      if (Number(again[0]?.micros) > Number(held?.micros)) throw new Error("the reservation grew");
      await bench.reached(id, "succeeded");
      await onlyAttempt(bench, id);
      same("reservations after the end", 0, (await holds()).length);
      const [sum] = await bench.rows<{ micros: number }>(
        "SELECT sum(micros) micros FROM meter_interval WHERE job_id = ?",
        [id],
      );
      if (!(Number(sum?.micros) > 0)) throw new Error("nothing was charged");
      same("micro-dollars", before + Number(sum?.micros), Number((await used())[0]?.micros));
      await bench.call("DELETE", `/v1/budgets/${budget}`);
      await bench.rows("UPDATE price_list SET prices = json_set(prices, '$.items', json('[]')) WHERE id = 'test'");
      return { times: 1, seen: "reserved once, nothing left over, the budget has the ledger's sum" };
    },
  );

  const metering: { row: string; point: FailPoint; fault: string }[] = [
    { row: "3e", point: "meter.open", fault: "kill -9 while an interval of a running job is written" },
    { row: "3f", point: "meter.stored", fault: "kill -9 after an interval of a running job is stored" },
  ];
  for (const { row: number, point, fault } of metering)
    row(
      { row: number, fault, expected: "one set of intervals, from the start of the attempt to its end" },
      () => bench,
      async () => {
        const id = await bench.train("talk-metered", { max_steps: 60 });
        await until("it runs", async () => (await bench.job(id)).state === "running");
        // A server that starts meters what runs: it may be killed before it answers.
        await bench.stop();
        await bench.start({ FTL_FAIL_POINTS: `${point}@1` }).catch(() => {});
        await bench.ended();
        await bench.start();
        await bench.reached(id, "succeeded");
        const only = await onlyAttempt(bench, id);
        const [sum] = await bench.rows<{ ms: number; ran: number }>(
          `SELECT sum(to_ms - from_ms) ms, (SELECT ended_at - started_at FROM attempt WHERE id = attempt_id) ran
            FROM meter_interval WHERE attempt_id = ? AND meter = 'cpu_seconds'`,
          [only.id],
        );
        same("milliseconds", Number(sum?.ran), Number(sum?.ms));
        return { times: 1, seen: "metered once, without a hole" };
      },
    );

  const ends: { row: string; point: FailPoint; fault: string }[] = [
    { row: "3b", point: "exit.stored", fault: "kill -9 after storing the end, before any notification" },
    { row: "3c", point: "terminate.before", fault: "kill -9 before the ended work is removed" },
    { row: "3d", point: "terminate.gone", fault: "kill -9 between removing the work and storing that" },
  ];
  for (const { row: number, point, fault } of ends)
    row(
      { row: number, fault, expected: "same final state, billed once, nothing left over" },
      () => bench,
      async () => {
        let id = "";
        await dieAt(bench, point, 1, async () => {
          id = await bench.train("code.2");
        });
        await bench.start();
        const ended = await until("the end", async () => {
          const now = await bench.job(id);
          return now.state === "failed" ? now : null;
        });
        same("the reason", "bad_spec", ended.error?.code);
        const only = await onlyAttempt(bench, id);
        return { times: 1, seen: `failed (${only?.outcome}), metered once` };
      },
    );

  row(
    {
      row: "9b",
      fault: "kill -9 between storing a trainer's events and answering it",
      expected: "sent again, stored once",
    },
    () => bench,
    async () => {
      let id = "";
      const counts = FULL ? [2, 3, 5, 8, 13, 21, 34] : [4, 17];
      for (const count of counts) {
        await dieAt(bench, "events.stored", count, async () => {
          id = await bench.train("talk-again", { max_steps: 40 });
        });
        await bench.start();
        await bench.reached(id, "succeeded");
        await onlyAttempt(bench, id);
      }
      return { times: counts.length, seen: "one attempt each, every event once" };
    },
  );

  row(
    {
      row: "16b",
      fault: "kill -9 between checking an uploaded checkpoint and storing that it is complete",
      expected: "completed once by the repeated request",
    },
    () => bench,
    async () => {
      let id = "";
      await dieAt(bench, "artifact.checked", 2, async () => {
        id = await bench.train("talk-saved");
      });
      await bench.start();
      await bench.reached(id, "succeeded");
      await onlyAttempt(bench, id);
      const points = await bench.rows<{ step: number }>("SELECT step FROM checkpoint WHERE job_id = ? ORDER BY step", [
        id,
      ]);
      const steps = points.map((point) => point.step).join(", ");
      if (!steps.endsWith("20")) throw new Error(`checkpoints of steps ${steps}`);
      return { times: 1, seen: `checkpoints of steps ${steps}` };
    },
  );
});

describe("the server is killed while it notifies", () => {
  const cases: { row: string; point: FailPoint; fault: string; times: number }[] = [
    { row: "9c", point: "notice.stored", fault: "kill -9 after a job ended, before anything is sent", times: 1 },
    { row: "9d", point: "notice.sent", fault: "kill -9 between sending a webhook and storing that", times: 2 },
  ];
  for (const { row: number, point, fault, times } of cases)
    row(
      { row: number, fault, expected: "one event, one delivery, the same webhook-id in every attempt" },
      () => bench,
      async () => {
        receiver.taken.length = 0;
        await bench.call("POST", "/v1/webhook_endpoints", {
          name: "hook",
          url: `${receiver.url}/${point}`,
          event_types: ["fine_tuning.job.failed"],
        });
        let id = "";
        await dieAt(bench, point, 1, async () => {
          id = await bench.train("code.2");
        });
        await bench.start();
        const sent = () =>
          bench.rows<{ id: string; n: number }>(
            `SELECT d.id, d.attempts n FROM notice_delivery d JOIN notice_event e ON e.id = d.event_id
             JOIN webhook_endpoint w ON w.id = d.destination
             WHERE e.subject = ? AND w.shown_url = ? AND d.state = 'sent'`,
            [id, `${receiver.url}/${point}`],
          );
        const [delivery] = await until("the delivery", async () => ((await sent()).length > 0 ? sent() : null));
        const events = await bench.rows<{ n: number }>("SELECT count(*) n FROM notice_event WHERE subject = ?", [id]);
        same("events", 1, Number(events[0]?.n));
        const mine = receiver.taken.filter(({ path }) => path === `/${point}`);
        same("requests", times, mine.length);
        const ids = new Set(mine.map(({ headers }) => headers.get("webhook-id")));
        same("webhook-ids", delivery?.id, [...ids].join());
        same("the job", id, (JSON.parse(mine[0]?.body ?? "{}") as { data: { id: string } }).data.id);
        return { times: 1, seen: `1 event, 1 delivery, ${mine.length} request(s) with one webhook-id` };
      },
    );
});

/** A stream that is read until it ends. */
async function openStream(job: string): Promise<{ ended: Promise<void> }> {
  const answer = await fetch(`${bench.url}/v1/stream?jobs=${job}`, {
    headers: { authorization: `Bearer ${bench.key}` },
  });
  if (!answer.ok || !answer.body) throw new Error(`the stream answered ${answer.status}`);
  const reader = answer.body.getReader();
  await reader.read();
  const ended = (async () => {
    for (;;) if ((await reader.read()).done) return;
  })().catch(() => {});
  return { ended };
}

describe("the server is asked to stop", () => {
  row(
    { row: "4", fault: "SIGTERM with 50 open streams and 5 running jobs", expected: "ends within 10 s; jobs continue" },
    () => bench,
    async (): Promise<Outcome> => {
      const ids = await Promise.all(
        Array.from({ length: 5 }, (_, n) => bench.train(`talk-drain${n}`, { max_steps: 300, save_every: 100 })),
      );
      await Promise.all(ids.map((id) => bench.atStep(id, 3)));
      const before = bench.hands.working().map((work) => work.id);
      const streams = await Promise.all(Array.from({ length: 50 }, (_, n) => openStream(ids[n % 5] ?? "")));
      const ms = await bench.stop();
      await Promise.all(streams.map((stream) => stream.ended));
      if (ms > 10_000) throw new Error(`it took ${Math.round(ms)} ms`);
      const after = bench.hands.working().map((work) => work.id);
      same("processes", before.sort().join(), after.sort().join());
      await bench.start();
      for (const id of ids) {
        await bench.reached(id, "succeeded");
        await onlyAttempt(bench, id);
      }
      return { times: 1, seen: `ended after ${(ms / 1000).toFixed(1)} s; 5 of 5 jobs ran to their end` };
    },
  );

  row(
    {
      row: "30",
      fault: "a second server on the same data directory",
      expected: "refused with the name of the directory; the first server keeps running",
    },
    () => bench,
    async () => {
      const times = 3;
      let said = "";
      for (let n = 0; n < times; n++) {
        try {
          bench.cli("serve", "--listen", "127.0.0.1:0");
          throw new Error("a second server started");
        } catch (error) {
          said = error instanceof Error ? error.message : "";
          if (!said.includes("in use by another Fine-Tune Lab")) throw error;
        }
      }
      await bench.writeSomething("after the second server");
      const code = /exited (\d+)/.exec(said)?.[1];
      return { times, seen: `exit code ${code}, process ${bench.pid()} named: ${said.includes(String(bench.pid()))}` };
    },
  );
});
