/**
 * The process provider under the conformance suite, and the two things only it can show: a killed launcher, and pids
 * used again.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import plugin from "../../plugins/process/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { CASES, runCase } from "../../src/contract/conformance.ts";
import { launch, untilGone, untilState } from "../../src/contract/conformance-tools.ts";

let dataDir: string;
beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "ftl-process-"));
});
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

describe("the process provider conforms:", () => {
  for (const one of CASES)
    test(one.name, async () => {
      const { make, tools } = conformanceSetup(plugin, {}, dataDir);
      const result = await runCase(one, make, tools);
      expect(result.detail || result.outcome, one.name).toBe(result.outcome === "skipped" ? result.detail : "passed");
    }, 30_000);
});

test("what a killed server left half made or half deleted is deleted, and what is in use is not", async () => {
  const { make, tools } = conformanceSetup(plugin, {}, dataDir);
  const paths = [".old-a", ".new-b", ".old-c"].map((name) => join(dataDir, name));
  for (const path of paths) {
    mkdirSync(join(path, "scratch"), { recursive: true });
    writeFileSync(join(path, "scratch", "file"), "x");
  }
  const before = new Date(Date.now() - 60_000);
  for (const path of paths.slice(0, 2)) utimesSync(path, before, before);
  await make().listOwned(tools.installation);
  expect(paths.map((path) => existsSync(path))).toEqual([false, false, true]);
});

describe("without its launcher", () => {
  const forever = "import time; time.sleep(600)";

  test("work is still found, can be ended, and is known to be gone", async () => {
    const { make, tools } = conformanceSetup(plugin, {}, dataDir);
    const handle = await launch(make(), tools, { argv: tools.python(forever) });
    process.kill(Number(handle.launcher_pid), "SIGKILL");
    await Bun.sleep(50);
    expect((await make().describe(handle)).state).toBe("running");
    await untilGone(make(), tools, handle, 5);
    expect((await make().describe(handle)).state).toBe("absent");
  }, 60_000);

  test("work that dies has exited with an unknown code", async () => {
    const { make, tools } = conformanceSetup(plugin, {}, dataDir);
    const handle = await launch(make(), tools, { argv: tools.python(forever) });
    process.kill(Number(handle.launcher_pid), "SIGKILL");
    await Bun.sleep(50);
    process.kill(Number(handle.pid), "SIGKILL");
    const status = await untilState(make(), tools, handle, ["exited"]);
    expect(status.exitCode).toBeNull();
    expect(status.reason).toContain("launcher");
    expect(await make().terminate(handle)).toEqual({ gone: true });
  }, 60_000);

  test("another process with the same pid is not mistaken for it or killed", async () => {
    const { make, tools } = conformanceSetup(plugin, {}, dataDir);
    const handle = await launch(make(), tools, { argv: tools.python("pass") });
    await untilState(make(), tools, handle, ["exited"]);
    const bystander = Bun.spawn(["sleep", "60"]);
    try {
      const folder = join(dataDir, handle.key);
      const started = JSON.parse(readFileSync(join(folder, "started.json"), "utf8"));
      rmSync(join(folder, "exit.json"));
      writeFileSync(join(folder, "started.json"), JSON.stringify({ ...started, pid: bystander.pid }));
      // The launcher, about to exit itself, is believed for a moment; the bystander never is.
      await untilState(make(), tools, handle, ["exited"]);
      expect(await make().terminate(handle, { graceS: 0 })).toEqual({ gone: true });
      expect(bystander.exitCode).toBeNull();
    } finally {
      bystander.kill("SIGKILL");
      await bystander.exited;
    }
  }, 60_000);

  test("repeating an interrupted launch starts it", async () => {
    const { make, tools } = conformanceSetup(plugin, {}, dataDir);
    const key = tools.key();
    const handle = await launch(make(), tools, { argv: tools.python(forever), key });
    await untilGone(make(), tools, handle, 0);
    // What a server killed between claiming the key and starting the launcher leaves behind.
    const plan = { key, labels: {}, installation: tools.installation, argv: tools.python("pass"), cwd: dataDir };
    const rest = { nice: 0, log_bytes: 1e6, deadline: Date.now() + 60_000, grace_s: 1, created_at: Date.now() };
    const { mkdir } = await import("node:fs/promises");
    await mkdir(join(dataDir, key));
    writeFileSync(join(dataDir, key, "launch.json"), JSON.stringify({ ...plan, ...rest }));
    expect((await make().describe(handle)).state).toBe("starting");
    const again = await launch(make(), tools, { argv: tools.python("pass"), key });
    expect((await untilState(make(), tools, again, ["exited"])).exitCode).toBe(0);
  }, 60_000);
});
