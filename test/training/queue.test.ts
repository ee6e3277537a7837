/**
 * The queue over HTTP and with real processes: permissions, visibility between teams, preemption, time windows and
 * resuming.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { LaunchSpec, Provider } from "../../src/contract/provider.ts";
import { gpu, gpuAllocation, host } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

let lab: Lab;
/** GPUs assigned to each launch on the rack. */
const given: (string[] | undefined)[] = [];

/** A second provider beside the lab's own: one host with two GPUs, whose work runs as processes of this machine. */
function addRack(): void {
  const [own] = lab.ctx.compute.list();
  if (!own) throw new Error("no provider");
  const provider: Provider = {
    ...own.provider,
    hosts: async () => [],
    offers: async () => [
      {
        id: "one",
        location: "rack",
        gpus: 1,
        gpuName: "Test GPU",
        gpuMemoryMb: 80_000,
        cpus: 64,
        memoryMb: 512_000,
        ...OWN_MACHINE,
        startsInS: 0,
        available: true,
      },
    ],
    launch(spec: LaunchSpec, offer, context) {
      given.push(spec.gpus);
      return own.provider.launch({ ...spec, need: { ...spec.need, gpus: 0 } }, offer, context);
    },
  };
  const plugin = {
    ...own.plugin,
    id: "rack",
    kind: "container" as const,
    capabilities: { ...own.plugin.capabilities, gpus: true },
  };
  const entries = [own, { plugin, provider }];
  lab.ctx.compute = { list: () => entries, get: (id) => entries.find((entry) => entry.plugin.id === id) ?? null };
}

const keepSeen = (changes: Partial<typeof host.$inferInsert> = {}) =>
  lab.ctx.write((tx) =>
    tx
      .update(host)
      .set({ seenAt: Date.now() + 600_000, ...changes })
      .where(eq(host.id, "rack.one")),
  );

beforeAll(async () => {
  lab = await createLab({ trainSlots: 1, sweepMs: 200 });
  await lab.goAway();
  await lab.ctx.write(async (tx) => {
    const now = Date.now();
    await tx.insert(host).values({
      id: "rack.one",
      provider: "rack",
      name: "Rack one",
      cpus: 64,
      memoryMb: 512_000,
      createdAt: now,
      seenAt: now + 600_000,
    });
    for (const position of [0, 1])
      await tx.insert(gpu).values({
        uuid: `GPU-${position}`,
        hostId: "rack.one",
        position,
        model: "Test GPU",
        memoryMb: 80_000,
        createdAt: now,
        seenAt: now,
      });
  });
  addRack();
  lab.comeBack();
}, 60_000);
afterAll(() => lab.close(), 60_000);

interface View {
  state: string;
  priority: number;
  not_before: number | null;
  deadline: number | null;
  window: unknown;
  position: number | null;
  waiting_for: { code: string; message: string; until: number | null; jobs: string[] } | null;
  predicted_start: { earliest: number | null; latest: number | null; why: string | null } | null;
}
const view = (id: string, as: "admin" | "member" = "admin") => lab.json<View>("GET", `/v1/jobs/${id}`, { as });
const change = (id: string, body: Record<string, unknown>, as: "admin" | "member" | "other" | "otherAdmin" = "admin") =>
  lab.request("POST", `/v1/queue/${id}`, { body, as });
const codeOf = async (answer: Response) => [answer.status, (await answer.json()).error?.code];
const step = async (id: string) => (await lab.job(id)).progress.step ?? 0;
const later = () => Math.floor(Date.now() / 1000) + 3600;
const end = async (...ids: string[]) => {
  for (const id of ids) await lab.request("POST", `/v1/jobs/${id}/cancel`);
  for (const id of ids)
    await until(
      "its end",
      async () => ["cancelled", "succeeded", "failed"].includes((await lab.job(id)).state),
      45_000,
      20,
    );
  for (const id of ids)
    await until(
      "its work to terminate",
      async () => (await lab.attempts(id)).every((one) => one.goneAt !== null),
      45_000,
      20,
    );
};
/** Moves the start of a job into the past, because work that has just started is not preempted. */
const longAgo = (id: string) =>
  lab.ctx.write((tx) =>
    tx
      .update(attempt)
      .set({ startedAt: Date.now() - 3_600_000 })
      .where(eq(attempt.jobId, id)),
  );
