/** Live sync of runs with a Weights & Biases server: settings, lines, restarts of the server, and failures. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { wandbRun, wandbServer } from "../../src/db/schema/integrations.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startWandb, syncWandb } from "../../src/training/results/wandb-sync.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";
import { fakeClock } from "../support/clock.ts";
import { until } from "../support/live.ts";
import { startWandbServer, type TestWandb } from "../support/wandb.ts";

const clock = fakeClock(Date.now());
let t: TestApp;
let wandb: TestWandb;
let stop = () => {};
let path = "";

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  wandb = startWandbServer();
  path = `/v1/admin/orgs/${t.orgs.a}/wandb`;
  stop = startWandb(t.ctx);
});
afterAll(async () => {
  stop();
  await wandb.stop();
  await t.close();
});

const configure = (body: object) => t.request("POST", path, { as: "admin", body });
const good = () => ({ wandb_url: `${wandb.url}/`, wandb_key: wandb.key });
const errorOf = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string | null; message: string } };
  return [answer.status, error.code, error.param, error.message];
};

/** A running job with the integration. */
async function running(integrations = [{ type: "wandb", wandb: { project: "bank", name: "first", tags: ["a"] } }]) {
  const trainer = await makeTrainer(t);
  const where = eq(job.id, trainer.jobId);
  await t.ctx.write((tx) => tx.update(job).set({ request: { integrations }, startedAt: clock.now() }).where(where));
  const row = async () => (await t.ctx.db.select().from(wandbRun).where(eq(wandbRun.jobId, trainer.jobId)))[0];
  const changed = (state: "running" | "succeeded" | "failed") =>
    t.ctx.bus.emit("job.changed", { org: t.orgs.a, jobId: trainer.jobId, kind: "train", state });
  const end = async (state: "succeeded" | "failed") => {
    await t.ctx.write((tx) => tx.update(job).set({ state, finishedAt: clock.now() }).where(where));
    changed(state);
  };
  return { id: trainer.jobId, trainer, row, changed, end };
}

describe("the server of an organization", () => {
  test("is asked for the key, which is sealed and never shown", async () => {
    expect(await t.json("GET", path, { as: "admin" })).toEqual({
      object: "wandb",
      wandb_url: null,
      has_key: false,
      created_at: null,
    });
    const [status, code, param, message] = await errorOf(await configure({ ...good(), wandb_key: "wrong" }));
    expect([status, code, param]).toEqual([400, "wandb_refused", "wandb_url"]);
    expect(message).toBe(`${wandb.url} refuses the key. Nothing was saved.`);
    const closed = startWandbServer();
    await closed.stop();
    expect((await errorOf(await configure({ ...good(), wandb_url: closed.url })))[3]).toContain("cannot be reached");
    expect((await errorOf(await configure({ ...good(), wandb_url: "ftp://a" })))[2]).toBe("wandb_url");
    expect(await t.ctx.db.select().from(wandbServer)).toEqual([]);

    const saved = await (await configure(good())).text();
    expect(JSON.parse(saved)).toMatchObject({ wandb_url: wandb.url, has_key: true });
    const [row] = await t.ctx.db.select().from(wandbServer);
    const log = await (await t.request("GET", "/v1/admin/audit", { as: "admin" })).text();
    expect(log).toContain("organization.wandb");
    for (const text of [saved, JSON.stringify(row), log]) expect(text).not.toContain(wandb.key);
    expect((await t.request("GET", path, { as: "member" })).status).toBe(403);
    const missing = await t.request("POST", "/v1/admin/orgs/org-none/wandb", { as: "admin", body: good() });
    expect(missing.status).toBe(404);
  });
});

test("the team's page sets and removes the server, and keeps the address when the key is refused", async () => {
  const page = `/admin/teams/${t.orgs.a}`;
  const post = (to: string, form: Record<string, string>) =>
    t.request("POST", page + to, { as: "admin", form, headers: { accept: "text/html" } });
  const refused = await post("/wandb", { ...good(), wandb_key: "wrong" });
  expect(refused.status).toBe(422);
  const text = await refused.text();
  expect(text).toContain(`value="${wandb.url}/"`);
  expect(text).toContain("refuses the key. Nothing was saved.");
  const odd = await (await post("/wandb", { wandb_url: "x", wandb_key: "y" })).text();
  expect(odd).toContain("The address must be an address such as https://wandb.example.com, without a key in it.");
  expect((await post("/wandb/remove", {})).status).toBe(303);
  expect(await t.ctx.db.select().from(wandbServer)).toEqual([]);
  expect((await post("/wandb", good())).status).toBe(303);
  const shown = await (await t.request("GET", page, { as: "admin", headers: { accept: "text/html" } })).text();
  expect(shown).toContain(`send their runs to ${wandb.url} while they train`);
  expect(shown).not.toContain(wandb.key);
});

