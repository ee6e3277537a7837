/**
 * Deployments of models with the same base share one engine: over HTTP with real engines on sockets. Only the launch of
 * processes is simulated.
 */
import { afterEach, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Launcher, startLauncher } from "../support/launcher.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
let launcher: Launcher;
let stop: () => void;

interface View {
  id: string;
  state: string;
  job_id: string | null;
}
const messages = [{ role: "user", content: "Hi" }];
const chat = (model: string) => t.request("POST", "/v1/chat/completions", { body: { model, messages } });
const deploy = (model: string, idle?: number) =>
  t.json<View>("POST", "/v1/deployments", { body: { model, ...(idle === undefined ? {} : { idle_after_s: idle }) } });
const reach = (id: string, state: string) =>
  until(
    `${id} to be ${state}`,
    async () => {
      const view = await t.json<View>("GET", `/v1/deployments/${id}`);
      return view.state === state ? view : null;
    },
    45_000,
    20,
  );
const running = () => launcher.engines.size;

async function begin(slots: number) {
  t = await createTestApp({ config: { serve_slots: slots } });
  await readyBase(t.ctx, "tiny");
  launcher = startLauncher(t);
  stop = startDeployments(t.ctx);
}
afterEach(async () => {
  stop();
  await launcher.close();
  await t.close();
});

test("a second model joins the running engine, and its requests count for it", async () => {
  await begin(1);
  const [first, second] = [await insertTuned(t.ctx, t.orgs.a), await insertTuned(t.ctx, t.orgs.a)];
  const one = await reach((await deploy(first.id)).id, "ready");
  const two = await reach((await deploy(second.id)).id, "ready");
  expect(two.job_id).toBe(one.job_id);
  expect(launcher.started).toBe(1);
  // The one slot holds both: neither was put to sleep for the other.
  expect((await reach(one.id, "ready")).state).toBe("ready");
  expect((await chat(second.id)).status).toBe(200);
  const rows = await until(
    "the usage row",
    async () => {
      const found = await t.ctx.db.all<{ model: string; deployment: string }>(
        sql`select model, deployment_id deployment from inference`,
      );
      return found.length > 0 ? found : null;
    },
    5000,
  );
  expect(rows).toEqual([{ model: second.id, deployment: two.id }]);
});

test("the engine runs until its last deployment stops", async () => {
  await begin(2);
  const { id: model } = await insertTuned(t.ctx, t.orgs.a);
  const base = await reach((await deploy("tiny")).id, "ready");
  const tuned = await reach((await deploy(model)).id, "ready");
  await t.json("POST", `/v1/deployments/${base.id}/stop`);
  expect((await reach(base.id, "stopped")).job_id).toBeNull();
  expect((await chat(model)).status).toBe(200);
  expect(running()).toBe(1);
  // Started again, the first joins the engine it started.
  await t.json("POST", `/v1/deployments/${base.id}/start`);
  expect((await reach(base.id, "ready")).job_id).toBe(tuned.job_id);
  await t.json("POST", `/v1/deployments/${base.id}/stop`);
  await t.json("POST", `/v1/deployments/${tuned.id}/stop`);
  await Promise.all([reach(base.id, "stopped"), reach(tuned.id, "stopped")]);
  await until("the engine to end", async () => running() === 0, 5000);
  expect(launcher.started).toBe(1);
});

test("models deployed at the same time start one engine", async () => {
  await begin(2);
  const models = await Promise.all([1, 2, 3].map(() => insertTuned(t.ctx, t.orgs.a)));
  const made = await Promise.all(models.map(({ id }) => deploy(id)));
  const ready = await Promise.all(made.map(({ id }) => reach(id, "ready")));
  expect(new Set(ready.map((view) => view.job_id)).size).toBe(1);
  expect(launcher.started).toBe(1);
});

test("after a crash of the engine they share one again", async () => {
  await begin(2);
  const models = await Promise.all([1, 2].map(() => insertTuned(t.ctx, t.orgs.a)));
  const made = await Promise.all(models.map(({ id }) => deploy(id)));
  const [one] = await Promise.all(made.map(({ id }) => reach(id, "ready")));
  await launcher.kill(one?.job_id ?? "", true);
  await Promise.all(models.map(async ({ id }) => expect((await chat(id)).status).toBe(200)));
  const again = await Promise.all(made.map(({ id }) => reach(id, "ready")));
  expect(again.map((view) => view.job_id)).not.toContain(one?.job_id);
  expect(running()).toBe(1);
});

test("a model of another base, and one whose adapter the engine refuses, get engines of their own", async () => {
  await begin(3);
  await readyBase(t.ctx, "other");
  const { id: model } = await insertTuned(t.ctx, t.orgs.a);
  const base = await reach((await deploy("tiny")).id, "ready");
  const engine = launcher.engines.get(base.job_id ?? "");
  if (!engine) throw new Error("no engine was launched");
  engine.fixed = true;
  const ready = await Promise.all([model, "other"].map(async (id) => reach((await deploy(id)).id, "ready")));
  expect(new Set([base, ...ready].map((view) => view.job_id)).size).toBe(3);
});
