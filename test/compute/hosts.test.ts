/** Hosts and GPUs: reports are stored, hosts are administered, and a GPU is never allocated to two jobs at once. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import { allocateGpus, freeGpus, reconcileAllocations, releaseGpus } from "../../src/compute/hosts/allocations.ts";
import { pollHosts, storeReport } from "../../src/compute/hosts/inventory.ts";
import type { HostView } from "../../src/compute/hosts/model.ts";
import type { HostReport } from "../../src/contract/provider.ts";
import { hostSample } from "../../src/db/schema/hosts.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { insertTuned } from "../support/models.ts";

const recording = (name: string) => readFileSync(join(import.meta.dir, "../recordings/nvidia-smi", name), "utf8");
const T4 = "GPU-d37e67a5-91dd-3774-a5cb-99096249601a";

const report = (change: Partial<HostReport> = {}): HostReport => ({
  id: "one",
  name: "gpu-one",
  cpus: 8,
  memoryMb: 64_000,
  memoryFreeMb: 60_000,
  load: 2,
  diskMb: 500_000,
  diskFreeMb: 400_000,
  nvidia: { xml: recording("tesla-t4.xml"), list: "" },
  problem: null,
  ...change,
});

let t: TestApp;
const clock = fakeClock(1_800_000_000_000);
beforeEach(async () => {
  t = await createTestApp({ ctx: { clock } });
});
afterEach(() => t.close());

const store = (change?: Partial<HostReport>) => storeReport(t.ctx, "docker", report(change));
const get = () => t.json<HostView>("GET", "/v1/hosts/docker.one");
const free = async () => [...(await freeGpus(t.ctx)).values()].flat().map((gpu) => [gpu.uuid, gpu.free]);

async function attemptOf(id: string, goneAt: number | null = null) {
  const { jobId } = await insertTuned(t.ctx, t.orgs.a);
  await t.ctx.write((tx) =>
    tx.insert(attempt).values({
      id,
      org: t.orgs.a,
      jobId,
      number: 9,
      state: "running",
      provider: "docker",
      tokenHash: id,
      goneAt,
      offer: {
        id: "one",
        location: "one",
        gpus: 1,
        gpuName: null,
        gpuMemoryMb: 0,
        cpus: 1,
        memoryMb: 1,
        ...OWN_MACHINE,
        startsInS: 0,
        available: true,
      },
      createdAt: 1,
    }),
  );
  return { attemptId: id, jobId };
}

describe("reports of providers", () => {
  test("become a host with its GPUs and their samples", async () => {
    await store();
    clock.advance(15_000);
    await store({ nvidia: { xml: recording("tesla-t4.xml").replace(">0 %<", ">93 %<"), list: "" } });
    expect(await get()).toMatchObject({
      object: "host",
      name: "gpu-one",
      state: "ready",
      problem: null,
      driver: "515.105.01",
      cpu: { cores: 8, load: 2 },
      gpus: [{ uuid: T4, model: "Tesla T4", memory_mb: 15360, utilization: 93, held_by: [], shares: 1, lost: false }],
    });
    const curve = await t.json<{ data: { utilization: number; power_w: number }[] }>(
      "GET",
      `/v1/hosts/docker.one/samples?hours=1&gpu=${T4}`,
    );
    expect(curve.data.map((point) => [point.utilization, point.power_w])).toEqual([
      [0, 26.78],
      [93, 26.78],
    ]);
    const own = await t.json<{ data: { utilization: number; memory_used_mb: number }[] }>(
      "GET",
      "/v1/hosts/docker.one/samples",
    );
    expect(own.data[0]).toMatchObject({ utilization: 25, memory_used_mb: 4000 });
  });

  test("a peak stays visible over a long time span", async () => {
    await store();
    const now = clock.now();
    const samples = Array.from({ length: 2000 }, (_, n) => ({
      source: T4,
      at: now - (n + 1) * 15_000,
      memoryUsedMb: 1,
      utilization: n === 777 ? 100 : 3,
    }));
    await t.ctx.write((tx) => tx.insert(hostSample).values(samples));
    const curve = await t.json<{ data: { utilization: number }[] }>(
      "GET",
      `/v1/hosts/docker.one/samples?hours=24&gpu=${T4}`,
    );
    expect(curve.data.length).toBeLessThanOrEqual(301);
    expect(Math.max(...curve.data.map((point) => point.utilization))).toBe(100);
  });

  test("a GPU that is no longer reported is lost and not allocated; it comes back", async () => {
    await store();
    expect(await free()).toEqual([[T4, 1]]);
    await store({ nvidia: { failure: "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost." } });
    expect(await free()).toEqual([]);
    const host = await get();
    expect(host.problem).toContain("no longer answers");
    expect(host.remedy).toContain("Restart the machine");
    expect(host.gpus[0]?.lost).toBe(true);
    await store();
    expect(await free()).toEqual([[T4, 1]]);
    expect((await get()).problem).toBeNull();
  });

  test("an unreachable host gets no jobs and is shown as unreachable", async () => {
    await store();
    clock.advance(61_000);
    expect(await free()).toEqual([]);
    expect(await get()).toMatchObject({ state: "silent", problem: "The host is unreachable." });
    await store({ problem: "connect ECONNREFUSED 10.0.0.4:2376" });
    expect(await get()).toMatchObject({ state: "silent", problem: "connect ECONNREFUSED 10.0.0.4:2376" });
  });

  test("this machine reports itself", async () => {
    const { thisMachine } = await import("../../plugins/process/machine.ts");
    const own = await thisMachine(t.dir);
    expect(own.cpus).toBeGreaterThan(0);
    expect(own.memoryFreeMb).toBeLessThanOrEqual(own.memoryMb);
    expect(own.diskFreeMb).toBeGreaterThan(0);
  });
});

describe("administration", () => {
  const change = (body: unknown) => t.json<HostView>("POST", "/v1/hosts/docker.one", { as: "admin", body });

  test("a cordoned or draining host offers no GPU; a ready one does", async () => {
    await store();
    for (const state of ["cordoned", "draining"]) {
      expect(await change({ state, note: "fans" })).toMatchObject({ state, note: "fans" });
      expect(await free()).toEqual([]);
    }
    expect(await change({ state: "ready" })).toMatchObject({ state: "ready", note: null });
    expect(await free()).toEqual([[T4, 1]]);
  });

  test("a maintenance window drains the host at its start and makes it ready at its end", async () => {
    await store();
    const from = clock.now() + 3_600_000;
    await change({ maintenance: { from, until: from + 600_000 }, note: "driver" });
    await pollHosts(t.ctx);
    expect((await get()).state).toBe("ready");
    clock.advance(3_600_000);
    await store();
    await pollHosts(t.ctx);
    expect(await get()).toMatchObject({ state: "draining", note: "driver" });
    clock.advance(600_000);
    await store();
    await pollHosts(t.ctx);
    expect(await get()).toMatchObject({ state: "ready", note: null, maintenance: null });
  });

  test("a name chosen by an administrator stays when the machine reports again", async () => {
    await store();
    expect(await change({ name: "the big one" })).toMatchObject({ name: "the big one", reported_name: "gpu-one" });
    await store();
    expect((await get()).name).toBe("the big one");
    expect((await change({ name: null })).name).toBe("gpu-one");
  });

  test("a GPU that another program uses is shown as used from outside, one of a job is not", async () => {
    const usage = (memory: string, busy: string) => ({
      xml: recording("tesla-t4.xml")
        .replace(/(<fb_memory_usage>[\s\S]*?<used>)[^<]*/, `$1${memory} MiB`)
        .replace(/(<gpu_util>)[^<]*/, `$1${busy} %`),
      list: "",
    });
    const outside = async () => (await get()).gpus[0]?.used_outside;
    await store({ nvidia: usage("400", "0") });
    expect(await outside()).toBe(false);
    await store({ nvidia: usage("9000", "0") });
    expect(await outside()).toBe(true);
    await store({ nvidia: usage("400", "84") });
    expect(await outside()).toBe(true);
    const owner = await attemptOf("att_1");
    await t.ctx.write((tx) => allocateGpus(tx, 1, owner, [T4]));
    expect(await outside()).toBe(false);
  });

  test("an invalid window is refused", async () => {
    await store();
    const now = clock.now();
    for (const maintenance of [
      { from: now + 10, until: now + 5 },
      { from: now - 20, until: now - 10 },
    ]) {
      const answer = await t.request("POST", "/v1/hosts/docker.one", { as: "admin", body: { maintenance } });
      expect([answer.status, (await answer.json()).error.code]).toEqual([400, "window_invalid"]);
    }
  });

  test("a host in use cannot be removed", async () => {
    await store();
    const owner = await attemptOf("att_1");
    await t.ctx.write((tx) => allocateGpus(tx, 1, owner, [T4]));
    const refused = await t.request("DELETE", "/v1/hosts/docker.one", { as: "admin" });
    expect([refused.status, (await refused.json()).error.code]).toEqual([409, "host_in_use"]);
  });
});

