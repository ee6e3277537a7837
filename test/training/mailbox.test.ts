/** The mailbox in an object store: trainers reach the server through presigned addresses of a bucket, and only so. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { mailboxUrl } from "../../src/compute/providers/mailbox.ts";
import { loadConfig } from "../../src/config.ts";
import type { Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { newSecret, sha256Hex } from "../../src/lib/ids.ts";
import { startMailbox } from "../../src/training/mailbox/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics, saveCheckpoint, type TestTrainer } from "../support/attempt.ts";
import { MailboxClient } from "../support/mailbox-client.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";

const compute: ComputeRegistry = {
  get: () => ({ plugin: { capabilities: { local: false } } as ProviderPlugin, provider: {} as Provider }),
  list: () => [],
};

test("the mailbox needs a bucket", () => {
  expect(() => loadConfig({ data_dir: "/tmp/none", trainer_channel: "mailbox" }, {})).toThrow(
    'Setting "trainer_channel": is mailbox, which needs a bucket that trainers reach. Set s3_bucket.',
  );
});

describe.skipIf(cloudsMissing !== null).each(["moto", "rclone"] as const)("over %s", (kind) => {
  let server: S3Server;
  let t: TestApp;
  let stop: () => Promise<void>;
  const keys = async () => {
    const found: string[] = [];
    for await (const { key } of t.ctx.bucket?.list("mailbox") ?? []) found.push(key);
    return found;
  };
  const elsewhere = async () => {
    const trainer = await makeTrainer(t);
    const token = newSecret("ftb-");
    await t.ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ bootstrapHash: sha256Hex(token), bootstrapUntil: t.ctx.clock.now() + 60_000 })
        .where(eq(attempt.id, trainer.attemptId)),
    );
    return { trainer, token, url: await mailboxUrl(t.ctx, trainer.attemptId, 0) };
  };
  const enter = async () => {
    const { trainer, token, url } = await elsewhere();
    const client = new MailboxClient(url);
    await client.bootstrap(token);
    return { trainer, client };
  };

  beforeAll(async () => {
    server = await startS3(kind);
    t = await createTestApp({
      ctx: { compute },
      config: {
        trainer_channel: "mailbox",
        mailbox_poll_ms: 50,
        s3_endpoint: server.endpoint,
        s3_bucket: BUCKET,
        s3_access_key_id: ACCESS.accessKey,
        s3_secret_key: ACCESS.secretKey,
      },
    });
    stop = startMailbox(t.ctx, (request) => t.app.fetch(request));
    t.ctx.bus.emit("job.changed", { kind: "train", state: "running", jobId: "none", org: t.orgs.a } as never);
  }, 60_000);
  afterAll(async () => {
    await stop?.();
    await t?.close();
    await server?.stop();
  });

  test("events, commands, inputs, rows and a checkpoint go through it", async () => {
    const { trainer, client } = await enter();
    const spec = await client.json("GET", "/spec");
    expect(spec.attempt_id).toBe(trainer.attemptId);
    const events = { events: [{ seq: 1, at: 1, ...metrics(1, { x: 1 }) }] };
    expect(await client.json("POST", "/events", { body: events })).toEqual({ last_seq: 1, commands: [] });
    const file = await client.call("GET", "/inputs/base/config.json", { headers: { range: "bytes=2-" } });
    // rclone answers 200 to a range.
    expect([file.headers.get("content-range"), await file.text()]).toEqual(["bytes 2-12/13", '{"tiny":true}'.slice(2)]);
    const digest = await client.json<{ sha256: string }>("GET", "/data/train/digest");
    const rows = await (await client.call("GET", "/data/train")).text();
    expect(sha256Hex(rows)).toBe(digest.sha256);
    await saveCheckpoint(client, 1, { "eval/loss": 1 });
    const { data } = await t.json<{ data: unknown[] }>("GET", `/v1/jobs/${trainer.jobId}/checkpoints`);
    expect(data.length).toBe(1);
    expect((await client.call("GET", "/inputs/base/none.json")).status).toBe(404);
    expect((await client.call("POST", "/bootstrap", { body: {} })).status).toBe(404);
  }, 60_000);

  test("an answer is the same twice, and requests that are none are removed", async () => {
    const { client, trainer } = await enter();
    const events = { events: [{ seq: 1, at: 1, ...metrics(1, { x: 1 }) }] };
    const again = { events: [...events.events, { seq: 2, at: 2, ...metrics(2, { x: 2 }) }] };
    expect(await client.json("POST", "/events", { body: events })).toMatchObject({ last_seq: 1 });
    expect(await client.json("POST", "/events", { body: again })).toMatchObject({ last_seq: 2 });
    for (const raw of ["no request\n", "x".repeat(20_000), '{"n":1,"method":"GET","path":"/spec","headers":{}}\n'])
      await client.put(raw);
    // A lane has one request at a time: what is put in its place while it is removed is lost.
    await client.gone(async () => (await keys()).filter((key) => key.includes(`${trainer.attemptId}/in/`)));
    const { status } = await client.call("GET", "/spec");
    expect(status).toBe(200);
  }, 60_000);

  test("the mailbox of one attempt takes no token of another, and refuses an unknown one", async () => {
    const [first, second] = [await enter(), await enter()];
    const foreign = await first.client.call("GET", "/spec", { token: second.client.token });
    expect([foreign.status, ((await foreign.json()) as { error: { message: string } }).error.message]).toEqual([
      401,
      "This is the mailbox of another attempt.",
    ]);
    expect((await first.client.call("GET", "/spec", { token: "fta-00000000000000000000" })).status).toBe(401);
  }, 60_000);

  test("what the machine was started with reads no answer of its trainer, and a second nonce ends the attempt", async () => {
    const { trainer, token, url } = await elsewhere();
    const own = new MailboxClient(url);
    await own.bootstrap(token);
    const stranger = new MailboxClient(url);
    expect(await stranger.readBoot()).not.toContain(own.token);
    expect(await stranger.bootstrap(token).catch((error) => (error as Error).message)).toContain(
      "bootstrap_token_used",
    );
    expect((await own.call("GET", "/spec")).status).toBeGreaterThanOrEqual(401);
    const [row] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, trainer.attemptId));
    expect(row?.outcome).toBe("bootstrap_reused");
  }, 60_000);

  test("a mailbox is emptied two minutes after its attempt has ended, and renewed before that", async () => {
    const { trainer, client } = await enter();
    const own = async () => (await keys()).filter((key) => key.includes(trainer.attemptId));
    await client.call("GET", "/data/train");
    const before = client.addresses;
    const { now } = t.ctx.clock;
    t.ctx.clock = { ...t.ctx.clock, now: () => now() + 3_700_000 };
    await client.gone(async () => ((await client.readAddresses()) === before ? ["old"] : []));
    const end = (state: TestTrainer["jobId"]) =>
      t.ctx.write((tx) =>
        tx
          .update(attempt)
          .set({ state: state as "ended" })
          .where(eq(attempt.id, trainer.attemptId)),
      );
    await end("ended");
    await client.gone(own);
    t.ctx.clock = { ...t.ctx.clock, now };
  }, 60_000);
});
