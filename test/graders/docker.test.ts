/** Python graders in containers of a real Docker Engine: the same limits as in namespaces, and nothing left behind. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { graderContainer } from "../../src/graders/container.ts";
import { pythonRunner } from "../../src/graders/python.ts";
import { PYTHON_LIMITS, type PythonLimits } from "../../src/graders/sandbox.ts";
import { sampleOf } from "../../src/graders/template.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { BASE_IMAGE, testDocker } from "../support/docker.ts";
import { brokenWalls } from "../support/docker-walls.ts";

const docker = await testDocker();
const skip = "skip" in docker ? docker.skip : null;

describe.skipIf(skip !== null)(`a python grader in a container${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let t: TestApp;
  const settings = (image: string) => ({
    docker: { hosts: "skip" in docker ? "" : docker.address, image, shm_mb: 64 },
  });
  beforeAll(async () => {
    // Without a Python on this machine, only the container can answer.
    const config = { providers: ["docker"], provider_settings: settings(BASE_IMAGE) };
    t = await createTestApp({ config: { ...config, trainer_env: null, python: "/nowhere/python3" } });
  }, 120_000);
  afterAll(async () => {
    await t?.close();
    if (!("skip" in docker)) await docker.close();
  }, 60_000);

  const run = (source: string, limits: Partial<PythonLimits> = {}, item: Record<string, unknown> = {}) =>
    pythonRunner(t.ctx, { ...PYTHON_LIMITS, seconds: 20, ...limits })(
      t.actor("member"),
      { source, check: false, sample: sampleOf("hi"), item },
      new AbortController().signal,
    );
  const grader = (body: string, head = "") =>
    `${head}\ndef grade(sample, item):\n    ${body.split("\n").join("\n    ")}\n`;
  const said = async (source: string, limits: Partial<PythonLimits> = {}) => JSON.stringify(await run(source, limits));

  test("returns its number, over HTTP too", async () => {
    expect(await run(grader('return len(sample["output_text"]) + item["w"]'), {}, { w: 1 })).toEqual({ reward: 3 });
    const body = { grader: { type: "python", name: "p", source: grader("return 0.25") }, model_sample: "x" };
    const found = await t.json("POST", "/v1/fine_tuning/alpha/graders/run", { body });
    expect(found.reward).toBe(0.25);
  }, 60_000);

  test("has the same limits", async () => {
    expect(await said(grader('socket.create_connection(("1.1.1.1", 53), 2)', "import socket"))).toContain("Permission");
    expect(await said(grader('raise Exception(",".join(os.listdir("/sys/class/net")))', "import os"))).toContain(
      "Exception: lo",
    );
    expect(await said(grader(`open(${JSON.stringify(join(t.dir, "lab.db"))})`))).toContain("FileNotFoundError");
    expect(await said(grader('open("/usr/x", "w")'))).toContain("Read-only file system");
    expect(await said(grader("os.fork()", "import os"))).toContain("Operation not permitted");
    expect(await said(grader("raise Exception(os.getuid())", "import os"))).toContain("Exception: 1000");
    expect(await said(grader('raise Exception(",".join(os.environ))', "import os"))).not.toMatch(/FTL_|TOKEN|PATH/);
    expect(await said(grader("while True: pass"), { seconds: 0.7 })).toContain("stopped after 0.7 s");
    expect(await said(grader('x = []\nwhile True: x.append("a" * 10**6)'), { memoryBytes: 256 * 2 ** 20 })).toContain(
      "256 MB",
    );
  }, 120_000);

  test("threads are bounded, and only the watcher can report on the sandbox", async () => {
    const threads = grader(
      "stop, n = threading.Event(), 0\ntry:\n    while n < 3000:\n        threading.Thread(target=stop.wait).start()\n        n += 1\nexcept RuntimeError:\n    pass\nstop.set()\nreturn n",
      "import threading\nthreading.stack_size(32768)",
    );
    const { reward } = (await run(threads)) as { reward: number };
    expect(reward).toBeGreaterThanOrEqual(32);
    expect(reward).toBeLessThan(64);
    const text = JSON.stringify('{"sandbox": "gone"}\n');
    expect(await run(grader(`os.write(3, ${text}.encode())\nos._exit(70)`, "import os"))).toHaveProperty("runtime");
    // The grader cannot write to the watcher's output, and no signal ends the watcher.
    expect(await said(grader(`open("/proc/1/fd/1", "w").write(${text})`))).toContain("PermissionError");
    expect(await run(grader("os.kill(1, signal.SIGINT)\nreturn 1", "import os, signal"))).toEqual({ reward: 1 });
  }, 120_000);

  test("leaves neither a container nor a request behind", async () => {
    if ("skip" in docker) return;
    const filters = { label: [`ft.grader=${t.ctx.installation}`] };
    expect(await docker.engine.docker.listContainers({ all: true, filters })).toEqual([]);
    const folder = join(t.dir, "run", "graders");
    expect(existsSync(folder) ? readdirSync(folder) : null).toEqual([]);
  });

  test("without an image and an interpreter it is refused with both reasons", async () => {
    const config = { providers: ["docker"], provider_settings: settings("none/such:1") };
    const other = await createTestApp({ config: { ...config, trainer_env: null, python: "/nowhere/python3" } });
    const body = { grader: { type: "python", name: "p", source: grader("return 1") }, model_sample: "x" };
    const answer = await other.request("POST", "/v1/fine_tuning/alpha/graders/run", { body });
    const { error } = (await answer.json()) as { error: { code: string; message: string } };
    expect([answer.status, error.code]).toEqual([422, "sandbox_unavailable"]);
    expect(error.message).toMatch(/Docker: .*none\/such:1.*\/nowhere\/python3 does not run/);
    await other.close();
  }, 60_000);
});

test("its container is fully isolated", async () => {
  const { isolation } = await import("../../plugins/docker/container.ts");
  const { default: plugin } = await import("../../plugins/docker/index.ts");
  const { readSettings } = await import("../../plugins/docker/settings.ts");
  const { settings } = readSettings(Object.fromEntries(plugin.config.map((field) => [field.name, field.default])));
  const container = graderContainer({
    image: `sha256:${"a".repeat(64)}`,
    installation: "inst",
    id: "x",
    program: "print()",
    request: "/data/run/graders/x.json",
    limits: PYTHON_LIMITS,
    user: settings.user,
    isolation: isolation(settings),
  });
  // The watcher is the program, and process 1.
  const broken = brokenWalls(container, "/data").filter((rule) => !/^another program|^no init$/.test(rule));
  expect(broken).toEqual([]);
  const { Entrypoint, HostConfig } = container;
  expect(Entrypoint).toEqual(["python3", "-I", "-B", "-c", "print()", "/request.json"]);
  expect([HostConfig?.NanoCpus, HostConfig?.NetworkMode, HostConfig?.PidsLimit]).toEqual([1e9, "none", 64]);
});