describe("allocations", () => {
  test("a GPU is never allocated to two jobs, and a list is allocated in full or not at all", async () => {
    const a100 = { xml: recording("a100-sxm4.xml"), list: recording("mig-list.txt") };
    await store({ nvidia: a100 });
    const slices = (await free()).map(([uuid]) => uuid as string);
    expect(slices).toHaveLength(4);
    const [first, second] = [await attemptOf("att_1"), await attemptOf("att_2")];
    await t.ctx.write((tx) => allocateGpus(tx, 1, first, slices.slice(0, 2)));
    const taken = await t.ctx.write((tx) => allocateGpus(tx, 1, second, slices.slice(1, 3))).catch((error) => error);
    expect(taken.code).toBe("gpu_taken");
    expect(await free()).toEqual(slices.slice(2).map((uuid) => [uuid, 1]));
    await t.ctx.write((tx) => releaseGpus(tx, "att_1"));
    expect(await free()).toHaveLength(4);
  });

  test("the job that holds a GPU is visible only to its own team", async () => {
    await store();
    const owner = await attemptOf("att_1");
    await t.ctx.write((tx) => allocateGpus(tx, 1, owner, [T4]));
    expect((await get()).gpus[0]?.held_by).toMatchObject([{ id: owner.jobId }]);
    const foreign = await t.json<HostView>("GET", "/v1/hosts/docker.one", { as: "other" });
    expect(foreign.gpus[0]?.held_by).toEqual([{ id: null, name: null }]);
  });

  test("a GPU with two shares accepts two jobs and no third", async () => {
    await store();
    await t.json("POST", `/v1/gpus/${T4}`, { as: "admin", body: { shares: 2 } });
    for (const id of ["att_1", "att_2"]) {
      const owner = await attemptOf(id);
      await t.ctx.write((tx) => allocateGpus(tx, 1, owner, [T4]));
    }
    const third = await attemptOf("att_3");
    const error = await t.ctx.write((tx) => allocateGpus(tx, 1, third, [T4])).catch((cause) => cause);
    expect(error.code).toBe("gpu_taken");
  });

  test("labels of running work override the table, and terminated work releases its GPUs", async () => {
    await store();
    const gone = await attemptOf("att_gone", 5);
    await t.ctx.write((tx) => allocateGpus(tx, 1, gone, [T4]));
    const living = await attemptOf("att_lives");
    expect(await reconcileAllocations(t.ctx, [{ attemptId: living.attemptId, gpus: [T4] }])).toEqual({
      released: 1,
      entered: 1,
    });
    expect(await free()).toEqual([]);
    expect(await reconcileAllocations(t.ctx, [{ attemptId: living.attemptId, gpus: [T4] }])).toEqual({
      released: 0,
      entered: 0,
    });
  });
});
