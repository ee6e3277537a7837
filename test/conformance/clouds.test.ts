/**
 * The providers of rented machines under the conformance suite: machines of the fake cloud are processes of this
 * machine, and its time runs a hundred times as fast.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { CASES, casesFor, runCase } from "../../src/contract/conformance.ts";
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { fastClock } from "../support/fake-cloud/clock.ts";
import { FakeCloud, type Machine } from "../support/fake-cloud/core.ts";
import { serveCloud } from "../support/fake-cloud/server.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

describe.each(Object.keys(VENDORS))("%s conforms:", (vendor) => {
  const { plugin, dialect, config, program } = VENDORS[vendor] as (typeof VENDORS)[string];
  const clock = fastClock(100);
  let dir: string;
  let served: Awaited<ReturnType<typeof serveCloud>>;
  let url: string;
  const started: Machine[] = [];

  /** The program of the launch, in place of the trainer's image. */
  function onBoot(machine: Machine) {
    started.push(machine);
    const { argv, env } = program(machine);
    const scratch = mkdtempSync(join(dir, "machine-"));
    const child = Bun.spawn(argv, {
      env: { PATH: process.env.PATH ?? "", ...env, FTL_SCRATCH: scratch },
      stdout: "ignore",
      stderr: "ignore",
      detached: true,
    });
    return {
      async end() {
        // The machine goes with everything on it.
        if (child.exitCode === null) process.kill(-child.pid, "SIGKILL");
        await child.exited;
      },
    };
  }

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), "ftl-rented-"));
    const cloud = new FakeCloud({ ...dialect, bootMs: 5000 }, { clock, onBoot });
    cloud.limited = false;
    served = await serveCloud(cloud);
    url = served.url;
  });
  afterAll(async () => {
    await served.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  const fast: ProviderPlugin = { ...plugin, create: (host, given) => plugin.create({ ...host, clock }, given) };

  for (const one of new Set([...CASES, ...casesFor(plugin)]))
    test(one.name, async () => {
      const settings = { ...config, api_key: "fake-api-key", api_url: url };
      const { make, tools } = conformanceSetup(fast, settings, dir);
      const sleep = (ms: number) => Bun.sleep(Math.min(ms, 20));
      const result = await runCase(one, make, { ...tools, sleep, patienceMs: 20_000 });
      expect(result.detail || result.outcome, one.name).toBe(result.outcome === "skipped" ? result.detail : "passed");
    }, 30_000);

  test("the programs ran where the machines were", () => {
    expect(started.length).toBeGreaterThan(4);
  });
});
