/** The same faults with containers on a real engine, and those only an engine has: it goes away and comes back. */
import { afterAll, beforeAll, describe } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testDocker } from "../support/docker.ts";
import { until } from "../support/live.ts";
import { type Bench, startBench } from "./support/bench.ts";
import { dockerHands, makeScriptedImage, SCRIPTED_IMAGE } from "./support/docker-hands.ts";
import { FULL, row } from "./support/row.ts";
import { onlyAttempt, same, sharedRows } from "./support/shared-rows.ts";

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : Bun.which("docker") ? null : "the command `docker` is not installed";
const ways = mkdtempSync(join(tmpdir(), "ftl-way-"));
/** The server's own way to the engine: taken away, the engine is gone for this server and for nobody else. */
const way = join(ways, "engine.sock");
let bench: Bench;

const connections = new Set<Socket>();
let gate: Server | null = null;

/** Everything that comes by the way is handed to the engine and back. */
function open(): Promise<void> {
  if ("skip" in docker) return Promise.resolve();
  const path = docker.address.replace(/^unix:\/\//, "");
  const server = createServer((near) => {
    const far = connect(path);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      connections.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        connections.delete(one);
        other.destroy();
      });
    }
  });
  gate = server;
  return new Promise((resolve) => server.listen(way, resolve));
}

/** No new connection, and an end to all there are: as when the engine stops. */
async function cut(): Promise<void> {
  const closed = new Promise<void>((resolve) => gate?.close(() => resolve()));
  for (const one of connections) one.destroy();
  await closed;
  rmSync(way, { force: true });
}

beforeAll(async () => {
  if (skip !== null || "skip" in docker) return;
  makeScriptedImage(docker.address);
  await open();
  const settings = { docker: { hosts: `unix://${way}`, shm_mb: 64, image: SCRIPTED_IMAGE } };
  bench = await startBench({
    trainer: "scripted",
    // Fifty passes, the most there may be, last longer than ten minutes.
    rows: FULL ? 200 : undefined,
    env: { FTL_PROVIDERS: "docker", FTL_PROVIDER_SETTINGS: JSON.stringify(settings) },
    hands: (_dir, installation) => dockerHands(docker.address, installation),
  });
}, 600_000);

afterAll(async () => {
  for (const { key } of bench?.hands.working() ?? []) bench.hands.removeByHand(key);
  await bench?.close();
  if (gate) await cut();
  if (!("skip" in docker)) await docker.close();
  rmSync(ways, { recursive: true, force: true });
}, 60_000);

sharedRows("docker", () => bench, skip);

describe("the engine", () => {
  row(
    {
      row: "10",
      provider: "docker",
      fault: `the engine is gone for ${FULL ? "ten minutes" : "8 s"}`,
      expected: "jobs unaffected, the queue waits and says why, everything recovers when it returns",
      skip,
      timeoutMs: 900_000,
    },
    () => bench,
    async () => {
      const id = await bench.train("talk-slow.100", { n_epochs: 50, max_steps: FULL ? 6500 : 140, save_every: 1000 });
      const short = await bench.train("talk-short", { max_steps: 60 });
      await bench.atStep(id, 5);
      await bench.atStep(short, 2);
      const before = bench.hands.working().find((work) => work.id)?.id;
      await cut();
      const queued = await bench.train("talk-queued");
      const end = performance.now() + (FULL ? 600_000 : 8000);
      let looks = 0;
      while (performance.now() < end) {
        const [running, waiting] = [await bench.job(id), await bench.job(queued)];
        same("the running job", "running", running.state);
        same("the waiting job", "queued", waiting.state);
        looks++;
        await Bun.sleep(200);
      }
      const { progress } = await bench.call<{ progress: { waiting?: string } }>("GET", `/v1/jobs/${queued}`);
      if (!progress.waiting) throw new Error("the waiting job does not say what it waits for");
      // One that ended while nobody could look.
      await bench.reached(short, "succeeded");
      await open();
      await bench.reached(queued, "succeeded");
      if (!bench.hands.working().some((work) => work.id === before) && !FULL)
        await until("the end of the long one", async () => (await bench.job(id)).state === "succeeded", 60_000);
      await bench.reached(id, "succeeded");
      for (const each of [id, short, queued]) await onlyAttempt(bench, each);
      return {
        times: 1,
        seen: `${looks} looks: running and queued ("${progress.waiting}"); one attempt each, all succeeded`,
      };
    },
  );
});
