/**
 * Uploading checkpoints over HTTP: resumable, checked to the last byte, nothing outside its directory, and no pickle
 * under any name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { eq } from "drizzle-orm";
import type { ArtifactCompleted, ArtifactOpened } from "../../src/contract/trainer.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../../src/db/schema/models.ts";
import { newId, sha256Hex } from "../../src/lib/ids.ts";
import { newestCheckpoint } from "../../src/models/tuned/service.ts";
import { dropUnfinished } from "../../src/training/trainer-protocol/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics, type TestTrainer, trainSpec } from "../support/attempt.ts";
import { safetensors, withHeader } from "../support/safetensors.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

type Files = Record<string, Uint8Array | string>;
const bytesOf = (content: Uint8Array | string) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;
const listed = (files: Files) =>
  Object.entries(files).map(([path, content]) => ({
    path,
    size: bytesOf(content).byteLength,
    sha256: sha256Hex(bytesOf(content)),
  }));
const order = (files: Files, step = 5, kind = "checkpoint") => ({
  kind,
  step,
  metrics: { "eval/loss": 0.5 },
  files: listed(files),
});
const open = (trainer: TestTrainer, body: unknown) =>
  trainer.json<ArtifactOpened & Record<string, unknown>>("POST", "/artifacts", { body });
const put = (trainer: TestTrainer, id: string, path: string, offset: number, bytes: Uint8Array) =>
  trainer.call("PUT", `/artifacts/${id}/${path}?offset=${offset}`, { raw: new Uint8Array(bytes) });
const complete = (trainer: TestTrainer, id: string) => trainer.call("POST", `/artifacts/${id}/complete`, { body: {} });

const checkpointFiles = (seed: number): Files => ({
  "adapter_model.safetensors": safetensors({ a: [seed, 2, 3], b: Array.from({ length: 500 }, (_, n) => n + seed) }),
  "optimizer.safetensors": safetensors({ m: [seed] }),
  "adapter_config.json": '{"r":4}',
  "trainer_state.json": `{"step":${seed}}`,
});

async function upload(trainer: TestTrainer, files: Files, step = 5): Promise<ArtifactCompleted> {
  const { artifact_id: id } = await open(trainer, order(files, step));
  for (const [path, content] of Object.entries(files))
    expect((await put(trainer, id, path, 0, bytesOf(content))).status).toBe(200);
  const answer = await complete(trainer, id);
  expect(answer.status).toBe(200);
  return (await answer.json()) as ArtifactCompleted;
}

const errorOf = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; message: string; param: string | null } };
  return { status: answer.status, ...error };
};

/** Everything in a directory, as sorted relative paths. */
const everything = (root: string): string[] =>
  (readdirSync(root, { recursive: true }) as string[]).filter((path) => statSync(join(root, path)).isFile()).sort();

