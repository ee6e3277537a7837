/**
 * The Docker provider under the conformance suite, against a real engine; and what only containers show: walls, memory,
 * broken starts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import plugin from "../../plugins/docker/index.ts";
import { conformanceSetup } from "../../src/compute/providers/conformance-run.ts";
import { CASES, runCase } from "../../src/contract/conformance.ts";
import type { ConformanceTools, ProviderFactory } from "../../src/contract/conformance-case.ts";
import { failureKind, launch, offerFor, output, untilGone, untilState } from "../../src/contract/conformance-tools.ts";
import type { Handle } from "../../src/contract/provider.ts";
import { exitMessage, REASONS, reasonOfExit } from "../../src/training/jobs/failures.ts";
import { BASE_IMAGE, testDocker } from "../support/docker.ts";

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : null;

describe.skipIf(skip !== null)(`the docker provider${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let dataDir: string;
  let config: Record<string, unknown>;
  beforeAll(() => {
    if ("skip" in docker) return;
    dataDir = mkdtempSync(join(tmpdir(), "ftl-docker-"));
    config = { hosts: docker.address, image: BASE_IMAGE, shm_mb: 64 };
  });
  afterAll(async () => {
    if (!("skip" in docker)) await docker.close();
    rmSync(dataDir, { recursive: true, force: true });
  }, 30_000);

  describe("conforms:", () => {
    for (const one of CASES)
      test(one.name, async () => {
        const { make, tools } = conformanceSetup(plugin, config, dataDir);
        const result = await runCase(one, make, tools);
        expect(result.detail || result.outcome, one.name).toBe(result.outcome === "skipped" ? result.detail : "passed");
      }, 60_000);
  });

  /** One piece of work, ended and removed when `check` is done. */
  async function withWork(
    source: string,
    check: (handle: Handle, make: ProviderFactory, tools: ConformanceTools) => Promise<void>,
    need: Partial<ConformanceTools["need"]> = {},
  ): Promise<void> {
    const setup = conformanceSetup(plugin, config, dataDir);
    const tools = { ...setup.tools, need: { ...setup.tools.need, ...need } };
    const handle = await launch(setup.make(), tools, { argv: tools.python(source) });
    try {
      await check(handle, setup.make, tools);
    } finally {
      await untilGone(setup.make(), tools, handle, 0);
    }
  }

  test("a container has no network, no privileges, no root, no writable disk, and no access to the engine", async () => {
    const source = `
import json, os, socket
def fails(work):
    try: work()
    except Exception as problem: return type(problem).__name__
    return "worked"
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mounts = [line.split()[1] for line in open("/proc/mounts")]
print(json.dumps({
    "interfaces": sorted(name for name in os.listdir("/sys/class/net") if name not in ("sit0", "tunl0")),
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "root": fails(lambda: open("/probe", "w")), "etc": fails(lambda: open("/etc/probe", "w")),
    "connect": fails(lambda: socket.create_connection(("1.1.1.1", 53), 2)),
    "metadata": fails(lambda: socket.create_connection(("169.254.169.254", 80), 2)),
    "sockets": [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)],
    "init": open("/proc/1/cmdline").read().split("\\0")[0],
    "mounts": mounts,
}), flush=True)`;
    await withWork(source, async (handle, make, tools) => {
      const status = await untilState(make(), tools, handle, ["exited"]);
      const lines = await output(make(), handle);
      expect(status.exitCode, lines.join("\n")).toBe(0);
      const found = JSON.parse(lines.at(-1) ?? "");
      expect(found).toMatchObject({
        interfaces: ["lo"],
        uid: 1000,
        gid: 1000,
        capabilities: Array(5).fill("0000000000000000"),
        no_new_privileges: "1",
        seccomp: "2",
        root: "OSError",
        etc: expect.stringMatching(/OSError|PermissionError/),
        connect: "OSError",
        metadata: "OSError",
        sockets: [],
        init: "/sbin/docker-init",
      });
      expect(found.mounts).not.toContain(dataDir);
    });
  }, 60_000);

  test("work that exceeds its memory limit ends as out_of_memory, not as killed", async () => {
    const hog = "data = []\nwhile True: data.append(bytearray(16 * 2**20))";
    await withWork(hog, async (handle, make, tools) => {
      const status = await untilState(make(), tools, handle, ["exited"]);
      expect(status.exitCode).toBe(137);
      expect(status.reason).toContain("out of memory");
      const reason = reasonOfExit("train", status.exitCode, status.reason);
      expect(reason).toBe("out_of_memory");
      expect(REASONS[reason].retry).toBe(false);
      expect(REASONS[reason].advice).toContain("batch size");
    });
  }, 60_000);

  test("a kill from outside is not reported as out of memory, and may be retried", async () => {
    await withWork("import time; print('up', flush=True); time.sleep(600)", async (handle, make, tools) => {
      await untilState(make(), tools, handle, ["running"]);
      if ("skip" in docker) return;
      await docker.engine.docker.getContainer(String(handle.container)).kill({ signal: "SIGKILL" });
      const status = await untilState(make(), tools, handle, ["exited"]);
      expect(status).toMatchObject({ exitCode: 137, reason: null });
      expect(reasonOfExit("train", status.exitCode, status.reason)).toBe("killed");
      expect(REASONS.killed.retry).toBe(true);
    });
  }, 60_000);

  test.each([
    ["Failed to initialize NVML: Unknown Error", "gpu_lost", true],
    ["OSError: [Errno 28] No space left on device", "disk_full", false],
  ] as const)(
    "a trainer with the last stderr lines %p ended for the reason %s",
    async (words, reason, retry) => {
      await withWork(
        `import sys; print(${JSON.stringify(words)}, file=sys.stderr); sys.exit(1)`,
        async (handle, make, tools) => {
          const status = await untilState(make(), tools, handle, ["exited"]);
          expect(reasonOfExit("train", status.exitCode, status.reason)).toBe(reason);
          expect(exitMessage(status.exitCode, status.reason)).toContain(words);
          expect(REASONS[reason].retry).toBe(retry);
        },
      );
    },
    60_000,
  );

  test("a full scratch disk is an error in the container and takes no more than its limit", async () => {
    const source = `
import os
path = os.path.join(os.environ["FTL_SCRATCH"], "big")
with open(path, "wb") as file:
    while True: file.write(bytes(2**20)); file.flush()`;
    await withWork(
      source,
      async (handle, make, tools) => {
        const status = await untilState(make(), tools, handle, ["exited"]);
        expect(status.exitCode).toBe(1);
        expect(reasonOfExit("train", status.exitCode, status.reason)).toBe("disk_full");
      },
      { disk_mb: 300 },
    );
  }, 60_000);

  test("a missing image, a wrong GPU or a path outside the data root is refused with the reason, and leaves nothing behind", async () => {
    const { make, tools } = conformanceSetup(plugin, config, dataDir);
    const missing = `sha256:${"0".repeat(64)}`;
    const context = (key: string) => ({
      key,
      labels: {},
      deadline: Date.now() + 60_000,
      maxPricePerHour: null,
      callHome: { url: "unix:/nowhere/trainer.sock", token: "fta-test-token-000", fingerprint: null },
    });
    const spec = { kind: "train" as const, need: tools.need, image: null, argv: ["true"], env: {} };
    const offer = await offerFor(make(), tools);
    const cases = [
      [{ ...spec, image: missing }, "invalid", "image_missing"],
      [{ ...spec, image: "finetune-lab/trainer:latest" }, "invalid", "image_missing"],
      [
        { ...spec, need: { ...tools.need, gpus: 1 }, gpus: ["GPU-11111111-2222-3333-4444-555555555555"] },
        "fatal",
        "gpu_lost",
      ],
      [{ ...spec, need: { ...tools.need, gpus: 1 }, gpus: ["0"] }, "invalid", null],
      [{ ...spec, inputs: ["/etc"] }, "invalid", null],
      [{ ...spec, inputs: [join(dataDir, "..")] }, "invalid", null],
    ] as const;
    for (const [wrong, kind, reason] of cases) {
      const error = await make()
        .launch(
          {
            ...wrong,
            inputs: [...("inputs" in wrong ? wrong.inputs : [])],
            gpus: [...("gpus" in wrong ? wrong.gpus : [])],
          },
          offer,
          context(tools.key()),
        )
        .then(
          () => null,
          (problem) => problem,
        );
      expect(failureKind(error), String(error)).toBe(kind);
      expect(error.reason).toBe(reason);
    }
    expect(await make().listOwned(tools.installation)).toEqual([]);
  }, 60_000);

  test("a container sees its inputs at their own paths, and nothing else", async () => {
    const { make, tools } = conformanceSetup(plugin, config, dataDir);
    const [model, other] = ["model", "other"].map((name) => join(dataDir, name)) as [string, string];
    for (const folder of [model, other]) {
      mkdirSync(folder, { mode: 0o700 });
      writeFileSync(join(folder, "weights"), "of the model", { mode: 0o600 });
    }
    const source = `
import os
print(open(${JSON.stringify(join(model, "weights"))}).read())
print(os.path.exists(${JSON.stringify(other)}))
try: open(${JSON.stringify(join(model, "new"))}, "w")
except OSError as problem: print(problem.strerror, flush=True)`;
    const key = tools.key();
    const handle = await make().launch(
      { kind: "train", need: tools.need, image: null, argv: tools.python(source), env: {}, inputs: [model] },
      await offerFor(make(), tools),
      {
        key,
        labels: {},
        deadline: Date.now() + 60_000,
        maxPricePerHour: null,
        callHome: { url: "unix:/nowhere/trainer.sock", token: `fta-${key}`, fingerprint: null },
      },
    );
    await untilState(make(), tools, handle, ["exited"]);
    expect(await output(make(), handle)).toEqual(["of the model", "False", "Read-only file system"]);
    await untilGone(make(), tools, handle, 0);
  }, 60_000);

  test("a repeated launch with another token replaces the container that cannot authenticate", async () => {
    const { make, tools } = conformanceSetup(plugin, config, dataDir);
    const key = tools.key();
    const offer = await offerFor(make(), tools);
    const go = (token: string) =>
      make().launch(
        { kind: "train", need: tools.need, image: null, argv: tools.python("import time; time.sleep(600)"), env: {} },
        offer,
        {
          key,
          labels: {},
          deadline: Date.now() + 60_000,
          maxPricePerHour: null,
          callHome: { url: "unix:/nowhere/trainer.sock", token, fingerprint: null },
        },
      );
    const first = await go("fta-first-token-0000");
    const before = await untilState(make(), tools, first, ["running"]);
    expect((await make().describe(await go("fta-first-token-0000"))).startedAt).toBe(before.startedAt);
    const second = await go("fta-second-token-000");
    expect((await untilState(make(), tools, second, ["running"])).startedAt).not.toBe(before.startedAt);
    expect((await make().listOwned(tools.installation)).length).toBe(1);
    await untilGone(make(), tools, second, 0);
  }, 60_000);

  test("an unreachable engine does not end the work: only status requests fail", async () => {
    const away = { ...config, hosts: `unix://${join(dataDir, "no.sock")}` };
    const { make, tools } = conformanceSetup(plugin, away, dataDir);
    const asks = [
      () => make().offers(tools.need),
      () => make().describe({ provider: "docker", key: "some-key" }),
      () => make().listOwned(tools.installation),
      () => make().terminate({ provider: "docker", key: "some-key" }),
    ];
    for (const ask of asks) {
      const error = await ask().then(
        () => null,
        (problem) => problem,
      );
      expect(failureKind(error)).toBe("transient");
    }
    // One of two is enough to make offers.
    const both = conformanceSetup(
      plugin,
      { ...config, hosts: `${config.hosts} gone=unix://${join(dataDir, "no.sock")}` },
      dataDir,
    );
    expect((await both.make().offers(tools.need)).map(({ id }) => id)).toEqual(["local"]);
  }, 30_000);
});