/** A job that needs one GPU of the rack, and one that needs none. */
const onGpu = (suffix: string, request: Record<string, unknown> = {}) =>
  lab.train(suffix, { gpus: 1, provider: "rack", ...request });
const onSlot = (suffix: string, request: Record<string, unknown> = {}) =>
  lab.train(suffix, { gpus: 0, provider: "process", ...request });
const held = () => lab.ctx.db.select().from(gpuAllocation);

describe("the scheduling options of a job", () => {
  let id: string;
  beforeEach(async () => {
    id = await onSlot("placed", { not_before: later() });
  });

  test.each([
    [{ priority: 1 }, "member", [403, "priority_too_high"]],
    [{ priority: -5 }, "member", [200, undefined]],
    [{ priority: 50 }, "admin", [200, undefined]],
    [{ priority: 101 }, "admin", [400, "invalid_value"]],
    [{ priority: -5 }, "other", [404, "job_not_found"]],
    [{ priority: 5 }, "otherAdmin", [200, undefined]],
    [{}, "admin", [400, "invalid_value"]],
    [{ deadline: 5 }, "admin", [400, "deadline_passed"]],
    [{ deadline: "2026-01-01" }, "admin", [400, "invalid_type"]],
    [{ not_before: later() + 90, deadline: later() + 60 }, "admin", [400, "deadline_before_start"]],
    [{ window: { from: "22:00", until: "06:00", tz: "Mars/Olympus" } }, "admin", [400, "invalid_value"]],
    [{ window: { from: "25:00", until: "06:00", tz: "UTC" } }, "admin", [400, "invalid_value"]],
    [{ window: { from: "06:00", until: "06:00", tz: "UTC" } }, "admin", [400, "invalid_value"]],
    [{ window: { from: "22:00", until: "06:00", tz: "UTC", days: [7] } }, "admin", [400, "invalid_value"]],
    [{ window: { from: "22:00", until: "06:00", tz: "UTC", days: [1, 5] } }, "member", [200, undefined]],
  ] as const)("change %o by %s answers %o", async (body, as, expected) => {
    expect(await codeOf(await change(id, body, as))).toEqual([...expected]);
    await end(id);
  });

  test("are part of the request and of the job's answer", async () => {
    const window = { from: "22:00", until: "06:00", tz: "Europe/Berlin" };
    const made = await onSlot("scheduled", {
      priority: -3,
      not_before: "2037-05-01T10:00:00+02:00",
      deadline: 2_200_000_000,
      window,
    });
    expect(await view(made)).toMatchObject({
      state: "queued",
      priority: -3,
      not_before: Date.parse("2037-05-01T08:00:00Z") / 1000,
      deadline: 2_200_000_000,
      window,
      waiting_for: { code: "not_before" },
      predicted_start: { earliest: expect.any(Number) },
    });
    const refused = await lab.request("POST", "/v1/jobs", {
      as: "member",
      body: { model: "tiny", training_file: lab.fileId, priority: 7 },
    });
    expect(await codeOf(refused)).toEqual([403, "priority_too_high"]);
    await end(id, made);
  });

  test("cannot be changed after the job has ended", async () => {
    await end(id);
    expect(await codeOf(await change(id, { priority: 1 }))).toEqual([400, "job_ended"]);
  });
});

