/**
 * A launcher that waits with the libraries loaded: its work is like any other, and the server can end, restart or do
 * without it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import plugin from "../../plugins/process/index.ts";
import { createHost } from "../../src/compute/providers/host.ts";
import type { Handle, Offer, Provider } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { TRAINER_ENV, trainerMissing, until } from "../support/live.ts";

const TRAINER = join(import.meta.dir, "../../trainer");
const NEED: Need = {
  gpus: 0,
  gpu_memory_mb: 0,
  cpus: 1,
  memory_mb: 100,
  disk_mb: 10,
  max_price_per_hour: null,
  provider: null,
};
const TOKEN = `fta-${"secret".repeat(5)}`;
let dataDir: string;
let stop: AbortController;
let launches = 0;

/** A provider as the server makes it; the one before it is gone. */
function provider(python = join(TRAINER_ENV, "bin/python"), config: object = { nice: 3 }): Provider {
  stop?.abort();
  stop = new AbortController();
  const trainer = async () => ({ python, dir: TRAINER });
  const log = () => {};
  const parts = { installation: "warm", clock: systemClock, log, signal: stop.signal, trainer, readyTrainer: trainer };
  return plugin.create(createHost("process", dataDir, parts), { ...config });
}

/** Starts a trainer that finds nobody at home, and so goes on asking. */
async function start(made: Provider): Promise<Handle> {
  const [offer] = await made.offers(NEED);
  const spec = { kind: "train" as const, need: NEED, image: null, argv: null, env: { FTL_PROOF: "here" } };
  return made.launch(spec, offer as Offer, {
    key: `warm-${++launches}`,
    labels: {},
    deadline: Date.now() + 120_000,
    maxPricePerHour: null,
    callHome: { url: `unix:${dataDir}/nobody.sock`, token: TOKEN, fingerprint: null },
  });
}
const end = (made: Provider, handle: Handle, graceS: number) =>
  until("its end", async () => (await made.terminate(handle, { graceS })).gone || null, 30_000, 100);
const of = (handle: Handle, name: string) => readFileSync(`/proc/${handle.pid}/${name}`, "utf8");

describe.skipIf(trainerMissing !== null)(
  `a warm launcher${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`,
  () => {
    beforeAll(() => {
      dataDir = mkdtempSync(join(tmpdir(), "ftl-warm-"));
    });
    afterAll(() => {
      stop.abort();
      rmSync(dataDir, { recursive: true, force: true });
    });

    test("starts work that another server finds and can end, and stays ready for the next", async () => {
      const made = provider();
      const handle = await start(made); // it waits for the launcher that the offers began to load
      expect(handle.warm).toBe(true);
      expect((await made.describe(handle)).state).toBe("running");
      expect(of(handle, "cmdline")).toContain("--warm");
      expect(of(handle, "environ")).not.toContain(TOKEN); // it came by a pipe
      const [, , , , , group] = of(handle, "stat")
        .replace(/\(.*\)/, "x")
        .split(" ");
      expect(Number(group)).toBe(Number(handle.pid)); // a session of its own
      const second = await start(made);
      expect(second.warm).toBe(true);
      const next = provider(); // a restarted server: its launcher is gone, the work still runs
      expect((await next.describe(handle)).state).toBe("running");
      expect((await next.listOwned("warm")).map((one) => one.handle.key).sort()).toContain(handle.key);
      await end(next, second, 0);
      await end(next, handle, 1);
      expect((await next.describe(handle)).state).toBe("absent");
    }, 120_000);

    test("the same work starts without a launcher if there is none, or if it cannot load the trainer", async () => {
      const fails = join(dataDir, "python");
      const real = join(TRAINER_ENV, "bin/python");
      writeFileSync(fails, `#!/bin/sh\n[ "$3" = --warm ] && exit 1\nexec ${real} "$@"\n`, { mode: 0o700 });
      for (const made of [provider(undefined, { warm_s: 0 }), provider(fails)]) {
        await made.offers(NEED);
        const handle = await start(made);
        expect([handle.warm, (await made.describe(handle)).state]).toEqual([false, "running"]);
        await end(made, handle, 0);
      }
    }, 60_000);
  },
);
