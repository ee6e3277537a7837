/**
 * The mailbox of trainers elsewhere: how long a request takes from the trainer's client and back, how old an event is
 * when it is stored, and how fast a file is uploaded. `--requests 60 --megabytes 180 --poll 500`
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { eq } from "drizzle-orm";
import { mailboxUrl } from "../src/compute/providers/mailbox.ts";
import { attempt } from "../src/db/schema/jobs.ts";
import { logLine } from "../src/db/schema/metrics.ts";
import { newSecret, sha256Hex } from "../src/lib/ids.ts";
import { startMailbox } from "../src/training/mailbox/service.ts";
import { createTestApp } from "../test/support/app.ts";
import { makeTrainer } from "../test/support/attempt.ts";
import { TRAINER_ENV } from "../test/support/live.ts";
import { rentedMachines } from "../test/support/rented-machines.ts";
import { ACCESS, BUCKET, startS3 } from "../test/support/s3-servers.ts";
import { quantile } from "./support.ts";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "60" },
    megabytes: { type: "string", default: "180" },
    poll: { type: "string", default: "500" },
  },
});

const s3 = await startS3("rclone");
const t = await createTestApp({
  ctx: { compute: rentedMachines([]) },
  config: {
    trainer_channel: "mailbox",
    mailbox_poll_ms: Number(values.poll),
    s3_endpoint: s3.endpoint,
    s3_bucket: BUCKET,
    s3_access_key_id: ACCESS.accessKey,
    s3_secret_key: ACCESS.secretKey,
  },
});
const { attemptId, jobId } = await makeTrainer(t);
const mine = eq(attempt.id, attemptId);
const [{ offer } = {}] = await t.ctx.db.select().from(attempt).where(mine);
const token = newSecret("ftb-");
const until = t.ctx.clock.now() + 600_000;
if (offer)
  await t.ctx.write((tx) =>
    tx
      .update(attempt)
      .set({
        offer: { ...offer, local: false },
        provider: "cloud",
        bootstrapHash: sha256Hex(token),
        bootstrapUntil: until,
      })
      .where(mine),
  );
const stop = startMailbox(t.ctx, (request) => t.app.fetch(request));
const ages: number[] = [];
let stored = 0;
const watch = setInterval(async () => {
  const rows = await t.ctx.db.select({ at: logLine.at }).from(logLine).where(eq(logLine.jobId, jobId));
  for (const { at } of rows.slice(stored)) ages.push(Date.now() - at);
  stored = rows.length;
}, 10);
const scratch = mkdtempSync(join(tmpdir(), "ftl-mailbox-"));
const child = Bun.spawn(
  [join(TRAINER_ENV, "bin/python"), join(import.meta.dir, "mailbox_client.py"), values.requests, values.megabytes],
  {
    env: {
      PATH: "/usr/bin:/bin",
      PYTHONPATH: join(import.meta.dir, "../trainer"),
      PYTHONDONTWRITEBYTECODE: "1",
      FTL_HOME_URL: await mailboxUrl(t.ctx, attemptId, 60),
      FTL_ATTEMPT_TOKEN: token,
      FTL_SCRATCH: scratch,
    },
    stdout: "pipe",
    stderr: "inherit",
  },
);
const answer = await new Response(child.stdout).text();
if ((await child.exited) !== 0) {
  await s3.stop();
  throw new Error("the client failed");
}
const seen = JSON.parse(answer) as { trips: number[]; upload_s: number };
clearInterval(watch);
const ms = (all: number[], share: number) => `${Math.round(quantile(all, share))} ms`;
const trips = seen.trips.map((s) => s * 1000);
process.stdout.write(
  [
    `poll ${values.poll} ms, ${trips.length} requests one after the other`,
    `round trip: median ${ms(trips, 0.5)}, 95% ${ms(trips, 0.95)}, longest ${ms(trips, 1)}`,
    `age of an event when it is stored: median ${ms(ages, 0.5)}, 95% ${ms(ages, 0.95)}`,
    `upload of ${values.megabytes} MB: ${seen.upload_s.toFixed(1)} s, ${(Number(values.megabytes) / seen.upload_s).toFixed(1)} MB/s`,
    "",
  ].join("\n"),
);
await stop();
await t.close();
await s3.stop();
rmSync(scratch, { recursive: true, force: true });
process.exit(0);
