/** The Weights & Biases integration of a job: a result file that `wandb sync` reads, with the run's metrics. */
import { expect, test } from "bun:test";
import { crc32 } from "node:zlib";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { wandbFile } from "../../src/training/results/wandb-file.ts";
import { createTestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";

/** The records of a file in LevelDB's log format, with every checksum checked. */
function recordsOf(bytes: Buffer): Buffer[] {
  expect(bytes.subarray(0, 7).toString("latin1")).toBe(":W&B\xe1\xbe\0");
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 7; at < bytes.length; ) {
    const left = 32_768 - (at % 32_768);
    if (left < 7) {
      at += left;
      continue;
    }
    const [sum, length, kind] = [bytes.readUInt32LE(at), bytes.readUInt16LE(at + 4), bytes[at + 6] ?? 0];
    const data = bytes.subarray(at + 7, at + 7 + length);
    expect(7 + length).toBeLessThanOrEqual(left);
    expect(crc32(Buffer.concat([Buffer.from([kind]), data]))).toBe(sum);
    at += 7 + length;
    if (kind === 1 || kind === 2) expect(parts).toEqual([]);
    parts.push(data);
    if (kind === 2 || kind === 3) continue;
    records.push(Buffer.concat(parts));
    parts = [];
  }
  return records;
}

type Field = [number: number, value: number | Buffer];
/** The fields of a protobuf message. */
function fieldsOf(bytes: Buffer): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const value = varint();
    const isBytes = tag % 8 === 2;
    found.push([Math.floor(tag / 8), isBytes ? bytes.subarray(at, at + value) : value]);
    if (isBytes) at += value;
  }
  return found;
}
const texts = (bytes: Buffer) => fieldsOf(bytes).map(([n, value]) => [n, Buffer.isBuffer(value) ? `${value}` : value]);
/** The kind of a record and its content. */
const bodyOf = (record: Buffer): [number, Buffer] => {
  const [, body] = fieldsOf(record);
  if (!body || !Buffer.isBuffer(body[1])) throw new Error("a record has a number and a body");
  return [body[0], body[1]];
};
/** The items of a record of history or summary: keys and values. */
const itemsOf = (body: Buffer) =>
  Object.fromEntries(
    fieldsOf(body)
      .filter(([n]) => n === 1)
      .map(([, item]) => texts(item as Buffer))
      .map(([key, value]) => [key?.[1], JSON.parse(String(value?.[1]))]),
  );

test("a job with the integration has a file with its run, beside the CSV", async () => {
  const t = await createTestApp();
  const trainer = await makeTrainer(t);
  await trainer.send([metrics(1, { "train/loss": 2 }), metrics(2, { "train/loss": 1.5, "eval/loss": 1.75 })]);
  const wandb = { project: "bank", name: "first", entity: "team", tags: ["a", "b"] };
  const integrations = [{ type: "wandb" as const, wandb }];
  const finishedAt = Date.now();
  await t.ctx.write((tx) =>
    tx.update(job).set({ state: "succeeded", finishedAt, request: { integrations } }).where(eq(job.id, trainer.jobId)),
  );
  const path = `/v1/fine_tuning/jobs/${trainer.jobId}`;
  const found = await t.json<{ result_files: string[]; integrations: object[] }>("GET", path);
  expect(found.integrations).toEqual(integrations);
  const names = await Promise.all(
    found.result_files.map(async (id) => (await t.json<{ filename: string }>("GET", `/v1/files/${id}`)).filename),
  );
  expect(names).toEqual([`step_metrics_${trainer.jobId}.csv`, `run-${trainer.jobId}.wandb`]);
  const content = await t.request("GET", `/v1/files/${found.result_files[1]}/content`);
  const records = recordsOf(Buffer.from(await content.arrayBuffer())).map(bodyOf);
  // Header, run, a record for each step, summary, exit.
  expect(records.map(([kind]) => kind)).toEqual([21, 17, 2, 2, 3, 18]);
  const run = texts(records[1]?.[1] as Buffer).filter(([n]) => n !== 4 && n !== 17);
  expect(run).toEqual([
    [1, trainer.jobId],
    [2, "team"],
    [3, "bank"],
    [8, "first"],
    [10, "a"],
    [10, "b"],
  ]);
  expect(itemsOf(records[2]?.[1] as Buffer)).toEqual({ train_loss: 2, _step: 1 });
  expect(itemsOf(records[3]?.[1] as Buffer)).toEqual({ train_loss: 1.5, valid_loss: 1.75, _step: 2 });
  expect(itemsOf(records[4]?.[1] as Buffer)).toEqual({ train_loss: 1.5, valid_loss: 1.75, _step: 2 });
  await t.close();
});

test("records that cross the end of a block are split and joined again", () => {
  const history = Array.from({ length: 3000 }, (_, step) => [step, new Map([["train_loss", 1 / (step + 3)]])] as const);
  const config = { note: "x".repeat(100_000) };
  const run = { id: "r", project: "p", name: "n", tags: [], config, startedAt: 1_800_000_000, runtimeS: 300, history };
  const file = wandbFile(run);
  const records = recordsOf(file).map(bodyOf);
  expect(records).toHaveLength(3004);
  const [, start] = fieldsOf(records[1]?.[1] as Buffer).find(([n]) => n === 17) ?? [];
  expect(texts(start as Buffer)).toEqual([[1, 1_800_000_000]]);
  expect(records.slice(2, 3002).map(([, body]) => itemsOf(body)._step)).toEqual(history.map(([step]) => step));
  expect(texts(records.at(-1)?.[1] as Buffer)).toEqual([
    [1, 0],
    [2, 300],
  ]);
});

test("other integrations and unknown fields are refused by name", async () => {
  const t = await createTestApp();
  const refused = async (integrations: unknown) => {
    const body = { model: "tiny", training_file: "file-x", integrations };
    const answer = await t.request("POST", "/v1/fine_tuning/jobs", { body });
    return [answer.status, ((await answer.json()) as { error: { param: string } }).error.param];
  };
  expect(await refused([{ type: "other", wandb: { project: "a" } }])).toEqual([400, "integrations.0.type"]);
  expect(await refused([{ type: "wandb" }])).toEqual([400, "integrations.0.wandb"]);
  expect(await refused([{ type: "wandb", wandb: {} }])).toEqual([400, "integrations.0.wandb.project"]);
  const more = { project: "a", api_key: "x" };
  expect(await refused([{ type: "wandb", wandb: more }])).toEqual([400, "integrations.0.wandb.api_key"]);
  await t.close();
});
