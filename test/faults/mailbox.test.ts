/**
 * Faults of the mailbox: a bucket that fails, lost answers, addresses that expire, a server that is killed. The
 * trainer's own client talks to the server through an S3 server that checks signatures and their time. `bun run faults
 * --remote` runs all rows; other runs one.
 */
import { afterAll, beforeAll, expect } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { mailboxUrl } from "../../src/compute/providers/mailbox.ts";
import type { Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { point, series } from "../../src/db/schema/metrics.ts";
import { artifact } from "../../src/db/schema/models.ts";
import { newSecret, sha256Hex } from "../../src/lib/ids.ts";
import type { ObjectStore } from "../../src/lib/objects/store.ts";
import { startMailbox } from "../../src/training/mailbox/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer } from "../support/attempt.ts";
import { TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { ACCESS, BUCKET, cloudsMissing, faultyProxy, type S3Server, startS3 } from "../support/s3-servers.ts";
import { WHOLE } from "./support/remote-row.ts";
import { row } from "./support/row.ts";

const STEPS = 100;
/** Besides its steps it reports that it downloads, as a phase and as a log line, and what it downloaded. */
const EVENTS = STEPS + 3;
const SIZE = 400_000;
const compute: ComputeRegistry = {
  get: () => ({ plugin: { capabilities: { local: false } } as ProviderPlugin, provider: {} as Provider }),
  list: () => [],
};

let server: S3Server;
let proxy: Awaited<ReturnType<typeof faultyProxy>>;
let t: TestApp;
let bucket: ObjectStore;
let stop = async () => {};
const skip = cloudsMissing ?? trainerMissing;

function start(): void {
  stop = startMailbox(t.ctx, (request) => t.app.fetch(request));
}

beforeAll(async () => {
  if (skip) return;
  server = await startS3("rclone");
  proxy = await faultyProxy(server);
  t = await createTestApp({
    ctx: { compute },
    config: {
      trainer_channel: "mailbox",
      mailbox_poll_ms: 50,
      s3_endpoint: proxy.endpoint,
      s3_bucket: BUCKET,
      s3_access_key_id: ACCESS.accessKey,
      s3_secret_key: ACCESS.secretKey,
    },
  });
  bucket = t.ctx.bucket as ObjectStore;
}, 60_000);
afterAll(async () => {
  await t?.close();
  proxy?.stop();
  await server?.stop();
});

/** A trainer in its own process. */
interface Running {
  /** Waits until the server has this many of its events. */
  atEvent(seq: number): Promise<unknown>;
}

/** Runs a trainer while `inject` does the fault, and compares what the server has with what was sent. */
async function through(inject: (trainer: Running) => Promise<string>): Promise<{ times: number; seen: string }> {
  const { attemptId, jobId } = await makeTrainer(t);
  const token = newSecret("ftb-");
  const mine = eq(attempt.id, attemptId);
  const [{ offer } = {}] = await t.ctx.db.select().from(attempt).where(mine);
  if (!offer) throw new Error("no attempt");
  const bootstrap = {
    offer: { ...offer, local: false },
    bootstrapHash: sha256Hex(token),
    bootstrapUntil: t.ctx.clock.now() + 600_000,
  };
  await t.ctx.write((tx) => tx.update(attempt).set(bootstrap).where(mine));
  const scratch = mkdtempSync(join(tmpdir(), "ftl-mailbox-"));
  start();
  const child = Bun.spawn(
    [join(TRAINER_ENV, "bin/python"), join(import.meta.dir, "support/mailbox_trainer.py"), `${STEPS}`, `${SIZE}`],
    {
      env: {
        PATH: "/usr/bin:/bin",
        PYTHONPATH: join(import.meta.dir, "../../trainer"),
        PYTHONDONTWRITEBYTECODE: "1",
        FTL_HOME_URL: await mailboxUrl(t.ctx, attemptId, 60),
        FTL_ATTEMPT_TOKEN: token,
        FTL_SCRATCH: scratch,
      },
      stdout: Bun.file(join(scratch, "log")),
      stderr: Bun.file(join(scratch, "log")),
    },
  );
  const seq = async () => (await t.ctx.db.select().from(attempt).where(mine))[0]?.lastSeq ?? 0;
  try {
    const from = performance.now();
    const atEvent = (wanted: number) => until(`event ${wanted}`, async () => (await seq()) >= wanted, 60_000, 20);
    const seen = await inject({ atEvent });
    if ((await child.exited) !== 0) throw new Error(readFileSync(join(scratch, "log"), "utf8").slice(-2000));
    const took = (performance.now() - from) / 1000;
    expect(await seq()).toBe(EVENTS);
    const points = await t.ctx.db
      .select({ step: point.step })
      .from(point)
      .innerJoin(series, eq(series.id, point.seriesId))
      .where(eq(series.jobId, jobId));
    expect(points.length).toBe(STEPS);
    const files = await t.ctx.db.select().from(artifact).where(eq(artifact.jobId, jobId));
    expect(files.map(({ status, bytes }) => [status, bytes])).toEqual([["complete", SIZE + 11]]);
    // What an ended attempt left is removed.
    await t.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(mine));
    return { times: 1, seen: `${seen}; ${EVENTS} events once, the file complete, ${took.toFixed(1)} s` };
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    t.ctx.bucket = bucket;
    t.ctx.failPoint = () => {};
    await stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The server is killed at a fail point, the `at`th time it gets there, and starts again a second later. */
const killed = (name: "mailbox.handled" | "mailbox.answered" | "events.stored", at: number) => async () => {
  let passes = 0;
  let dead: () => void = () => {};
  const died = new Promise<void>((resolve) => {
    dead = resolve;
  });
  t.ctx.failPoint = (point) => {
    if (point !== name || ++passes < at) return;
    dead();
    throw new Error("killed");
  };
  await died;
  await stop();
  t.ctx.failPoint = () => {};
  await Bun.sleep(1000);
  start();
  return "the request was carried out again";
};

let rows = 0;
const add = (fault: string, expected: string, inject: (trainer: Running) => Promise<string>, short = false) => {
  const number = `m${++rows}`;
  if (WHOLE || short)
    row(
      { row: number, fault, expected, provider: "mailbox", skip },
      () => null,
      () => through(inject),
    );
};

const SAME = "nothing lost, nothing twice";

add("the bucket answers 503 SlowDown to 12 requests", SAME, async ({ atEvent }) => {
  await atEvent(20);
  proxy.faults.slowDown = 12;
  await until("the requests", async () => proxy.faults.slowDown === 0, 60_000);
  return "12 times 503";
});

add("connections to the bucket are reset, 10 times", SAME, async ({ atEvent }) => {
  await atEvent(20);
  Object.assign(proxy.faults, { resets: 10, resetAfter: 200 });
  await until("the resets", async () => proxy.faults.resets === 0, 60_000);
  return "10 resets";
});

add(
  "the server is killed after a request is carried out, before its answer",
  "carried out again, stored once",
  killed("mailbox.handled", 8),
  true,
);
add(
  "the server is killed after an answer, before the request is removed",
  "answered again, stored once",
  killed("mailbox.answered", 8),
);
add("the server is away for six seconds", "the trainer goes on, then everything arrives", async ({ atEvent }) => {
  await atEvent(20);
  await stop();
  await Bun.sleep(6000);
  start();
  return "6 s without a server";
});

add("three answers are lost", "asked again after the time limit, stored once", async ({ atEvent }) => {
  await atEvent(20);
  let lost = 0;
  t.ctx.bucket = {
    ...bucket,
    put: (key, ...rest) =>
      key.includes("/out/") && lost < 3 && ++lost
        ? Promise.resolve({ bytes: 0, sha256: "" })
        : bucket.put(key, ...rest),
  };
  await until("the losses", async () => lost === 3, 60_000);
  return "3 answers lost";
});

add("the list shows objects three seconds late", "slower, the same", async ({ atEvent }) => {
  await atEvent(20);
  let hidden = 0;
  t.ctx.bucket = {
    ...bucket,
    async *list(prefix) {
      for await (const item of bucket.list(prefix))
        if (Date.now() - item.modifiedAt > 3000) yield item;
        else hidden++;
    },
  };
  await until("late objects", async () => hidden > 20, 60_000);
  await Bun.sleep(4000);
  t.ctx.bucket = bucket;
  return "every object late for 4 s";
});

add("all addresses expire while the server is away", "read again, the attempt goes on", async ({ atEvent }) => {
  const short = {
    ...bucket,
    presignPut: (key: string, _: number, bytes: number | null) => bucket.presignPut(key, 2, bytes),
    presignGet: (key: string, seconds: number) => bucket.presignGet(key, key.includes("/out/") ? 2 : seconds),
  };
  await atEvent(20);
  t.ctx.bucket = short;
  const { now } = t.ctx.clock;
  // Half of their time is over: the server renews them.
  t.ctx.clock = { ...t.ctx.clock, now: () => now() + 3_700_000 };
  await Bun.sleep(1500);
  await stop();
  t.ctx.bucket = bucket;
  await Bun.sleep(3000);
  start();
  await Bun.sleep(1500);
  t.ctx.clock = { ...t.ctx.clock, now };
  return "expired for 3 s";
});

add(
  "someone removes the requests of a trainer from the bucket",
  "sent again after the time limit",
  async ({ atEvent }) => {
    await atEvent(20);
    let removed = 0;
    await until(
      "removals",
      async () => {
        for await (const { key } of bucket.list("mailbox/"))
          if (key.includes("/in/")) removed += await bucket.remove([key]).then(() => 1);
        return removed >= 3;
      },
      60_000,
      10,
    );
    return `${removed} requests removed`;
  },
);