describe("a checkpoint on its way", () => {
  test("it is uploaded, counts as a checkpoint, and a retried attempt goes on from it", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([1, 2, 3, 4, 5, 6, 7].map((step) => metrics(step, { "train/loss": step })));
    const done = await upload(trainer, checkpointFiles(1));
    const spec = trainSpec();
    expect(done.model).toMatch(/^ft:tiny:.*:ckpt-step-5$/);
    const manifest = JSON.parse(readFileSync(t.ctx.files.path("artifacts", done.artifact_id, "manifest.json"), "utf8"));
    expect(manifest).toMatchObject({ artifact_id: done.artifact_id, step: 5, kind: "checkpoint" });
    expect((await newestCheckpoint(t.ctx, trainer.jobId))?.id).toBe(done.checkpoint_id as string);
    const [row] = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(row?.metrics).toEqual({ "eval/loss": 0.5 });
    expect(spec.output_model).not.toBe(done.model as string);

    // The next attempt is told to go on from step 5, and what lies beyond is dropped when it reports.
    const next = await makeTrainer(t, { jobId: trainer.jobId, number: 2 });
    const reply = await next.json<{ resume: { step: number; files: unknown[] } }>("GET", "/spec");
    expect([reply.resume.step, reply.resume.files.length]).toEqual([5, 4]);
    const file = await next.call("GET", "/inputs/resume/adapter_config.json");
    expect(await file.text()).toBe('{"r":4}');
    await next.send([metrics(6, { "train/loss": 60 })]);
    const { series } = await t.json<{ series: Record<string, { points: unknown }> }>(
      "GET",
      `/v1/jobs/${trainer.jobId}/metrics`,
    );
    expect(series["train/loss"]?.points).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
      [5, 5],
      [6, 60],
    ]);
  });

  test("parts are taken up where they stopped, a wrong place is told the right one", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(2);
    const name = "adapter_model.safetensors";
    const bytes = bytesOf(files[name] as Uint8Array);
    const { artifact_id: id } = await open(trainer, order(files));
    expect(await (await put(trainer, id, name, 0, bytes.subarray(0, 100))).json()).toEqual({ offset: 100 });
    for (const offset of [0, 50, 101, 5000]) {
      const answer = await put(trainer, id, name, offset, bytes.subarray(offset, offset + 10));
      expect([answer.status, await answer.json()]).toMatchObject([
        409,
        { error: { code: "wrong_offset" }, offset: 100 },
      ]);
    }
    // The same order again finds the same artifact and says how far it is.
    const again = await open(trainer, order(files));
    expect(again.artifact_id).toBe(id);
    expect(again.complete).toBe(false);
    expect(again.files.find((file) => file.path === name)?.offset).toBe(100);
    await put(trainer, id, name, 100, bytes.subarray(100));
    for (const [path, content] of Object.entries(files))
      if (path !== name) await put(trainer, id, path, 0, bytesOf(content));
    const first = (await (await complete(trainer, id)).json()) as ArtifactCompleted;
    const second = (await (await complete(trainer, id)).json()) as ArtifactCompleted;
    expect(second).toEqual(first);
    const known = await open(trainer, order(files));
    expect([known.artifact_id, known.complete]).toEqual([id, true]);
    expect((await put(trainer, id, name, 0, bytes)).status).toBe(409);
  });

  test("one file short of its end is named, and not counted", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(3);
    const { artifact_id: id } = await open(trainer, order(files));
    for (const [path, content] of Object.entries(files)) {
      const bytes = bytesOf(content);
      await put(trainer, id, path, 0, path.startsWith("optimizer") ? bytes.subarray(0, bytes.byteLength - 1) : bytes);
    }
    const error = await errorOf(await complete(trainer, id));
    expect(error).toMatchObject({ status: 422, code: "incomplete_file", param: "optimizer.safetensors" });
    expect(existsSync(t.ctx.files.path("artifacts", id, "manifest.json"))).toBe(false);
    expect(await newestCheckpoint(t.ctx, trainer.jobId)).toBeNull();
  });

  test("a flipped bit is found; the file is sent again and then counts", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(4);
    const name = "adapter_model.safetensors";
    const good = bytesOf(files[name] as Uint8Array);
    const bad = good.slice();
    bad[bad.byteLength - 3] = (bad[bad.byteLength - 3] ?? 0) ^ 4;
    const { artifact_id: id } = await open(trainer, order(files));
    for (const [path, content] of Object.entries(files))
      await put(trainer, id, path, 0, path === name ? bad : bytesOf(content));
    expect(await errorOf(await complete(trainer, id))).toMatchObject({ status: 422, param: name });
    expect((await open(trainer, order(files))).files.find((file) => file.path === name)?.offset).toBe(0);
    await put(trainer, id, name, 0, good);
    expect((await complete(trainer, id)).status).toBe(200);
  });

  test("more bytes than declared are refused", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(5);
    const { artifact_id: id } = await open(trainer, order(files));
    const answer = await put(trainer, id, "adapter_config.json", 0, bytesOf('{"r":4,"more":1}'));
    expect([answer.status, existsSync(t.ctx.files.path("artifacts", id, "adapter_config.json"))]).toEqual([413, false]);
    expect((await put(trainer, id, "adapter_config.json", 0, new Uint8Array(8 * 1024 ** 2 + 1))).status).toBe(413);
    for (const offset of ["", "-1", "x", "1e3", "9".repeat(20)])
      expect(
        (await trainer.call("PUT", `/artifacts/${id}/adapter_config.json?offset=${offset}`, { raw: "{" })).status,
      ).toBe(400);
  });

  test("an artifact belongs to its attempt alone", async () => {
    const [mine, theirs] = [await makeTrainer(t), await makeTrainer(t, { org: t.orgs.b })];
    const files = checkpointFiles(6);
    const { artifact_id: id } = await open(mine, order(files));
    expect((await put(theirs, id, "adapter_config.json", 0, bytesOf('{"r":4}'))).status).toBe(404);
    expect((await complete(theirs, id)).status).toBe(404);
  });

  test("what the disk has no room for is refused before the first byte", async () => {
    const trainer = await makeTrainer(t);
    const files = Array.from({ length: 200 }, (_, n) => ({
      path: `model-${n}.safetensors`,
      size: 256 * 1024 ** 3,
      sha256: "0".repeat(64),
    }));
    const answer = await trainer.call("POST", "/artifacts", { body: { ...order(checkpointFiles(7)), files } });
    expect(await errorOf(answer)).toMatchObject({ status: 507, code: "disk_full" });
  });

  test("a disk that fills up in the middle of a part takes back what it wrote of it", () => {
    const script = join(import.meta.dir, "../support/write-part.ts");
    const path = join(t.dir, "tmp", "part");
    // Files of this process may have 8 KiB: the part fails half-way, as on a full disk.
    const limited = ["bash", "-c", 'ulimit -f 8 && exec "$0" "$@"', process.execPath, script, path];
    const run = Bun.spawnSync(limited);
    expect(JSON.parse(run.stdout.toString())).toEqual({ code: "disk_full", size: 4096 });
  });
});

