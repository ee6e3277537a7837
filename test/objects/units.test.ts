/** Files, rows and checkpoints in a bucket: written before their rows, read by hash, removed for certain. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { file, objectDeletion, storedObject } from "../../src/db/schema/datasets.ts";
import { eraseOrganization } from "../../src/erasure/organization.ts";
import { readMonitoring } from "../../src/insights/installation/monitoring.ts";
import { diskStore } from "../../src/lib/objects/disk.ts";
import { type ObjectStore, StoreProblem } from "../../src/lib/objects/store.ts";
import { newestCheckpoint } from "../../src/models/tuned/service.ts";
import { keepUnit, removeDue } from "../../src/objects/keep.ts";
import { trimCache } from "../../src/objects/local.ts";
import { compareObjects, lastComparison, readBucketState } from "../../src/objects/sweep.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { checkpointFiles, upload } from "../support/artifacts.ts";
import { makeTrainer } from "../support/attempt.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { chatLines, sendDataset, validated } from "../support/datasets.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const root = mkdtempSync(join(tmpdir(), "ftl-bucket-"));
let t: TestApp;
let clock: FakeClock;
let down = false;
let killed = false;

/** A bucket in a directory, which a test can take away. */
function bucketOf(store: ObjectStore): ObjectStore {
  const up = () => {
    if (down) throw new StoreProblem("unreachable", "the bucket does not answer");
  };
  return {
    ...store,
    kind: "s3",
    async put(...args) {
      up();
      return store.put(...args);
    },
    async *get(...args) {
      up();
      yield* store.get(...args);
    },
    async remove(keys) {
      up();
      await store.remove(keys);
    },
    async *list(prefix) {
      up();
      yield* store.list(prefix);
    },
  };
}
const raw = diskStore(root);

beforeAll(async () => {
  clock = fakeClock(Date.now());
  const failPoint = (name: string) => {
    if (killed && name === "objects.sent") throw new Error("killed here");
  };
  t = await createTestApp({
    config: { artifact_store: "s3", s3_bucket: "lab", s3_access_key_id: "key", pii_scan: "off" },
    ctx: { bucket: bucketOf(raw), clock, failPoint },
  });
});
afterAll(async () => {
  await t.close();
  rmSync(root, { recursive: true, force: true });
});
beforeEach(() => {
  down = false;
  killed = false;
});

async function keysOf(prefix = "teams/"): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of raw.list(prefix)) keys.push(key);
  return keys;
}
/** Removes every copy on this machine. */
async function forgetCopies(): Promise<void> {
  clock.advance(HOUR);
  expect(await trimCache(t.ctx, 0)).toBe(0);
}
const codeOf = async (answer: Response) => [answer.status, (await answer.json()).error?.code];
const lines = `${chatLines(40).join("\n")}\n`;

