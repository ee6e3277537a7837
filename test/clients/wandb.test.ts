/** Weights & Biases' own program sends the job's result file to the test server as the live sync does. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { startWandb, syncWandb } from "../../src/training/results/wandb-sync.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";
import { CLIENTS, clientsMissing } from "../support/clients.ts";
import { trainerMissing, until } from "../support/live.ts";
import { startWandbServer, type TestWandb } from "../support/wandb.ts";

const program = join(CLIENTS, "bin/wandb");
const skip = trainerMissing ?? clientsMissing ?? (existsSync(program) ? null : `no ${program}`);
let t: TestApp;
let wandb: TestWandb;
let stop = () => {};

beforeAll(async () => {
  t = await createTestApp();
  wandb = startWandbServer();
  stop = startWandb(t.ctx);
});
afterAll(async () => {
  stop();
  await wandb.stop();
  await t.close();
});

test.skipIf(skip !== null)(
  `wandb sync sends the same lines to the same server from the job's file${skip ? ` (skipped: ${skip})` : ""}`,
  async () => {
    const body = { wandb_url: wandb.url, wandb_key: wandb.key };
    expect((await t.request("POST", `/v1/admin/orgs/${t.orgs.a}/wandb`, { as: "admin", body })).status).toBe(200);
    const trainer = await makeTrainer(t);
    const id = trainer.jobId;
    const integrations = [{ type: "wandb", wandb: { project: "bank", name: "first", tags: ["a"] } }];
    const set = (values: Partial<typeof job.$inferInsert>) =>
      t.ctx.write((tx) => tx.update(job).set(values).where(eq(job.id, id)));
    await set({ request: { integrations }, startedAt: t.ctx.clock.now() });
    await trainer.send([metrics(1, { "train/loss": 2 }), metrics(2, { "train/loss": 1.5, "eval/loss": 1.75 })]);
    await set({ state: "succeeded", finishedAt: t.ctx.clock.now() });
    t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId: id, kind: "train", state: "succeeded" });
    const live = await until("the run at the server", async () => {
      await syncWandb(t.ctx);
      const run = wandb.runs.get(id);
      return run?.exitCode === 0 ? run : null;
    });
    wandb.runs.clear();

    const files = await until("the result files", async () => {
      const found = await t.json<{ result_files: string[] }>("GET", `/v1/fine_tuning/jobs/${id}`);
      return found.result_files.length > 1 ? found.result_files : null;
    });
    const content = await t.request("GET", `/v1/files/${files[1]}/content`);
    const dir = mkdtempSync(join(tmpdir(), "ftl-wandb-"));
    const file = join(dir, `run-${id}.wandb`);
    await Bun.write(file, await content.arrayBuffer());
    const child = Bun.spawn([program, "sync", "--no-skip-online", file], {
      cwd: dir,
      env: { PATH: process.env.PATH ?? "", HOME: dir, WANDB_BASE_URL: wandb.url, WANDB_API_KEY: wandb.key },
      stdout: "pipe",
      stderr: "pipe",
    });
    const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
    expect(await child.exited, output).toBe(0);
    const synced = wandb.runs.get(id);
    expect(synced?.history).toEqual(live.history);
    expect(synced).toMatchObject({ project: "bank", displayName: "first", tags: ["a"], exitCode: 0 });
    expect(synced?.config).toMatchObject(live.config);
    expect(synced?.summary).toMatchObject({ train_loss: 1.5, valid_loss: 1.75, _step: 2 });
    rmSync(dir, { recursive: true, force: true });
  },
  120_000,
);