describe("waiting work", () => {
  test("shows its reason and predicted start; other teams see only its size", async () => {
    const runs = await onSlot("first-slow.200", { max_steps: 200 });
    await lab.reached(runs, "running");
    const waits = await onSlot("second");
    const seen = await until(
      "the reason",
      async () => (await view(waits)).waiting_for?.code === "capacity" && view(waits),
      45_000,
      20,
    );
    expect(seen).toMatchObject({ position: 1, waiting_for: { jobs: [runs] } });
    expect(seen.waiting_for?.message).toContain("slot");
    expect(seen.predicted_start?.earliest ?? 0).toBeGreaterThan(Date.now() / 1000 - 60);

    type Queue = {
      data: { id: string | null }[];
      running: { id: string | null; host: string }[];
      total: number;
      teams: unknown[];
    };
    const mine = await lab.json<Queue>("GET", "/v1/queue", { as: "member" });
    expect(mine).toMatchObject({
      total: 1,
      data: [{ id: waits, name: "second" }],
      running: [{ id: runs, host: "process.local" }],
    });
    expect(mine.teams.length).toBe(1);
    const theirs = await lab.json<Queue>("GET", "/v1/queue", { as: "other" });
    expect(theirs).toMatchObject({ data: [{ id: null, name: null, team: null }], running: [{ id: null, name: null }] });
    expect(JSON.stringify(theirs)).not.toContain(runs);
    expect((await lab.json<Queue>("GET", "/v1/queue?mine=true", { as: "other" })).data).toEqual([]);
    expect(await lab.json<Queue>("GET", "/v1/queue", { as: "otherAdmin" })).toMatchObject({ data: [{ id: waits }] });
    await end(runs, waits);
  }, 60_000);

  test("starts before older work when its priority is raised", async () => {
    const runs = await onSlot("holds-slow.200", { max_steps: 200 });
    await lab.reached(runs, "running");
    const [older, raised] = [await onSlot("older"), await onSlot("raised")];
    await change(raised, { priority: 10 });
    await end(runs);
    await lab.reached(raised, "running", "succeeded");
    expect((await lab.job(older)).startedAt ?? Number.POSITIVE_INFINITY).toBeGreaterThan(
      (await lab.job(raised)).startedAt ?? 0,
    );
    await lab.reached(older, "succeeded");
  }, 60_000);
});

describe("preempted work", () => {
  const allSteps = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
  const steps = async (id: string) => {
    const { series } = await lab.json<{ series: Record<string, { points: [number, number][] }> }>(
      "GET",
      `/v1/jobs/${id}/metrics?keys=train/loss`,
    );
    return (series["train/loss"]?.points ?? []).map(([at]) => at);
  };

  test("saves a checkpoint for a higher priority, waits, resumes and repeats no step", async () => {
    const low = await onSlot("low-slow.40", { max_steps: 120, save_every: 100 });
    await until("some steps", async () => (await step(low)) >= 5, 45_000, 10);
    await longAgo(low);
    const high = await onSlot("high", { priority: 20 });
    await lab.reached(high, "succeeded");
    await lab.reached(low, "succeeded");
    const [first, second, ...more] = await lab.attempts(low);
    expect([first?.outcome, second?.outcome, more.length]).toEqual(["paused", "succeeded", 0]);
    expect(await steps(low)).toEqual(allSteps(120));
    expect((await lab.attempts(high))[0]?.createdAt ?? 0).toBeLessThan(second?.createdAt ?? 0);
  }, 60_000);

  test("is never preempted by an equal priority", async () => {
    const runs = await onSlot("equal-slow.200", { max_steps: 200 });
    await lab.reached(runs, "running");
    await longAgo(runs);
    const waits = await onSlot("equal2");
    await until("the reason", async () => (await view(waits)).waiting_for?.code === "capacity", 45_000, 20);
    await Bun.sleep(300);
    expect((await lab.job(runs)).state).toBe("running");
    await end(runs, waits);
  }, 60_000);

  test("stays paused when a user asks for that meanwhile", async () => {
    const low = await onSlot("kept-slow.200", { max_steps: 200 });
    await until("some steps", async () => (await step(low)) >= 3, 45_000, 10);
    await longAgo(low);
    await lab.goAway();
    await lab.ctx.write((tx) => tx.update(job).set({ state: "pausing", yieldFor: "priority" }).where(eq(job.id, low)));
    expect((await lab.request("POST", `/v1/jobs/${low}/pause`)).status).toBe(200);
    expect((await lab.job(low)).yieldFor).toBeNull();
    await lab.ctx.write((tx) => tx.update(job).set({ state: "running" }).where(eq(job.id, low)));
    lab.comeBack();
    await end(low);
  }, 60_000);

  test("runs only within its window", async () => {
    const id = await onSlot("hours-slow.40", { max_steps: 120, save_every: 100 });
    await until("some steps", async () => (await step(id)) >= 3, 45_000, 10);
    const hour = (new Date().getUTCHours() + 5) % 24;
    const at = (h: number) => `${String(h % 24).padStart(2, "0")}:00`;
    await change(id, { window: { from: at(hour), until: at(hour + 2), tz: "UTC" } });
    await lab.reached(id, "queued");
    expect(await view(id)).toMatchObject({ waiting_for: { code: expect.stringMatching(/window|ending/) } });
    await change(id, { window: null });
    await lab.reached(id, "succeeded");
    expect(await steps(id)).toEqual(allSteps(120));
  }, 60_000);
});

