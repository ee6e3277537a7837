/**
 * The server connects to an engine only where its provider launched it: another announced address gets no request, and
 * its attempt fails.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { Handle, ServingPlace } from "../../src/contract/provider.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { upstreamFetch } from "../../src/lib/upstream.ts";
import { checkAddress } from "../../src/serving/deployments/address.ts";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, type TestTrainer } from "../support/attempt.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { until } from "../support/live.ts";
import { readyBase, serveSpec } from "../support/models.ts";

let t: TestApp;
let stop: () => void;
let scratch: string;
let trainer: TestTrainer;
let deploymentId: string;
let engine: TestEngine;
/** A service of this machine that is not an engine; it must never get a request. */
let victim: { url: string; socket: string; seen: string[]; stop(): void };

function startVictim(dir: string) {
  const seen: string[] = [];
  const answer = (request: Request) => {
    seen.push(`${request.method} ${new URL(request.url).pathname}`);
    return Response.json({});
  };
  const socket = join(dir, "docker.sock");
  const servers = [
    Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer }),
    Bun.serve({ unix: socket, fetch: answer }),
  ];
  const stopAll = () => {
    for (const server of servers) void server.stop(true);
  };
  return { url: `http://127.0.0.1:${servers[0]?.port}`, socket, seen, stop: stopAll };
}

async function launched(handle: Omit<Handle, "provider" | "key"> | null) {
  trainer = await makeTrainer(t, { spec: serveSpec("tiny") as never });
  if (handle)
    await t.ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ handle: { provider: "process", key: "k", ...handle } })
        .where(eq(attempt.id, trainer.attemptId)),
    );
  const made = await deployEngine(t.ctx, { address: "" }, { org: t.orgs.a, model: "tiny", state: "starting" });
  deploymentId = made.id;
  await t.ctx.write((tx) =>
    tx.update(deployment).set({ jobId: trainer.jobId, address: null }).where(eq(deployment.id, made.id)),
  );
}

beforeEach(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
  scratch = join(t.dir, "scratch");
  mkdirSync(scratch);
  victim = startVictim(t.dir);
  engine = startEngine(join(scratch, "serve.sock"));
  stop = startDeployments(t.ctx);
});
afterEach(async () => {
  stop();
  victim.stop();
  await engine.stop();
  await t.close();
});

const ready = (address: string) => trainer.send([{ type: "ready", address, models: ["tiny"] }]);
const state = async () => (await t.json<{ state: string }>("GET", `/v1/deployments/${deploymentId}`)).state;
const failed = () =>
  until(
    "the job to fail",
    async () => {
      const [row] = await t.ctx.db.select().from(job).where(eq(job.id, trainer.jobId));
      return row?.state === "failed" ? row.error : null;
    },
    5000,
    20,
  );

test("the socket in its own directory is used", async () => {
  await launched({ serving: { socketDir: scratch } });
  await ready(engine.address);
  await until("ready", async () => (await state()) === "ready", 5000, 20);
  const reply = await t.request("POST", "/v1/chat/completions", {
    body: { model: "tiny", messages: [{ role: "user", content: "Hi" }] },
  });
  expect(reply.status).toBe(200);
});

const places: [string, () => string][] = [
  ["another service on this machine", () => victim.url],
  ["another socket", () => `unix:${victim.socket}`],
  ["a path that leaves the directory", () => `unix:${scratch}/../docker.sock`],
  [
    "a link to another socket",
    () => {
      symlinkSync(victim.socket, join(scratch, "link.sock"));
      return `unix:${join(scratch, "link.sock")}`;
    },
  ],
  [
    "a directory that is a link",
    () => {
      symlinkSync(t.dir, join(scratch, "away"));
      return `unix:${join(scratch, "away", "docker.sock")}`;
    },
  ],
];
test.each(places)("%s is refused: it gets no request, and the attempt fails with the reason", async (_, place) => {
  await launched({ serving: { socketDir: scratch } });
  const address = place();
  await ready(address);
  const error = await failed();
  expect(error?.code).toBe("engine_address");
  expect(error?.message).toContain(`The engine announced ${address}`);
  expect(victim.seen).toEqual([]);
  const [mine] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, trainer.attemptId));
  expect([mine?.state, mine?.outcome]).toEqual(["ended", "engine_address"]);
});

test("a provider that reports no socket directory cannot run engines on this machine", async () => {
  await launched({});
  await ready(engine.address);
  expect((await failed())?.message).toContain("does not report where its sockets are");
});

test("an address announced before the launch is recorded is used afterwards", async () => {
  await launched(null);
  await ready(engine.address);
  await Bun.sleep(300);
  expect(await state()).toBe("starting");
  await t.ctx.write((tx) =>
    tx
      .update(attempt)
      .set({ handle: { provider: "process", key: "k", serving: { socketDir: scratch } } })
      .where(eq(attempt.id, trainer.attemptId)),
  );
  await until("ready", async () => (await state()) === "ready", 5000, 20);
});

test("a second ready event with the same address changes nothing; a different address ends the attempt", async () => {
  await launched({ serving: { socketDir: scratch } });
  await ready(engine.address);
  await ready(engine.address);
  await until("ready", async () => (await state()) === "ready", 5000, 20);
  const other = startEngine(join(scratch, "other.sock"));
  await ready(other.address);
  expect((await failed())?.message).toContain("a second address");
  expect(other.requests).toEqual([]);
  await other.stop();
});

test("a socket that is later replaced by a link gets no more requests", async () => {
  await launched({ serving: { socketDir: scratch } });
  await ready(engine.address);
  await until("ready", async () => (await state()) === "ready", 5000, 20);
  const path = join(scratch, "serve.sock");
  renameSync(path, `${path}.old`);
  symlinkSync(victim.socket, path);
  await expect(upstreamFetch(engine.address, "/health")).rejects.toThrow("not a socket");
  rmSync(path);
  renameSync(`${path}.old`, path);
  expect(victim.seen).toEqual([]);
});

test("an event with an invalid address is refused and the field is named", async () => {
  await launched({ serving: { socketDir: scratch } });
  const body = { events: [{ seq: 1, at: 1, type: "ready", address: "file:///etc/passwd", models: [] }] };
  const answer = await trainer.call("POST", "/events", { body });
  expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining("events[0].address")]);
});

describe("engines on other machines", () => {
  const judge = (place: ServingPlace | null, address: string) =>
    checkAddress({ local: false, provider: "Cloud", place }, address);
  const hosts = { hosts: ["gpu-7.example.com", "10.0.0.8:8000"] };

  test.each(["https://gpu-7.example.com:9000", "http://GPU-7.example.com", "http://10.0.0.8:8000/"])(
    "%s is on a host its provider named",
    (address) => {
      expect(judge(hosts, address)).toEqual({ address });
    },
  );
  test.each([
    "http://127.0.0.1:4119",
    "http://169.254.169.254",
    "http://10.0.0.8:22",
    "http://10.0.0.8",
    "https://gpu-7.example.com.attacker.example",
    "unix:/var/run/docker.sock",
    "ftp://gpu-7.example.com",
    "http://user@gpu-7.example.com",
  ])("%s is not", (address) => {
    expect(judge(hosts, address)).toEqual({ refused: expect.stringContaining(address) });
  });
  test("without hosts from the provider every address is refused", () => {
    for (const place of [null, {}, { hosts: [] }, { socketDir: "/tmp" }])
      expect(judge(place, "https://gpu-7.example.com")).toEqual({ refused: expect.stringContaining("which host") });
  });
});