describe("what a team stores", () => {
  test("is in the bucket below its own prefix, and read from there by hash", async () => {
    const { dataset, version } = await validated(t, lines);
    const fileId = version.file_id as string;
    const keys = await keysOf();
    expect(keys.every((key) => key.startsWith(`teams/${t.orgs.a}/`))).toBe(true);
    expect(keys.filter((key) => key.includes(`/files/${fileId}/`))).toHaveLength(1);
    expect(keys.filter((key) => key.includes(`/datasets/${version.id}/`)).length).toBeGreaterThan(2);
    await forgetCopies();
    expect(existsSync(t.ctx.files.path("files", fileId))).toBe(false);
    expect(existsSync(t.ctx.files.path("datasets", version.id))).toBe(false);
    const { data } = await t.json<{ data: unknown[] }>("GET", `/v1/datasets/${dataset.id}/rows?limit=5`);
    expect(data).toHaveLength(5);
    expect(await (await t.request("GET", `/v1/files/${fileId}/content`)).text()).toBe(lines);
    // Used just now: these copies stay.
    expect(await trimCache(t.ctx, 0)).toBeGreaterThan(0);
    expect(existsSync(t.ctx.files.path("files", fileId))).toBe(true);
  });

  test("keeps files whose copy is gone when another file of it is stored", async () => {
    const { dataset, version } = await validated(t, lines.replaceAll("question", "kept"));
    await forgetCopies();
    await t.ctx.disk.put(
      `datasets/${version.id}/found.jsonl`,
      (async function* () {
        yield new TextEncoder().encode("{}");
      })(),
    );
    const before = await keysOf(`teams/${t.orgs.a}/datasets/${version.id}/`);
    expect(await keepUnit(t.ctx, { folder: "datasets", id: version.id, org: t.orgs.a })).toBe(1);
    await removeDue(t.ctx);
    expect(await keysOf(`teams/${t.orgs.a}/datasets/${version.id}/`)).toHaveLength(before.length + 1);
    const { data } = await t.json<{ data: unknown[] }>("GET", `/v1/datasets/${dataset.id}/rows?limit=5`);
    expect(data).toHaveLength(5);
  });

  test("is refused while the bucket does not answer, and leaves nothing", async () => {
    const before = await keysOf();
    const files = await t.ctx.db.$count(file);
    down = true;
    expect(await codeOf(await sendDataset(t, lines))).toEqual([503, "object_store_unavailable"]);
    expect(await t.ctx.db.$count(file)).toBe(files);
    expect(await keysOf()).toEqual(before);
  });

  test("is not given out when its bytes changed or are gone", async () => {
    const { version } = await validated(t, lines);
    const fileId = version.file_id as string;
    const [key = ""] = await keysOf(`teams/${t.orgs.a}/files/${fileId}/`);
    await forgetCopies();
    down = true;
    const path = `/v1/files/${fileId}/content`;
    expect(await codeOf(await t.request("GET", path))).toEqual([503, "object_store_unavailable"]);
    down = false;
    await Bun.write(join(root, key), `${lines.slice(0, -2)}!\n`);
    expect(await codeOf(await t.request("GET", path))).toEqual([410, "bytes_missing"]);
    expect(existsSync(t.ctx.files.path("files", fileId))).toBe(false);
    await raw.remove([key]);
    expect(await codeOf(await t.request("GET", path))).toEqual([410, "bytes_missing"]);
    expect((await compareObjects(t.ctx))?.missing).toEqual([key]);
    expect((await lastComparison.get(t.ctx))?.missing).toEqual([key]);
    await t.json("DELETE", `/v1/files/${fileId}`);
  });

  test("is removed for certain, also when the bucket does not answer at first", async () => {
    const { dataset, version } = await validated(t, lines);
    down = true;
    expect((await t.request("DELETE", `/v1/datasets/${dataset.id}`)).status).toBe(200);
    const waiting = await t.ctx.db.select().from(objectDeletion);
    expect(waiting.length).toBeGreaterThan(3);
    expect(waiting[0]).toMatchObject({ tries: 1, error: "the bucket does not answer", org: t.orgs.a });
    down = false;
    await removeDue(t.ctx);
    expect(await t.ctx.db.$count(objectDeletion)).toBe(waiting.length);
    clock.advance(60_001);
    await removeDue(t.ctx);
    expect(await t.ctx.db.$count(objectDeletion)).toBe(0);
    expect((await keysOf()).filter((key) => key.includes(version.id))).toEqual([]);
  });
});

