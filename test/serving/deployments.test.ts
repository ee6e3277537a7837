/**
 * Deployments over HTTP with real engines on sockets: start, wake, sleep, crash, restart of the server. Only the launch
 * of processes is simulated.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import type { ServeSpec } from "../../src/contract/spec.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { createTestApp, type TestApp, type TestAppOptions } from "../support/app.ts";
import { deployEngine, startEngine } from "../support/engine.ts";
import { type Launcher, startLauncher } from "../support/launcher.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
let stop: () => void;
let launcher: Launcher;

type View = Record<"id" | "model" | "state" | "wanted", string> &
  Record<"error" | "job_id", string | null> & { name?: string; restarts: number; on_demand: boolean };
const messages = [{ role: "user", content: "Hi" }];
const chat = (model: string, as: "admin" | "other" = "admin") =>
  t.request("POST", "/v1/chat/completions", { as, body: { model, messages } });
const get = (id: string) => t.json<View>("GET", `/v1/deployments/${id}`);
const reach = (id: string, state: string, ms = 8000) =>
  until(
    `${id} to be ${state}`,
    async () => {
      const view = await get(id);
      return view.state === state ? view : null;
    },
    ms,
    20,
  );

async function begin(options: TestAppOptions = {}) {
  t = await createTestApp(options);
  await readyBase(t.ctx, "tiny");
  launcher = startLauncher(t);
  stop = startDeployments(t.ctx);
}
beforeEach(() => begin());
afterEach(async () => {
  stop();
  await launcher.close();
  await t.close();
});

describe("creating a deployment", () => {
  test("serves a fine-tuned model and its checkpoints in one process; stopping it ends the process", async () => {
    const { id: model, checkpoints } = await insertTuned(t.ctx, t.orgs.a);
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model, name: "Bank" } });
    // Starting it is a use, not a request.
    expect(made).toMatchObject({ last_request_at: null });
    const ready = await reach(made.id, "ready");
    const [work] = await t.ctx.db
      .select()
      .from(job)
      .where(eq(job.id, ready.job_id ?? ""));
    const spec = work?.spec as ServeSpec;
    expect(spec.adapters.map((one) => one.name)).toEqual([model, `${model}:ckpt-step-20`, `${model}:ckpt-step-10`]);
    expect(new Set(spec.adapters.map((one) => one.input)).size).toBe(3);
    expect(spec.adapters[0]?.artifact_id).toBe(checkpoints[1]?.artifactId);
    for (const name of [model, `${model}:ckpt-step-10`, "tiny"]) expect((await chat(name)).status).toBe(200);
    expect(launcher.started).toBe(1);
    await t.json("POST", `/v1/deployments/${made.id}/stop`);
    expect(await reach(made.id, "stopped")).toMatchObject({ wanted: "stopped", job_id: null });
    expect(launcher.engines.size).toBe(0);
  });

  test("of a deleted model and of its checkpoints ends, and neither is listed or answers", async () => {
    const { id: model, jobId } = await insertTuned(t.ctx, t.orgs.a);
    const { id: other } = await insertTuned(t.ctx, t.orgs.a);
    const point = `${model}:ckpt-step-10`;
    const names = [model, point, `${model}:ckpt-step-20`];
    for (const name of [model, point, other])
      await reach((await t.json<View>("POST", "/v1/deployments", { body: { model: name } })).id, "ready");
    for (const name of names) expect((await chat(name)).status).toBe(200);
    await t.json("DELETE", `/v1/models/${model}`);
    for (const name of names) {
      const answer = await chat(name);
      expect([name, answer.status, (await answer.json()).error.code]).toEqual([name, 404, "model_not_found"]);
      expect((await t.request("GET", `/v1/models/${name}`)).status).toBe(404);
    }
    for (const path of ["jobs", "fine_tuning/jobs"])
      expect((await t.json<{ data: unknown[] }>("GET", `/v1/${path}/${jobId}/checkpoints`)).data).toEqual([]);
    await until("the engines of the deleted model to end", async () => launcher.engines.size === 1, 5000, 20);
    const left = await t.json<{ data: View[] }>("GET", "/v1/deployments");
    expect(left.data.map((one) => one.model)).toEqual([other]);
    expect((await chat(`${other}:ckpt-step-10`)).status).toBe(200);
  });

  test("twice for one model creates one deployment", async () => {
    const make = () => t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    const [one, two] = await Promise.all([make(), make()]);
    expect(one.id).toBe(two.id);
    await reach(one.id, "ready");
    expect(launcher.started).toBe(1);
  });

  test("unknown models are refused, and other organizations cannot see it", async () => {
    expect((await t.request("POST", "/v1/deployments", { body: { model: "nothing" } })).status).toBe(404);
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    for (const path of [`/v1/deployments/${made.id}`, `/v1/deployments/${made.id}/stats`])
      expect((await t.request("GET", path, { as: "other" })).status).toBe(404);
    expect((await t.request("POST", `/v1/deployments/${made.id}/stop`, { as: "other" })).status).toBe(404);
    expect((await t.json<{ data: unknown[] }>("GET", "/v1/deployments", { as: "other" })).data).toEqual([]);
  });

  test("deleting it ends the process and hides it", async () => {
    const { id } = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    await reach(id, "ready");
    await t.json("DELETE", `/v1/deployments/${id}`);
    await until("the engine to end", async () => launcher.engines.size === 0, 5000, 20);
    expect((await t.json<{ data: unknown[] }>("GET", "/v1/deployments")).data).toEqual([]);
  });

  test("the next page of the list starts after the last one shown", async () => {
    const models = [];
    for (let n = 0; n < 3; n++) models.push((await insertTuned(t.ctx, t.orgs.a)).id);
    for (const model of models) await t.json("POST", "/v1/deployments", { body: { model } });
    const page = (after = "") =>
      t.json<{ data: { id: string; model: string }[]; has_more: boolean; last_id: string }>(
        "GET",
        `/v1/deployments?limit=2${after}`,
      );
    const first = await page();
    const rest = await page(`&after=${first.last_id}`);
    expect([first.has_more, rest.has_more, first.data.length + rest.data.length]).toEqual([true, false, 3]);
    expect(new Set([...first.data, ...rest.data].map((one) => one.model))).toEqual(new Set(models));
  });
});

describe("requests", () => {
  test("ten concurrent requests for a model without a deployment share one on-demand start", async () => {
    const replies = await Promise.all(Array.from({ length: 10 }, () => chat("tiny")));
    expect(replies.map((one) => one.status)).toEqual(Array(10).fill(200));
    expect(launcher.started).toBe(1);
    expect((await t.json<{ data: View[] }>("GET", "/v1/deployments")).data).toMatchObject([
      { on_demand: true, state: "ready" },
    ]);
  });

  test("a client that disconnects while its model starts gets 499, and the start continues", async () => {
    launcher.hold = true;
    const client = new AbortController();
    const asked = t.app.handle(
      new Request("http://localhost/v1/chat/completions", {
        method: "POST",
        headers: { authorization: `Bearer ${t.keys.admin}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "tiny", messages }),
        signal: client.signal,
      }),
    );
    await until("the deployment", async () => (await t.json<{ data: View[] }>("GET", "/v1/deployments")).data[0]);
    client.abort();
    expect((await asked).status).toBe(499);
    launcher.hold = false;
    expect((await chat("tiny")).status).toBe(200);
    expect(launcher.started).toBe(1);
  });

  test("a deployment without a name is called like the training job of its model", async () => {
    const { id: model, jobId } = await insertTuned(t.ctx, t.orgs.a);
    await t.ctx.write((tx) => tx.update(job).set({ name: "bank intents" }).where(eq(job.id, jobId)));
    const nameOf = async (of: string) => (await t.json<View>("POST", "/v1/deployments", { body: { model: of } })).name;
    expect(await nameOf(model)).toBe("bank intents");
    expect(await nameOf(`${model}:ckpt-step-10`)).toBe("bank intents, step 10");
    expect(await nameOf("tiny")).toBe("tiny");
  });

  test("an empty update returns the deployment unchanged", async () => {
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny", idle_after_s: 60 } });
    const same = await t.json<View>("POST", `/v1/deployments/${made.id}`, { body: {} });
    expect(same).toMatchObject({ id: made.id, name: made.name, idle_after_s: 60 });
  });

  test("an idle endpoint sleeps, and a request wakes it", async () => {
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny", idle_after_s: 1 } });
    await reach(made.id, "ready");
    expect((await reach(made.id, "asleep")).wanted).toBe("asleep");
    expect(launcher.engines.size).toBe(0);
    expect((await chat("tiny")).status).toBe(200);
    expect((await get(made.id)).state).toBe("ready");
    expect(launcher.started).toBe(2);
  });

  test("a maintenance that stops endpoints puts it to sleep, refuses requests, and starts it again at its end", async () => {
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    await reach(made.id, "ready");
    const ends_at = Math.floor(Date.now() / 1000) + 3600;
    const schedule = async (endpoints: string) => {
      const body = { ends_at, reason: "New GPUs", endpoints, mail: false };
      return (await t.json<{ id: string }>("POST", "/v1/admin/maintenance", { body })).id;
    };
    const stays = await schedule("stay");
    expect((await chat("tiny")).status).toBe(200);
    await t.json("POST", `/v1/admin/maintenance/${stays}/end`);
    const stops = await schedule("stop");
    expect(await reach(made.id, "asleep")).toMatchObject({ wanted: "running" });
    expect(launcher.engines.size).toBe(0);
    const refused = await chat("tiny");
    const { error } = (await refused.json()) as { error: { code: string; message: string } };
    expect([refused.status, error.code]).toEqual([503, "maintenance"]);
    expect(error.message).toContain("New GPUs");
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(3500);
    await t.json("POST", `/v1/admin/maintenance/${stops}/end`);
    await reach(made.id, "ready");
    expect((await chat("tiny")).status).toBe(200);
  });

  test("a request in flight keeps it awake", async () => {
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny", idle_after_s: 1 } });
    const { job_id: jobId } = await reach(made.id, "ready");
    const engine = launcher.engines.get(jobId ?? "");
    if (!engine) throw new Error("no engine");
    engine.words = Array.from({ length: 25 }, () => "x");
    engine.pace = 100;
    const reply = await t.request("POST", "/v1/chat/completions", { body: { model: "tiny", messages, stream: true } });
    expect(await reply.text()).toContain("[DONE]");
    expect((await get(made.id)).state).toBe("ready");
  });

  test("when all slots are taken, the longest idle deployment is put to sleep", async () => {
    stop();
    await launcher.close();
    await t.close();
    await begin({ config: { serve_slots: 1 } });
    const first = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    await reach(first.id, "ready");
    await t.ctx.write((tx) => tx.update(deployment).set({ lastRequestAt: 1 }));
    await readyBase(t.ctx, "tiny-two");
    launcher.hold = true;
    const second = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny-two" } });
    await reach(first.id, "asleep", 15_000);
    launcher.hold = false;
    await reach(second.id, "ready");
  }, 60_000);

  test("a deployment that waits for a GPU evicts only one that holds a GPU", async () => {
    const onGpu = (id: string | null) =>
      t.ctx.write((tx) =>
        tx
          .update(job)
          .set({ spec: sql`json_set(${job.spec}, '$.need.gpus', 1)`, createdAt: t.ctx.clock.now() - 60_000 })
          .where(eq(job.id, id ?? "")),
      );
    for (const name of ["on-gpu", "waits"]) await readyBase(t.ctx, name);
    const [plain, holder] = await Promise.all(
      ["tiny", "on-gpu"].map((model) => t.json<View>("POST", "/v1/deployments", { body: { model } })),
    );
    await reach(plain?.id ?? "", "ready");
    await onGpu((await reach(holder?.id ?? "", "ready")).job_id);
    await t.ctx.write((tx) => tx.update(deployment).set({ lastRequestAt: 1 }));
    launcher.hold = true;
    const waiting = await t.json<View>("POST", "/v1/deployments", { body: { model: "waits" } });
    const id = await until("its job", async () => (await get(waiting.id)).job_id);
    expect((await get(holder?.id ?? "")).state).toBe("ready");
    await onGpu(id);
    await reach(holder?.id ?? "", "asleep", 15_000);
    expect((await get(plain?.id ?? "")).state).toBe("ready");
    launcher.hold = false;
    await reach(waiting.id, "ready");
  }, 60_000);
});

describe("an engine that crashes", () => {
  test.each([
    ["with a reported exit", true],
    ["without a reported exit", false],
  ])(
    "%s is restarted, and the next request is answered",
    async (_, noticed) => {
      const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
      const { job_id: jobId } = await reach(made.id, "ready");
      await launcher.kill(jobId ?? "", noticed);
      expect((await chat("tiny")).status).toBe(200);
      expect(await get(made.id)).toMatchObject({ state: "ready", restarts: 1 });
      expect(launcher.started).toBe(2);
    },
    15_000,
  );

  test("repeatedly fails the deployment with the reason; a person can start it again", async () => {
    launcher.hold = true;
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    await t.ctx.write((tx) => tx.update(deployment).set({ restarts: 5 }).where(eq(deployment.id, made.id)));
    launcher.broken = true;
    expect(await reach(made.id, "failed")).toMatchObject({ error: "The weights are damaged." });
    const refused = await chat("tiny");
    expect([refused.status, (await refused.json()).error.code]).toEqual([503, "endpoint_failed"]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    launcher.broken = false;
    launcher.hold = false;
    await t.json("POST", `/v1/deployments/${made.id}/start`);
    expect(await reach(made.id, "ready")).toMatchObject({ restarts: 0, error: null });
  }, 60_000);
});

describe("a restart of the server", () => {
  test("finds the running engine and starts no second one", async () => {
    const engine = startEngine();
    const { id } = await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" });
    stop();
    stop = startDeployments(t.ctx);
    await Bun.sleep(50);
    expect((await chat("tiny")).status).toBe(200);
    expect([launcher.started, engine.requests.length, (await get(id)).restarts]).toEqual([0, 1, 0]);
    await engine.stop();
  });

  test("finds an engine that became ready while the server was down", async () => {
    stop();
    const made = await t.json<View>("POST", "/v1/deployments", { body: { model: "tiny" } });
    stop = startDeployments(t.ctx);
    await reach(made.id, "ready");
    stop();
    await t.ctx.write((tx) =>
      tx.update(deployment).set({ state: "starting", address: null }).where(eq(deployment.id, made.id)),
    );
    stop = startDeployments(t.ctx);
    await reach(made.id, "ready");
    expect(launcher.started).toBe(1);
  });

  test("cancels a serve job without a deployment", async () => {
    const engine = startEngine();
    const { id, jobId } = await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" });
    stop();
    await t.ctx.write(async (tx) => {
      await tx
        .update(job)
        .set({ metadata: { deployment_id: id } })
        .where(eq(job.id, jobId));
      await tx.delete(deployment);
    });
    stop = startDeployments(t.ctx);
    await until(
      "the job to end",
      async () => (await t.ctx.db.select().from(job).where(eq(job.id, jobId)))[0]?.state === "cancelled",
      5000,
      20,
    );
    await engine.stop();
  });
});
