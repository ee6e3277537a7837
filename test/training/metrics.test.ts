/** Trainers' reports over HTTP: stored exactly once, read back in full, and thinned without losing spikes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { writeLogs } from "../../src/training/metrics/logs.ts";
import { eventView } from "../../src/training/metrics/model.ts";
import { listJobEvents, readLogs } from "../../src/training/metrics/service.ts";
import { draftOf, stateOf } from "../../src/training/metrics/state.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";

type Series = Record<
  string,
  { points: [number, number | null][]; count: number; last_step: number; last_value: number }
>;
interface Metrics {
  batch_id: number;
  series: Series;
}

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

const read = (jobId: string, query = "") => t.json<Metrics>("GET", `/v1/jobs/${jobId}/metrics${query}`);

describe("event batches", () => {
  test("a batch that is sent twice is stored once", async () => {
    const trainer = await makeTrainer(t);
    const events = [1, 2, 3].map((seq) => ({ seq, ...metrics(seq, { "train/loss": 1 / seq }) }));
    expect((await trainer.send(events)).last_seq).toBe(3);
    expect((await trainer.send(events)).last_seq).toBe(3);
    await trainer.send([...events, { seq: 4, ...metrics(4, { "train/loss": 9 }) }]);
    const { series } = await read(trainer.jobId);
    expect(series["train/loss"]?.points).toEqual([
      [1, 1],
      [2, 0.5],
      [3, 1 / 3],
      [4, 9],
    ] as [number, number][]);
    expect(series["train/loss"]?.count).toBe(4);
  });

  test("a shuffled batch is sorted", async () => {
    const trainer = await makeTrainer(t);
    const log = (seq: number) => ({ seq, at: Date.now(), type: "log", level: "info", message: `line ${seq}` });
    expect((await trainer.send([log(3), log(1), log(2)])).last_seq).toBe(3);
    const { data } = await t.json<{ data: { message: string }[] }>("GET", `/v1/jobs/${trainer.jobId}/logs`);
    expect(data.map((line) => line.message)).toEqual(["line 1", "line 2", "line 3"]);
  });

  test("events after a gap are not stored, and the reply says where to continue", async () => {
    const trainer = await makeTrainer(t);
    const at = (seq: number) => ({ seq, ...metrics(seq, { x: seq }) });
    expect((await trainer.send([at(1), at(2), at(4), at(5)])).last_seq).toBe(2);
    expect((await trainer.send([at(7)])).last_seq).toBe(2);
    expect((await read(trainer.jobId)).series.x?.count).toBe(2);
    expect((await trainer.send([at(3), at(4), at(5), at(6), at(7)])).last_seq).toBe(7);
    expect((await read(trainer.jobId)).series.x?.count).toBe(7);
  });

  test("batches of 8,000 and 100,000 points are stored completely", async () => {
    for (const [steps, keys] of [
      [800, 10],
      [2000, 50],
    ] as const) {
      const trainer = await makeTrainer(t);
      const values = (step: number) =>
        Object.fromEntries(Array.from({ length: keys }, (_, key) => [`k/${key}`, step * key]));
      const events = Array.from({ length: steps }, (_, index) => metrics(index + 1, values(index + 1)));
      expect((await trainer.send(events)).last_seq).toBe(steps);
      const { series } = await read(trainer.jobId);
      expect(Object.keys(series)).toHaveLength(keys);
      expect(Object.values(series).every((one) => one.count === steps)).toBe(true);
      expect(series["k/7"]?.last_value).toBe(steps * 7);
    }
  });

  test("concurrent attempts keep their values apart", async () => {
    const trainers = await Promise.all(Array.from({ length: 8 }, () => makeTrainer(t)));
    await Promise.all(
      trainers.flatMap((trainer, index) =>
        [0, 1, 2].map((round) =>
          trainer.send(
            Array.from({ length: 20 }, (_, n) => ({
              seq: round * 20 + n + 1,
              ...metrics(round * 20 + n, { x: index }),
            })),
          ),
        ),
      ),
    );
    for (const [index, trainer] of trainers.entries()) {
      const { series } = await read(trainer.jobId);
      expect(series.x?.points.map(([step]) => step)).toEqual(Array.from({ length: 60 }, (_, n) => n));
      expect(new Set(series.x?.points.map(([, value]) => value))).toEqual(new Set([index]));
    }
  });

  test("a failing attempt in a shared transaction does not affect the others", async () => {
    const [good, gone] = [await makeTrainer(t), await makeTrainer(t)];
    const [kept, refused] = await Promise.all([
      good.send([metrics(1, { x: 1 })]),
      (async () => {
        await t.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(eq(attempt.id, gone.attemptId)));
        return gone.call("POST", "/events", { body: { events: [{ seq: 1, at: 1, ...metrics(1, { x: 1 }) }] } });
      })(),
    ]);
    expect(kept.last_seq).toBe(1);
    expect(refused.status).toBe(409);
  });

  test("non-finite values become gaps, with one event about them", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([
      metrics(1, { "train/loss": 2 }),
      metrics(2, { "train/loss": "NaN" }),
      metrics(3, { "train/loss": "Infinity" }),
      metrics(4, { "train/loss": 1 }),
    ]);
    const { series } = await read(trainer.jobId);
    expect(series["train/loss"]?.points.map(([, value]) => value)).toEqual([2, null, null, 1]);
    const events = await listJobEvents(t.ctx, trainer.jobId, { limit: 50 });
    expect(events.filter((one) => one.type === "non_finite").map((one) => [one.level, one.step])).toEqual([
      ["warn", 2],
    ]);
  });

  test("the values of a resumed attempt replace those beyond its checkpoint", async () => {
    const first = await makeTrainer(t);
    await first.send(Array.from({ length: 2500 }, (_, n) => metrics(n + 1, { "train/loss": n === 2200 ? 99 : 1 })));
    // The first attempt ends at step 2500; its newest checkpoint is of step 1500.
    const second = await makeTrainer(t, { jobId: first.jobId, number: 2 });
    await t.ctx.write((tx) => tx.update(attempt).set({ trimStep: 1500 }).where(eq(attempt.id, second.attemptId)));
    await second.send([1501, 1502].map((step) => metrics(step, { "train/loss": 5 })));
    const { series } = await read(first.jobId);
    expect(series["train/loss"]?.count).toBe(1502);
    expect(series["train/loss"]?.last_step).toBe(1502);
    const thin = await read(first.jobId, "?points=10");
    const highest = Math.max(...(thin.series["train/loss"]?.points.map(([, value]) => value ?? 0) ?? []));
    expect(highest).toBe(5);
    const late = await first.call("POST", "/events", {
      body: { events: [{ seq: 2501, at: 1, ...metrics(2501, { x: 1 }) }] },
    });
    expect(late.status).toBe(409);
  });
});

describe("reading series", () => {
  test("a spike of one step is kept in a run of 120,000 steps at every zoom", async () => {
    const trainer = await makeTrainer(t);
    const total = 120_000;
    const high = 77_777;
    const low = 33_333;
    let batch: Record<string, unknown>[] = [];
    for (let step = 1; step <= total; step++) {
      batch.push(metrics(step, { x: step === high ? 1000 : step === low ? -1000 : Math.sin(step / 500) }));
      if (batch.length === 15_000) {
        await trainer.send(batch);
        batch = [];
      }
    }
    for (const query of [
      "",
      "?points=50",
      "?from=30000&to=80000",
      "?from=33000&to=78000&points=100",
      "?from=1001&to=119999",
    ]) {
      const { series } = await read(trainer.jobId, query);
      const points = series.x?.points ?? [];
      expect(points.length).toBeLessThanOrEqual(2000);
      expect(points).toContainEqual([high, 1000]);
      expect(points).toContainEqual([low, -1000]);
      const steps = points.map(([step]) => step);
      expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b));
    }
    const { series } = await read(trainer.jobId);
    expect(series.x?.points[0]?.[0]).toBe(1);
    expect(series.x?.points.at(-1)?.[0]).toBe(total);
    expect(series.x?.count).toBe(total);
  });

  test("one request reads several jobs, and refuses those of another organization", async () => {
    const [a, b] = [await makeTrainer(t), await makeTrainer(t, { org: t.orgs.b })];
    await a.send([metrics(1, { x: 1 })]);
    const both = await t.request("POST", "/v1/jobs/metrics", { body: { jobs: [a.jobId, b.jobId] } });
    expect(both.status).toBe(404);
    const one = await t.json<{ data: Metrics[] }>("POST", "/v1/jobs/metrics", { body: { jobs: [a.jobId] } });
    expect(one.data[0]?.series.x?.count).toBe(1);
    for (const path of ["metrics", "metrics.csv", "logs", "samples"])
      expect((await t.request("GET", `/v1/jobs/${b.jobId}/${path}`)).status).toBe(404);
    expect((await t.request("GET", `/v1/stream?jobs=${b.jobId}`)).status).toBe(404);
  });

  test("the CSV has every step and value", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([metrics(1, { a: 0.1, b: 1 }), metrics(2, { a: 0.2 }), metrics(5000, { b: "NaN" })]);
    const text = await (await t.request("GET", `/v1/jobs/${trainer.jobId}/metrics.csv`)).text();
    const lines = text
      .trim()
      .split("\n")
      .map((line) => line.split(","));
    expect(lines[0]).toEqual(["step", "time", "a", "b"]);
    expect(lines.slice(1).map(([step, , a, b]) => [step, a, b])).toEqual([
      ["1", "0.1", "1"],
      ["2", "0.2", ""],
      ["5000", "", ""],
    ]);
  });
});

describe("logs and samples", () => {
  test("logs are paged both ways and searched", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send(
      Array.from({ length: 1200 }, (_, n) => ({
        type: "log",
        level: "info",
        message: `line ${n} ${n % 100 === 7 ? "[100%_odd, x]" : ""}`,
      })),
    );
    interface Page {
      data: { id: number; message: string }[];
      has_more: boolean;
      next: number | null;
    }
    const logs = (query: string) => t.json<Page>("GET", `/v1/jobs/${trainer.jobId}/logs?${query}`);
    const newest = await logs("limit=500");
    expect([newest.data[0]?.message.trim(), newest.data.at(-1)?.message.trim(), newest.has_more]).toEqual([
      "line 700",
      "line 1199",
      true,
    ]);
    const before = await logs(`limit=700&before=${newest.data[0]?.id}`);
    expect([before.data.length, before.has_more]).toEqual([700, false]);
    const after = await logs(`limit=3&after=${newest.data[0]?.id}`);
    expect(after.data.map((line) => line.message.trim())).toEqual(["line 701", "line 702", "line 703"]);
    const found = await logs(`search=${encodeURIComponent("[100%_ODD, x]")}`);
    expect(found.data.map((line) => line.message.split(" ")[1])).toEqual(
      Array.from({ length: 12 }, (_, n) => String(n * 100 + 7)),
    );
    expect((await logs("search=no-such-text")).data).toEqual([]);
  });

  test("only the newest lines are kept", async () => {
    const trainer = await makeTrainer(t);
    const state = stateOf(t.ctx);
    const write = (from: number, count: number) =>
      t.ctx.write(async (tx) => {
        const draft = draftOf(state);
        const lines = Array.from({ length: count }, (_, n) => ({
          at: 1,
          level: "info" as const,
          message: `l${from + n}`,
        }));
        const batch = { jobId: trainer.jobId, attemptId: trainer.attemptId, batchId: 0, lines };
        const { trimmed } = await writeLogs(tx, draft, batch, 100);
        draft.commit();
        return trimmed;
      });
    expect(await write(0, 100)).toBe(false);
    expect(await write(100, 10)).toBe(false);
    expect(await write(110, 15)).toBe(true);
    const { lines } = await readLogs(t.ctx, trainer.jobId, { limit: 1000 });
    expect(lines.map((line) => line.message)).toEqual(Array.from({ length: 100 }, (_, n) => `l${n + 25}`));
  });

  test("of repeated samples of a step only the newer counts", async () => {
    const trainer = await makeTrainer(t);
    const sample = (output: string) => ({
      type: "sample",
      step: 5,
      row_id: 3,
      prompt: [{ role: "user", content: "q" }],
      expected: "a",
      output,
    });
    await trainer.send([sample("old"), sample("new")]);
    const { data } = await t.json<{ data: { output: string; step: number }[] }>(
      "GET",
      `/v1/jobs/${trainer.jobId}/samples`,
    );
    expect(data.map((one) => [one.step, one.output])).toEqual([[5, "new"]]);
  });
});

test("job events are listed newest first in OpenAI's form, paged without gaps or duplicates", async () => {
  const trainer = await makeTrainer(t);
  await trainer.send([
    { type: "phase", phase: "training" },
    ...[1, 2, 3].map((step) =>
      metrics(step, { "train/loss": 1 / step, "train/token_accuracy": 0.5, "system/cpu_percent": 9 }),
    ),
    metrics(3, { "eval/loss": 0.25 }),
    metrics(3, { "system/memory_mb": 4 }),
  ]);
  const seen = [];
  let after: string | null = null;
  for (;;) {
    const rows = await listJobEvents(t.ctx, trainer.jobId, { after, limit: 2 });
    seen.push(...rows.slice(0, 2).map(eventView));
    if (rows.length <= 2) break;
    after = rows[1]?.id ?? null;
  }
  expect(seen.map((one) => [one.object, one.type, one.message])).toEqual([
    ["fine_tuning.job.event", "metrics", "Step 3: validation loss=0.25"],
    ["fine_tuning.job.event", "metrics", "Step 3: training loss=0.3333, training token accuracy=0.5"],
    ["fine_tuning.job.event", "metrics", "Step 2: training loss=0.5, training token accuracy=0.5"],
    ["fine_tuning.job.event", "metrics", "Step 1: training loss=1, training token accuracy=0.5"],
    ["fine_tuning.job.event", "message", "Training"],
  ]);
  expect(seen[1]?.data).toEqual({ step: 3, train_loss: 1 / 3, train_mean_token_accuracy: 0.5 });
  expect(seen.every((one) => one.id.startsWith("ftevent-"))).toBe(true);
});

test("the plan of a run counts rows, and their sequences where there are more", async () => {
  const sizes = { steps_per_epoch: 3, train_tokens_per_epoch: 90, trainable_parameters: 1, total_parameters: 2 };
  const plan = { type: "plan", total_steps: 6, train_rows: 12, rows_cut: 0, rows_dropped: 0, ...sizes };
  for (const [extra, words] of [
    [{}, "12 rows, 6 steps"],
    [{ sequences: 12 }, "12 rows, 6 steps"],
    [{ sequences: 20, rows_cut: 1 }, "12 rows in 20 sequences, 6 steps; 1 rows truncated to the max sequence length"],
  ] as const) {
    const trainer = await makeTrainer(t);
    await trainer.send([{ ...plan, ...extra }]);
    const [event] = await listJobEvents(t.ctx, trainer.jobId, { limit: 1 });
    expect(event?.message).toBe(words);
  }
});

test("a job that has ended refuses new events but acknowledges stored ones", async () => {
  const trainer = await makeTrainer(t);
  const events = [{ seq: 1, at: 1, ...metrics(1, { x: 1 }) }];
  await trainer.json("POST", "/events", { body: { events } });
  await t.ctx.write((tx) => tx.update(job).set({ state: "succeeded" }).where(eq(job.id, trainer.jobId)));
  expect((await trainer.call("POST", "/events", { body: { events } })).status).toBe(200);
  expect((await trainer.call("POST", "/events", { body: { events: [{ ...events[0], seq: 2 }] } })).status).toBe(410);
  expect((await trainer.call("POST", "/events", { body: { events: [] } })).status).toBe(410);
  expect((await trainer.call("GET", "/spec")).status).toBe(410);
});