describe("checkpoints", () => {
  test("are complete once the bucket has them, and resumed from there", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(3);
    const first = await upload(trainer, files);
    await forgetCopies();
    expect(existsSync(t.ctx.files.path("artifacts", first.artifact_id))).toBe(false);
    const next = await makeTrainer(t, { jobId: trainer.jobId, number: 2 });
    const { resume } = await next.json<{ resume: { step: number; local_path: string | null } }>("GET", "/spec");
    expect(resume.step).toBe(5);
    expect(await (await next.call("GET", "/inputs/resume/trainer_state.json")).text()).toBe('{"step":3}');
    await forgetCopies();
    expect(await (await next.call("GET", "/inputs/resume/adapter_config.json")).text()).toBe('{"r":4}');
  });

  test("of a bucket that does not answer are not taken for damaged", async () => {
    const trainer = await makeTrainer(t);
    const done = await upload(trainer, checkpointFiles(4));
    await forgetCopies();
    down = true;
    expect(await newestCheckpoint(t.ctx, trainer.jobId).catch((error) => error.code)).toBe("object_store_unavailable");
    down = false;
    expect((await newestCheckpoint(t.ctx, trainer.jobId))?.id).toBe(done.checkpoint_id as string);
    await forgetCopies();
    const [row] = await t.ctx.db
      .select()
      .from(storedObject)
      .where(eq(storedObject.unit, `artifacts/${done.artifact_id}`));
    await raw.remove([row?.key ?? ""]);
    expect(await newestCheckpoint(t.ctx, trainer.jobId)).toBeNull();
  });
});

describe("the comparison with the database", () => {
  test("removes what nothing refers to after a day, and nothing before", async () => {
    killed = true;
    expect((await sendDataset(t, lines.replaceAll("question", "killed"))).status).toBe(500);
    killed = false;
    const stray = (await keysOf()).at(-1) ?? "";
    await raw.put(`teams/${t.orgs.b}/files/file-none/x`, (async function* () {})());
    const known = new Set((await t.ctx.db.select().from(storedObject)).map(({ key }) => key));
    const strays = (await keysOf()).filter((key) => !known.has(key));
    expect([strays.length, stray !== ""]).toEqual([2, true]);
    expect(await compareObjects(t.ctx)).toMatchObject({ strays: 0, orphans: 0 });
    clock.advance(2 * DAY);
    const swept = await compareObjects(t.ctx);
    expect(swept).toMatchObject({ strays: 2, orphans: 0 });
    expect(swept?.removedBytes).toBeGreaterThan(0);
    // Shown to administrators and to monitoring.
    const page = await (await t.request("GET", "/admin/status", { as: "admin" })).text();
    expect(page).toContain("Object store");
    expect(page).toContain("2 objects and 0 units that nothing refers to");
    const metrics = await readMonitoring(t.ctx, "1");
    expect(metrics).toMatch(/finetune_lab_objects_removed_total\{kind="strays"\} \d/);
    expect(metrics).toContain(
      `finetune_lab_object_bytes_removed_total ${(await readBucketState(t.ctx))?.removed.removedBytes}`,
    );
    expect((await keysOf()).filter((key) => !known.has(key))).toEqual([]);
  });

  test("removes a unit whose file was removed by a server that was killed then", async () => {
    const { version } = await validated(t, lines);
    await t.ctx.write((tx) =>
      tx
        .update(file)
        .set({ deletedAt: 1 })
        .where(eq(file.id, version.file_id as string)),
    );
    expect((await compareObjects(t.ctx))?.orphans).toBe(0);
    clock.advance(DAY + HOUR);
    expect((await compareObjects(t.ctx))?.orphans).toBe(1);
    expect((await keysOf()).filter((key) => key.includes(`/${version.file_id}/`))).toEqual([]);
  });
});

test("a team is erased only when the bucket has confirmed it", async () => {
  const answer = await t.request("POST", "/v1/files?filename=a.jsonl&purpose=user_data", {
    as: "other",
    raw: "of another team",
    headers: { "content-type": "application/octet-stream" },
  });
  expect(answer.status).toBe(200);
  const prefix = `teams/${t.orgs.b}/`;
  const others = (await keysOf()).filter((key) => !key.startsWith(prefix));
  expect(await keysOf(prefix)).toHaveLength(1);
  down = true;
  expect(await eraseOrganization(t.ctx, t.orgs.b)).toBe(false);
  expect(await keysOf(prefix)).toHaveLength(1);
  down = false;
  expect(await eraseOrganization(t.ctx, t.orgs.b)).toBe(true);
  expect(await keysOf(prefix)).toEqual([]);
  expect(await keysOf()).toEqual(others);
  expect(await t.ctx.db.$count(storedObject, eq(storedObject.org, t.orgs.b))).toBe(0);
});