describe("what is never taken", () => {
  const pickle = Buffer.from(
    "\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'touch /tmp/x'\ntR.",
    "latin1",
  );
  const zip = Buffer.concat([Buffer.from("PK\x03\x04\x00\x00", "latin1"), Buffer.from("archive/data.pkl".repeat(20))]);
  const tensor = (entry: object, bytes = 12) => withHeader(JSON.stringify({ a: entry }), new Uint8Array(bytes));
  const cases: [name: string, path: string, content: Uint8Array | string][] = [
    ["a pickle named safetensors", "adapter_model.safetensors", pickle],
    ["a torch archive named safetensors", "adapter_model.safetensors", zip],
    ["a torch archive named json", "x.json", zip],
    ["a pickle named txt", "x.txt", pickle],
    ["a torch archive named gguf", "x.gguf", zip],
    [
      "a header longer than the file",
      "x.safetensors",
      new Uint8Array(Buffer.concat([Buffer.from("ffffff7f00000000", "hex"), Buffer.from("{}".padEnd(80))])),
    ],
    ["a header that is no JSON", "x.safetensors", withHeader("{not json".padEnd(80), new Uint8Array(12))],
    ["a tensor beyond the end", "x.safetensors", tensor({ dtype: "F32", shape: [4], data_offsets: [0, 16] })],
    ["a tensor of the wrong size", "x.safetensors", tensor({ dtype: "F32", shape: [2], data_offsets: [0, 12] })],
    ["an unknown type of tensor", "x.safetensors", tensor({ dtype: "OBJECT", shape: [3], data_offsets: [0, 12] })],
    ["a negative shape", "x.safetensors", tensor({ dtype: "F32", shape: [-3], data_offsets: [0, 12] })],
    ["bytes after the last tensor", "x.safetensors", tensor({ dtype: "F32", shape: [2], data_offsets: [0, 8] })],
    [
      "two tensors in one place",
      "x.safetensors",
      withHeader(
        '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
        new Uint8Array(4),
      ),
    ],
    ["JSON that is none", "x.json", "{'r': 4}"],
    ["JSON a million deep", "x.json", "[".repeat(1_000_000)],
    ["JSONL with a bad line", "x.jsonl", '{"a":1}\n{"a":\n'],
    ["text that is not UTF-8", "x.txt", new Uint8Array([0x61, 0xff, 0xfe, 0x62])],
    ["text with zero bytes", "x.md", "a\0b"],
    [
      "GGUF of an unknown version",
      "x.gguf",
      Buffer.concat([Buffer.from("GGUF"), Buffer.from([9, 0, 0, 0]), Buffer.alloc(80)]),
    ],
  ];
  test.each(cases)("%s", async (_name, path, content) => {
    const trainer = await makeTrainer(t);
    const files: Files = { [path]: content };
    const { artifact_id: id } = await open(trainer, order(files, 1, "report"));
    const parts = await put(trainer, id, path, 0, bytesOf(content));
    const answer = parts.status === 200 ? await complete(trainer, id) : parts;
    expect(await errorOf(answer)).toMatchObject({ status: 422, param: path });
    expect(everything(t.ctx.files.path("artifacts", id))).toEqual([]);
  });

  test("paths that would leave the directory, hide, or name a program: refused, and the canary lives", async () => {
    const trainer = await makeTrainer(t);
    const canary = join(dirname(t.ctx.files.path("artifacts", "x")), "..", "canary.json");
    writeFileSync(canary, '{"alive":true}');
    const before = everything(t.dir).filter((path) => !path.startsWith("lab.db"));
    const paths = [
      "../canary.json",
      "../../canary.json",
      "a/../../canary.json",
      "/etc/passwd.json",
      "..\\canary.json",
      "a\\b.json",
      "./a.json",
      "a//b.json",
      "a/./b.json",
      "%2e%2e/canary.json",
      "..%2fcanary.json",
      "%252e%252e%252fcanary.json",
      "file:///canary.json",
      "C:\\canary.json",
      "a\0.json",
      "a\n.json",
      "ａ.json",
      "..．/canary.json",
      "~/canary.json",
      "-/../x.json",
      ".bashrc.json",
      "a/.ssh/x.json",
      "manifest.json",
      "MANIFEST.JSON",
      "x.bin",
      "x.pt",
      "x.pth",
      "x.pkl",
      "x.ckpt",
      "x.npy",
      "x.npz",
      "x.py",
      "x.so",
      "x.sh",
      "x.html",
      "x.safetensors.pt",
      "x",
      "x.json/",
      "",
      ".",
      "..",
      "a".repeat(300),
    ];
    for (const path of paths) {
      const body = { kind: "report", step: 0, metrics: {}, files: [{ path, size: 5, sha256: "0".repeat(64) }] };
      expect([path, (await trainer.call("POST", "/artifacts", { body })).status]).toEqual([path, 422]);
    }
    const { artifact_id: id } = await open(trainer, order({ "a.json": "{}" }, 0, "report"));
    for (const path of [
      "../canary.json",
      "%2e%2e/canary.json",
      "..%2fcanary.json",
      "%252e%252e%252fcanary.json",
      "b.json",
      "a.json/x",
      "a%00.json",
    ])
      expect((await put(trainer, id, path, 0, bytesOf("{}"))).status).toBeGreaterThanOrEqual(400);
    expect(readFileSync(canary, "utf8")).toBe('{"alive":true}');
    expect(everything(t.dir).filter((path) => !path.startsWith("lab.db"))).toEqual(before);
  });

  test("lists that contradict themselves are refused", async () => {
    const trainer = await makeTrainer(t);
    const file = (path: string, size = 5) => ({ path, size, sha256: "0".repeat(64) });
    const status = async (changes: object) =>
      (
        await trainer.call("POST", "/artifacts", {
          body: { kind: "report", step: 0, metrics: {}, files: [file("a.json")], ...changes },
        })
      ).status;
    expect(await status({ files: [file("a.json"), file("A.json")] })).toBe(422);
    expect(await status({ files: [file("a.json"), file("a.json/b.json")] })).toBe(422);
    expect(await status({ kind: "checkpoint" })).toBe(422);
    expect(await status({ files: [file("a.safetensors", 0)] })).toBe(422);
    expect(await status({ files: [] })).toBe(400);
    expect(await status({ files: [file("a.json", -1)] })).toBe(400);
    expect(await status({ files: Array.from({ length: 201 }, (_, n) => file(`${n}.json`)) })).toBe(400);
    expect(await status({ kind: "pickle" })).toBe(400);
    expect(await status({ metrics: { x: "big" } })).toBe(400);
    expect(await status({ step: 1.5 })).toBe(400);
  });
});

