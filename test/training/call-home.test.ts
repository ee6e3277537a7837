/** Calling home from elsewhere: tokens that are exchanged once, the check of the address, machines that never call. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { callHomeChecks } from "../../src/cli/doctor/call-home.ts";
import { homeProblem } from "../../src/compute/providers/call-home.ts";
import type { ConfigInput } from "../../src/config.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { probeAll } from "../../src/insights/status/checks.ts";
import { newId, newSecret, sha256Hex } from "../../src/lib/ids.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { begin } from "../../src/training/attempts/begin.ts";
import { type SupervisorState, superviseAttempt } from "../../src/training/attempts/supervise.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, trainSpec } from "../support/attempt.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { type RentedMachines, rentedMachines } from "../support/rented-machines.ts";
import { tlsProxy } from "../support/tls-proxy.ts";

let t: TestApp;
let server: RunningServer;
let proxy: ReturnType<typeof tlsProxy>;
let certificates: Certificates;
let clock: FakeClock;
let cloud: RentedMachines;
beforeAll(async () => {
  certificates = makeCertificates();
  clock = fakeClock(Date.now());
  t = await createTestApp({ config: { trainer_listen: "127.0.0.1:0" }, ctx: { clock } });
  server = startServer(t.ctx, t.app);
  proxy = tlsProxy(server.trainerUrl as string, certificates);
});
afterAll(async () => {
  proxy.stop();
  await server.stop(1);
  await t.close();
  certificates.remove();
});

/** Changes settings as a restart would. */
const set = (settings: Partial<Record<keyof ConfigInput, unknown>>) => {
  t.ctx.config = { ...t.ctx.config, ...settings } as typeof t.ctx.config;
};
beforeEach(() => {
  cloud = rentedMachines(["cheap", "dear"]);
  t.ctx.compute = cloud;
  set({ trainer_url: proxy.url, trainer_fingerprint: [certificates.ca], trainer_probe: true });
  clock.advance(61_000);
});

const NONCE = "n".repeat(40);

/** A running attempt elsewhere with a bootstrap token. */
async function withBootstrap(minutes = 20) {
  const trainer = await makeTrainer(t);
  const token = newSecret("ftb-");
  const values = { bootstrapHash: sha256Hex(token), bootstrapUntil: clock.now() + minutes * 60_000, provider: "cloud" };
  await t.ctx.write((tx) => tx.update(attempt).set(values).where(eq(attempt.id, trainer.attemptId)));
  const exchange = async (nonce = NONCE, given = token) => {
    const answer = await trainer.call("POST", "/bootstrap", { body: { nonce }, token: given });
    const body = (await answer.json()) as { token?: string; error?: { code: string } };
    return { status: answer.status, token: body.token ?? "", code: body.error?.code };
  };
  const spec = async (as: string) => (await trainer.call("GET", "/spec", { token: as })).status;
  return { ...trainer, bootstrap: token, exchange, spec };
}

describe("bootstrap tokens", () => {
  test("are exchanged for the token of the attempt; a lost answer is given again to the same caller", async () => {
    const one = await withBootstrap();
    expect(await one.spec(one.bootstrap)).toBe(401);
    const first = await one.exchange();
    expect([first.status, first.token.slice(0, 4)]).toEqual([200, "fta-"]);
    expect(await one.exchange()).toEqual(first);
    expect([await one.spec(first.token), await one.spec(one.token), await one.spec(one.bootstrap)]).toEqual([
      200, 401, 401,
    ]);
    const [row] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, one.attemptId));
    expect(row?.contactAt).toBe(clock.now());
    expect(JSON.stringify(row)).not.toContain(first.token);
    expect(JSON.stringify(row)).not.toContain(one.bootstrap);
  });

  test("used by a second caller are refused: the attempt ends, its token is revoked, and the log says so", async () => {
    const one = await withBootstrap();
    const { token } = await one.exchange();
    expect(await one.exchange("m".repeat(40))).toMatchObject({ status: 401, code: "bootstrap_token_used" });
    expect(await one.spec(token)).toBe(409);
    // Neither caller can use it any more.
    expect((await one.exchange()).status).toBe(409);
    const [row] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, one.attemptId));
    expect(row).toMatchObject({ state: "ended", outcome: "bootstrap_reused" });
    const [work] = await t.ctx.db.select().from(job).where(eq(job.id, one.jobId));
    expect(work?.state).toBe("queued");
    const entries = await t.ctx.db.select().from(auditLog).where(eq(auditLog.target, one.jobId));
    expect(entries.map(({ action, detail }) => [action, detail])).toEqual([
      ["job.bootstrap_reused", { attempt: one.attemptId, provider: "cloud" }],
    ]);
  });

  test("end after minutes, and others are unknown", async () => {
    const one = await withBootstrap(5);
    clock.advance(5 * 60_000 + 1);
    expect(await one.exchange()).toMatchObject({ status: 401, code: "bootstrap_token_expired" });
    for (const other of [`ftb-${"x".repeat(40)}`, one.token, t.keys.admin])
      expect(await one.exchange(NONCE, other)).toMatchObject({ status: 401, code: "invalid_bootstrap_token" });
    expect((await one.exchange("short")).status).toBe(400);
    await t.ctx.write((tx) => tx.update(job).set({ state: "cancelled" }).where(eq(job.id, one.jobId)));
    expect((await one.exchange()).status).toBe(410);
  });
});