describe("GPUs", () => {
  test("are held by UUID from start to end, and a third job waits for one", async () => {
    given.length = 0;
    const [a, b] = [await onGpu("a-slow.200", { max_steps: 200 }), await onGpu("b-slow.200", { max_steps: 200 })];
    for (const id of [a, b]) await lab.reached(id, "running");
    expect((await held()).map((one) => one.gpuUuid).sort()).toEqual(["GPU-0", "GPU-1"]);
    expect(given.flat().sort()).toEqual(["GPU-0", "GPU-1"]);
    const c = await onGpu("c");
    await until("the reason", async () => (await view(c)).waiting_for?.code === "capacity", 45_000, 20);
    expect((await view(c)).waiting_for?.message).toContain("1 GPU");
    expect((await view(c)).predicted_start?.earliest).toBeNumber();
    // No event reports that a host became unreachable.
    await lab.ctx.write((tx) => tx.update(host).set({ seenAt: 0 }).where(eq(host.id, "rack.one")));
    const away = await until(
      "the host to be unreachable",
      async () => (await view(c)).waiting_for?.code === "hosts_away" && view(c),
      45_000,
      20,
    );
    expect(away.predicted_start).toEqual({
      earliest: null,
      latest: null,
      why: "No known event would allow this job to start.",
    });
    await keepSeen();
    await until("its return", async () => (await view(c)).predicted_start?.earliest, 45_000, 20);
    await end(a);
    await lab.reached(c, "running", "succeeded");
    await end(b, c);
    expect(await held()).toEqual([]);
  }, 60_000);

  test("over the team's limit are waited for until an administrator raises it", async () => {
    const set = (max_gpus: number | null) => lab.json("POST", `/v1/admin/teams/${lab.orgs.a}`, { body: { max_gpus } });
    await set(1);
    const [a, b] = [await onGpu("qa-slow.200", { max_steps: 200 }), await onGpu("qb")];
    await lab.reached(a, "running");
    await until("the quota", async () => (await view(b)).waiting_for?.code === "quota_gpus", 45_000, 20);
    await set(null);
    await lab.reached(b, "running", "succeeded");
    await end(a, b);
  }, 60_000);

  test("of a drained host are released after a checkpoint, and used again when it is back", async () => {
    const id = await onGpu("drained-slow.40", { max_steps: 120, save_every: 100 });
    await until("some steps", async () => (await step(id)) >= 3, 45_000, 10);
    await keepSeen({ state: "draining" });
    lab.ctx.bus.emit("hosts.changed", { ids: ["rack.one"] });
    await lab.reached(id, "queued");
    await until("the reason", async () => (await view(id)).waiting_for?.code === "hosts_away", 45_000, 20);
    await keepSeen({ state: "ready" });
    await lab.reached(id, "succeeded");
    expect((await lab.attempts(id)).map((one) => one.outcome)).toEqual(["paused", "succeeded"]);
    await until("its GPUs to be free", async () => (await held()).length === 0, 45_000, 20);
  }, 60_000);
});

describe("teams", () => {
  test.each([
    [{ weight: 0 }, 400],
    [{ weight: 2, max_gpus: 8, gpu_hours_per_month: 100 }, 200],
    [{ max_gpus: 1.5 }, 400],
    [{ surprise: 1 }, 400],
  ])("share %o answers %p", async (body, status) => {
    expect((await lab.request("POST", `/v1/admin/teams/${lab.orgs.b}`, { body })).status).toBe(status);
  });

  test("that do not exist have no share", async () => {
    expect((await lab.request("POST", "/v1/admin/teams/none", { body: { weight: 2 } })).status).toBe(404);
  });
});