describe("a job with the integration", () => {
  test("is sent while it trains, each step once, and ends with its exit code", async () => {
    const one = await running();
    await one.trainer.send([metrics(1, { "train/loss": 2 }), metrics(2, { "train/loss": 1.5, "eval/loss": 1.75 })]);
    one.changed("running");
    await until("the run to be expected", async () => (await one.row()) !== undefined);
    await syncWandb(t.ctx);
    const run = wandb.runs.get(one.id);
    expect(run).toMatchObject({ entity: "owner", project: "bank", displayName: "first", tags: ["a"], exitCode: null });
    expect(run?.config).toMatchObject({ model: { value: "tiny" }, method: { value: "sft" }, seed: { value: 1 } });
    // The newest step waits: its evaluation may follow.
    expect(run?.history).toEqual([{ train_loss: 2, _step: 1 }]);

    // What the server has already is not sent again, also after a restart.
    t.ctx.state.clear();
    await one.trainer.send([metrics(3, { "train/loss": 1 })]);
    await syncWandb(t.ctx);
    expect(run?.history.slice(1)).toEqual([{ train_loss: 1.5, valid_loss: 1.75, _step: 2 }]);
    const before = wandb.requests.length;
    await syncWandb(t.ctx);
    expect(wandb.requests.length).toBe(before);
    clock.advance(31_000);
    await syncWandb(t.ctx);
    expect(wandb.requests.slice(before)).toEqual(["file_stream"]);

    await one.end("succeeded");
    await syncWandb(t.ctx);
    expect(run?.history.slice(2)).toEqual([{ train_loss: 1, _step: 3 }]);
    expect(run?.summary).toMatchObject({ train_loss: 1, valid_loss: 1.75, _step: 3, _runtime: 31 });
    expect(run?.exitCode).toBe(0);
    expect(await one.row()).toMatchObject({ lines: 3, lastStep: 3, error: null });
    const all = wandb.requests.length;
    await syncWandb(t.ctx);
    expect(wandb.requests.length).toBe(all);
  });

  test("goes on when the server fails; the events say it once, and everything is sent later", async () => {
    const one = await running([{ type: "wandb", wandb: { project: "bank", name: "second", tags: [] } }]);
    await one.trainer.send([metrics(1, { "train/loss": 2 })]);
    await one.end("failed");
    await until("the run to be expected", async () => (await one.row()) !== undefined);
    wandb.instead = () => new Response("broken", { status: 502 });
    for (const wait of [0, 9_000, 21_000]) {
      clock.advance(wait);
      await syncWandb(t.ctx);
    }
    const { data } = await t.json<{ data: { level: string; message: string }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${one.id}/events`,
    );
    const said = data.filter(({ message }) => message.includes("Weights & Biases"));
    expect(said).toMatchObject([
      { level: "warn", message: `Not sent to Weights & Biases yet: ${wandb.url} answered 502. It is tried again.` },
    ]);
    expect((await t.json<{ status: string }>("GET", `/v1/fine_tuning/jobs/${one.id}`)).status).toBe("failed");
    wandb.instead = null;
    clock.advance(600_000);
    await syncWandb(t.ctx);
    expect(wandb.runs.get(one.id)).toMatchObject({ exitCode: 1, history: [{ train_loss: 2, _step: 1 }] });
    expect(await one.row()).toMatchObject({ error: null, lines: 1 });
  });

  test("is sent to another server from its beginning, and to none when it is removed", async () => {
    const one = await running();
    await one.trainer.send([metrics(1, { "train/loss": 2 }), metrics(2, { "train/loss": 1 })]);
    one.changed("running");
    await until("the run to be expected", async () => (await one.row()) !== undefined);
    await syncWandb(t.ctx);
    const other = startWandbServer();
    expect((await configure({ wandb_url: other.url, wandb_key: other.key })).status).toBe(200);
    await syncWandb(t.ctx);
    expect(other.runs.get(one.id)?.history).toEqual([{ train_loss: 2, _step: 1 }]);
    expect((await t.request("DELETE", path, { as: "admin" })).status).toBe(200);
    await one.end("succeeded");
    await syncWandb(t.ctx);
    expect(other.runs.get(one.id)?.exitCode).toBeNull();
    expect(await t.ctx.db.select().from(wandbServer)).toEqual([]);
    await other.stop();
    // Its file is there as before.
    const { result_files: files } = await t.json<{ result_files: string[] }>("GET", `/v1/fine_tuning/jobs/${one.id}`);
    expect(files).toHaveLength(2);
  });
});