describe("room on the disk", () => {
  test("old checkpoints go, but not one that a model names, and never the newest whole one", async () => {
    const spec = trainSpec();
    const trainer = await makeTrainer(t, { spec });
    const made: ArtifactCompleted[] = [];
    const add = async (step: number) => made.push(await upload(trainer, checkpointFiles(100 + step), step));
    await add(1);
    await t.ctx.write((tx) =>
      tx.insert(model).values({
        id: newId("job"),
        org: t.orgs.a,
        name: "m",
        baseModelId: "tiny",
        jobId: trainer.jobId,
        checkpointId: made[0]?.checkpoint_id ?? "",
        createdBy: "x",
        createdAt: 1,
      }),
    );
    for (const step of [2, 3, 4, 5]) await add(step);
    const rows = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(rows.map((row) => row.step).sort()).toEqual([1, 4, 5]);
    const there = made.map((one) => existsSync(t.ctx.files.path("artifacts", one.artifact_id)));
    expect(there).toEqual([true, false, false, true, true]);
    const gone = await t.ctx.db
      .select()
      .from(artifact)
      .where(eq(artifact.id, made[1]?.artifact_id ?? ""));
    expect(gone[0]?.status).toBe("deleted");
  });

  test("a step saved again takes the older one's place, and the older files go", async () => {
    const trainer = await makeTrainer(t);
    const old = await upload(trainer, checkpointFiles(1), 5);
    const again = await makeTrainer(t, { jobId: trainer.jobId, number: 2 });
    const fresh = await upload(again, checkpointFiles(9), 5);
    expect(fresh.checkpoint_id).toBe(old.checkpoint_id);
    const rows = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(rows.map((row) => row.artifactId)).toEqual([fresh.artifact_id]);
    expect(existsSync(t.ctx.files.path("artifacts", old.artifact_id))).toBe(false);
  });

  test("unfinished uploads of attempts that are over are removed, those of live ones stay", async () => {
    const [live, over] = [await makeTrainer(t), await makeTrainer(t)];
    const [keep, drop] = [await open(live, order(checkpointFiles(1))), await open(over, order(checkpointFiles(2)))];
    await put(over, drop.artifact_id, "adapter_config.json", 0, bytesOf('{"r"'));
    await t.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(eq(attempt.id, over.attemptId)));
    await dropUnfinished(t.ctx, over.jobId);
    await dropUnfinished(t.ctx, live.jobId);
    const there = [keep, drop].map((one) => existsSync(t.ctx.files.path("artifacts", one.artifact_id)));
    expect(there).toEqual([true, false]);
  });
});
