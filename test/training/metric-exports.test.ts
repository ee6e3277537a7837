/** The metrics of a run for other tools: the event file of TensorBoard, and a run in an MLflow tracking server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { maskedCrc } from "../../src/training/metrics/tensorboard.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics, type TestTrainer } from "../support/attempt.ts";
import { startTracking } from "../support/mlflow.ts";
import { PROGRAM } from "../support/program.ts";

const STEPS = 600;
let t: TestApp;
let server: RunningServer;
let trainer: TestTrainer;
beforeAll(async () => {
  t = await createTestApp();
  server = startServer(t.ctx, t.app);
  trainer = await makeTrainer(t);
  const values = (step: number) => ({ "train/loss": 1 / step, ...(step % 2 ? {} : { "eval/loss": 2 / step }) });
  await trainer.send(Array.from({ length: STEPS }, (_, i) => metrics(i + 1, values(i + 1))));
  await t.ctx.write((tx) =>
    tx
      .update(job)
      .set({ state: "succeeded", startedAt: 1_800_000_000_000, finishedAt: 1_800_000_600_000 })
      .where(eq(job.id, trainer.jobId)),
  );
});
afterAll(async () => {
  await server.stop(0);
  await t.close();
});

interface Event {
  wall: number;
  step: number;
  version?: string;
  values: Record<string, number>;
}

/** The fields of a protobuf message: a length-delimited field is bytes, a fixed one its bytes too. */
function fieldsOf(bytes: Buffer): [number, number | Buffer][] {
  const found: [number, number | Buffer][] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    found.push([tag >> 3, kind === 1 ? take(8) : kind === 5 ? take(4) : kind === 2 ? take(varint()) : varint()]);
  }
  return found;
}

/** The events of a file, with every checksum checked. */
function eventsOf(file: Buffer): Event[] {
  const events: Event[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(maskedCrc(file.subarray(at, at + 8)));
    const record = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(maskedCrc(record));
    at += 16 + length;
    const event: Event = { wall: 0, step: 0, values: {} };
    for (const [number, value] of fieldsOf(record)) {
      if (number === 1) event.wall = (value as Buffer).readDoubleLE();
      if (number === 2) event.step = value as number;
      if (number === 3) event.version = String(value);
      if (number !== 5) continue;
      for (const [, one] of fieldsOf(value as Buffer)) {
        const { 1: tag, 2: simple } = Object.fromEntries(fieldsOf(one as Buffer)) as Record<number, Buffer>;
        event.values[String(tag)] = simple?.readFloatLE() ?? Number.NaN;
      }
    }
    events.push(event);
  }
  return events;
}

describe("TensorBoard", () => {
  test("checksums are those that its files have", () => {
    // The length of the first record of every event file, with the checksum that TensorFlow writes.
    expect(maskedCrc(Buffer.from("1800000000000000", "hex"))).toBe(0x224b7fa3);
  });

  test("every step with its values is an event of the file", async () => {
    const answer = await t.request("GET", `/v1/jobs/${trainer.jobId}/tensorboard`);
    expect(answer.headers.get("content-disposition")).toContain(`events.out.tfevents.1800000000.${trainer.jobId}`);
    const file = Buffer.from(await answer.arrayBuffer());
    expect(file.subarray(0, 12).toString("hex")).toBe("1800000000000000a37f4b22");
    const [first, ...events] = eventsOf(file);
    expect(first).toMatchObject({ wall: 1_800_000_000, version: "brain.Event:2" });
    expect(events.map(({ step }) => step)).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1));
    expect(events[0]?.values).toEqual({ "train/loss": 1 });
    expect(events[299]?.values).toEqual({ "train/loss": Math.fround(1 / 300), "eval/loss": Math.fround(2 / 300) });
    expect(events[0]?.wall).toBeGreaterThan(1_700_000_000);
  });

  test("its page links the file; another organization does not get it", async () => {
    const page = await t.request("GET", `/jobs/${trainer.jobId}`, { headers: { accept: "text/html" } });
    expect(await page.text()).toContain(`href="/v1/jobs/${trainer.jobId}/tensorboard"`);
    expect((await t.request("GET", `/v1/jobs/${trainer.jobId}/tensorboard`, { as: "other" })).status).toBe(404);
  });
});

describe("MLflow", () => {
  interface Batch {
    run_id: string;
    metrics?: { key: string; value: number; step: number; timestamp: number }[];
    params?: { key: string; value: string }[];
  }
  const { url, asked, stop } = startTracking();
  afterAll(stop);

  async function run(...args: string[]) {
    const child = Bun.spawn([...PROGRAM, "job", "mlflow", ...args], {
      env: {
        PATH: process.env.PATH ?? "",
        HOME: t.dir,
        FTL_URL: server.url,
        FTL_API_KEY: t.keys.admin,
        MLFLOW_TRACKING_TOKEN: "secret",
      },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code: await child.exited, out, err };
  }

  test("a run gets the settings and every value of the job, once", async () => {
    const ran = await run(trainer.jobId, "--tracking", url, "--experiment", "bank");
    expect(ran.err).not.toContain("error");
    expect([ran.code, ran.out]).toEqual([0, `${url}/#/experiments/7/runs/r1\n`]);
    expect(new Set(asked.map((one) => one.authorization))).toEqual(new Set(["Bearer secret"]));
    const of = (path: string) => asked.filter((one) => one.path === path).map(({ body }) => body);
    expect(of("experiments/create")).toEqual([{ name: "bank" }]);
    expect(of("runs/create")[0]).toMatchObject({ experiment_id: "7", start_time: 1_800_000_000_000 });
    expect(of("runs/update")).toEqual([{ run_id: "r1", status: "FINISHED", end_time: 1_800_000_600_000 }]);
    const batches = of("runs/log-batch") as unknown as Batch[];
    const params = Object.fromEntries(batches.flatMap((one) => one.params ?? []).map(({ key, value }) => [key, value]));
    expect(params).toMatchObject({
      base_model: "tiny",
      "method.type": "sft",
      "hyperparameters.learning_rate": "0.001",
    });
    const values = batches.flatMap((one) => one.metrics ?? []);
    expect(values).toHaveLength(STEPS * 1.5);
    expect(values.find(({ key, step }) => key === "eval/loss" && step === 4)?.value).toBe(0.5);
    const again = await run(trainer.jobId, "--tracking", url);
    expect([again.code, again.err]).toEqual([3, expect.stringContaining("is in MLflow already, as run r1")]);
  });
});