describe("the check of the address", () => {
  test("passes through a TLS proxy, by the fingerprint of the authority or of the certificate", async () => {
    expect(await homeProblem(t.ctx, true)).toBeNull();
    set({ trainer_fingerprint: ["0".repeat(64), certificates.leaf] });
    expect(await homeProblem(t.ctx, true)).toBeNull();
  });

  test.each([
    [
      "a private certificate without its fingerprint",
      { trainer_fingerprint: [] },
      /certificate/,
      /trainer_fingerprint/,
    ],
    ["another fingerprint", { trainer_fingerprint: ["0".repeat(64)] }, /fingerprint/, /trainer_fingerprint/],
    [
      "a closed port",
      { trainer_url: "https://127.0.0.1:9" },
      /does not answer/,
      /TCP port 9 .*firewall.*127\.0\.0\.1:0/,
    ],
    ["no address", { trainer_url: null }, /no address/, /Set trainer_url/],
  ] as const)("names %s and what to do", async (_what, settings, message, remedy) => {
    set(settings);
    const found = await homeProblem(t.ctx, true);
    expect([found?.message, found?.remedy]).toEqual([expect.stringMatching(message), expect.stringMatching(remedy)]);
  });

  test("names another server, and a proxy that does not pass the path on", async () => {
    const answers = (answer: () => Response) => {
      const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
      set({ trainer_url: `http://127.0.0.1:${other.port}`, trainer_fingerprint: [] });
      return homeProblem(t.ctx, true).finally(() => other.stop(true));
    };
    expect((await answers(() => Response.json({ proof: "1" })))?.message).toMatch(/Another server/);
    expect((await answers(() => new Response("no", { status: 404 })))?.remedy).toMatch(/\/trainer\/v1\//);
  });

  test("counts for a minute", async () => {
    const before = proxy.seen.length;
    for (const ms of [0, 30_000, 31_000]) {
      clock.advance(ms);
      await homeProblem(t.ctx);
    }
    expect(proxy.seen.length - before).toBe(2);
  });

  test("is part of the provider's test, of doctor, and of the status for administrators", async () => {
    const seen = async () => {
      const tested = await t.json<{ ok: boolean; problems: { field: string }[] }>(
        "POST",
        "/v1/admin/providers/cloud/test",
      );
      const checks = await callHomeChecks(t.ctx);
      const probes = await probeAll(t.ctx);
      const status = probes.find(({ component }) => component === "provider:cloud");
      return {
        test: tested.problems.map(({ field }) => field),
        doctor: checks.map(({ state, found }) => `${state}: ${found}`),
        status: [status?.state, status?.problem],
      };
    };
    expect(await seen()).toEqual({
      test: [],
      doctor: [`ok: call ${proxy.url}, which answers`],
      status: ["operational", null],
    });
    set({ trainer_url: "https://127.0.0.1:9" });
    const closed = await seen();
    expect(closed.test).toEqual(["trainer_url"]);
    expect(closed.doctor).toEqual([expect.stringMatching(/^gap: .*does not answer/)]);
    expect(closed.status).toEqual(["down", expect.stringMatching(/does not answer.*firewall/)]);
  });

  test("gives a stranger nothing but the answer to a nonce", async () => {
    const hello = async (nonce: string) => {
      const answer = await t.request("GET", `/trainer/v1/hello?nonce=${nonce}`, { as: "anonymous" });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    const { status, body } = await hello("a".repeat(32));
    expect([status, Object.keys(body)]).toEqual([200, ["object", "proof"]]);
    expect(body.proof).toMatch(/^[0-9a-f]{64}$/);
    expect((await hello("a/b")).status).toBe(400);
  });
});

/** A queued job. */
async function queued(): Promise<string> {
  const id = newId("trainJob");
  const spec = trainSpec({ limits: { queued_s: 86_400, no_progress_s: 60, total_s: 86_400, max_attempts: 3 } });
  await t.ctx.write((tx) =>
    tx.insert(job).values({
      id,
      org: t.orgs.a,
      kind: "train",
      name: "test",
      state: "queued",
      spec,
      request: {},
      metadata: {},
      progress: {},
      attempts: 0,
      createdBy: t.users.admin,
      createdAt: clock.now(),
      queuedAt: clock.now(),
    }),
  );
  return id;
}

const jobOf = async (id: string) =>
  (await t.ctx.db.select().from(job).where(eq(job.id, id)))[0] as typeof job.$inferSelect;
const attemptsOf = (id: string) => t.ctx.db.select().from(attempt).where(eq(attempt.jobId, id)).orderBy(attempt.number);

async function start(id: string) {
  const launches: Promise<void>[] = [];
  const target = { providers: cloud.list(), hostId: null, gpus: [] };
  const outcome = await begin(t.ctx, id, target, (work) => launches.push(work));
  await Promise.all(launches);
  return outcome;
}

describe("a launch elsewhere", () => {
  test("waits while the address does not answer, says what to open, and goes on by itself", async () => {
    const id = await queued();
    set({ trainer_url: "https://127.0.0.1:9" });
    expect(await start(id)).toBe("waits");
    expect((await jobOf(id)).progress.waiting).toMatch(/could not call home.*firewall/);
    expect(cloud.launches).toEqual([]);
    set({ trainer_url: proxy.url });
    clock.advance(61_000);
    expect(await start(id)).toBe("begun");
    const [only] = cloud.launches;
    expect(only?.context.callHome).toEqual({
      url: proxy.url,
      token: expect.stringMatching(/^ftb-/),
      fingerprint: certificates.ca,
    });
  });

  test("needs no answer where an administrator turned the check off", async () => {
    const id = await queued();
    set({ trainer_url: "https://127.0.0.1:9", trainer_probe: false });
    expect(await start(id)).toBe("begun");
  });
});

describe("first contact", () => {
  const supervisor = (): SupervisorState => ({
    startedAt: 0,
    launching: new Set(),
    goneSince: new Map(),
    late: new Set(),
    lateQueued: new Set(),
    askAgainAt: new Map(),
    orphanSince: new Map(),
  });

  /** Two looks, because one may fall on a clock that was just set. */
  async function look(state: SupervisorState, id: string) {
    for (let i = 0; i < 2; i++)
      for (const one of await attemptsOf(id))
        if (one.goneAt === null) await superviseAttempt(t.ctx, state, await jobOf(id), one);
  }

  test("a machine that runs and never calls is terminated, tried once elsewhere, and then the job fails", async () => {
    const id = await queued();
    const state = supervisor();
    for (const [n, offer] of ["cheap", "dear"].entries()) {
      expect(await start(id)).toBe("begun");
      const key = cloud.launches[n]?.context.key ?? "";
      expect(cloud.launches[n]?.offer).toBe(offer);
      // Half an hour of provisioning does not count.
      clock.advance(30 * 60_000);
      await look(state, id);
      cloud.machines.set(key, "running");
      await look(state, id);
      clock.advance(1_199_000);
      await look(state, id);
      expect((await attemptsOf(id))[n]?.state).toBe("starting");
      clock.advance(2000);
      await look(state, id);
      await look(state, id);
      expect((await attemptsOf(id))[n]).toMatchObject({ state: "ended", outcome: "never_called_home" });
      expect(cloud.machines.get(key)).toBe("absent");
      clock.advance(300_000);
    }
    const done = await jobOf(id);
    expect(done.state).toBe("failed");
    expect(done.error).toMatchObject({
      code: "never_called_home",
      message: "The machine runs, but its trainer did not call home within 1200 seconds.",
      advice: expect.stringMatching(/trainer_url.*firewall/),
      detail: "pulling the image",
    });
  });

  test("a machine that never begins to run ends too", async () => {
    const id = await queued();
    const state = supervisor();
    await start(id);
    clock.advance(45 * 60_000 + 59_000);
    await look(state, id);
    expect((await attemptsOf(id))[0]?.state).toBe("starting");
    clock.advance(2000);
    await look(state, id);
    expect((await attemptsOf(id))[0]).toMatchObject({
      outcome: "never_called_home",
      detail: "pulling the image",
    });
  });

  test("a trainer that called in time is left alone, and its bootstrap token ends with the time it had", async () => {
    const id = await queued();
    const state = supervisor();
    await start(id);
    const { callHome, key } = (cloud.launches[0] as (typeof cloud.launches)[0]).context;
    cloud.machines.set(key, "running");
    await look(state, id);
    expect((await attemptsOf(id))[0]?.bootstrapUntil).toBe(clock.now() + 1_200_000);
    const answer = await fetch(`${server.trainerUrl}/trainer/v1/bootstrap`, {
      method: "POST",
      headers: { authorization: `Bearer ${callHome.token}`, "content-type": "application/json" },
      body: JSON.stringify({ nonce: NONCE }),
    });
    expect(answer.status).toBe(200);
    await t.ctx.write((tx) =>
      tx
        .update(job)
        .set({ progressAt: clock.now() + 1_201_000 })
        .where(eq(job.id, id)),
    );
    clock.advance(1_201_000);
    await look(state, id);
    expect((await attemptsOf(id))[0]?.state).toBe("starting");
  });
});
