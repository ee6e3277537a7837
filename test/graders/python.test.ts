/**
 * Python graders in namespaces of this machine: what they can do, and every limit of their sandbox. Skipped where the
 * system does not allow such namespaces.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { grade } from "../../src/graders/engine.ts";
import { pythonRunner, type RunPython } from "../../src/graders/python.ts";
import { PYTHON_LIMITS, type PythonLimits } from "../../src/graders/sandbox.ts";
import { sampleOf } from "../../src/graders/template.ts";
import { createFairQueue } from "../../src/lib/fair-queue.ts";
import { createTestApp } from "../support/app.ts";
import { until } from "../support/live.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

const app = await createTestApp();
/** Runs Python on behalf of one person, with the given limits. */
const runner =
  (limits: Partial<PythonLimits> = {}): RunPython =>
  (...rest) =>
    pythonRunner(app.ctx, { ...PYTHON_LIMITS, seconds: 20, ...limits })(app.actor("member"), ...rest);
const probe = await runner()({ source: "", check: true, sample: null, item: {} }, new AbortController().signal).then(
  () => null,
  (error: Error) => error.message,
);

/** Part of the sandbox program, which is an argument of its processes. */
const SANDBOX_MARK = "Runs one Python grader in a sandbox";

/** Grades with the given limits; nothing here asks a model. */
async function run(
  source: string,
  limits: Partial<PythonLimits> = {},
  item: Record<string, unknown> = {},
  text = "hi",
) {
  const tools = {
    embeddingModel: null,
    ask: () => Promise.reject(new Error("no model here")),
    python: runner(limits),
    signal: new AbortController().signal,
  };
  return grade({ type: "python", name: "p", source }, { item, sample: sampleOf(text) }, tools);
}

/** Why a grader failed at run time. */
async function failure(source: string, limits: Partial<PythonLimits> = {}) {
  const found = await run(source, limits);
  expect([found.reward, found.errors.python_grader_runtime_error]).toEqual([0, true]);
  return found.errors.python_grader_runtime_error_details ?? "";
}

const grader = (body: string, head = "") =>
  `${head}\ndef grade(sample, item):\n    ${body.split("\n").join("\n    ")}\n`;

describe.skipIf(probe !== null)(`a python grader${probe ? ` (skipped: ${probe})` : ""}`, () => {
  let server: ReturnType<typeof Bun.serve>;
  let asked = 0;
  beforeAll(() => {
    server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => {
        asked++;
        return new Response("secret");
      },
    });
  });
  afterAll(() => server.stop(true));

  test("gets the sample and the row, and returns a number", async () => {
    const source = grader('return len(sample["output_text"]) + sample["output_json"]["x"] + item["w"] / 2');
    expect((await run(source, {}, { w: 1 }, '{"x": 2}')).reward).toBe(10.5);
    expect((await run(grader("return True"))).reward).toBe(1);
    expect(
      (
        await run(
          grader(
            "return D('0.5') and F(1, 4)",
            "from decimal import Decimal as D\nfrom fractions import Fraction as F",
          ),
        )
      ).reward,
    ).toBe(0.25);
  });

  test("over HTTP, run and validate", async () => {
    const good = {
      type: "python",
      name: "p",
      source: grader('return 1.0 if sample["output_text"] == item["w"] else 0.0'),
      image_tag: "2025-05-08",
    };
    const found = await app.json("POST", "/v1/fine_tuning/alpha/graders/run", {
      body: { grader: good, model_sample: "a", item: { w: "a" } },
    });
    expect(found.reward).toBe(1);
    expect(contractMissing ? [] : contractProblems("RunGraderResponse", found)).toEqual([]);
    expect(await app.json("POST", "/v1/fine_tuning/alpha/graders/validate", { body: { grader: good } })).toEqual({
      grader: good,
    });
    const broken = { ...good, source: "def grade(sample, item:\n  return 1" };
    const answer = await app.request("POST", "/v1/fine_tuning/alpha/graders/validate", { body: { grader: broken } });
    const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
    expect([answer.status, error.code, error.param]).toEqual([400, "invalid_source", "grader.source"]);
    expect(error.message).toContain("line 1");
  });

  test("validate does not run the source", async () => {
    const run = runner({ seconds: 10 });
    const job = { source: "while True: pass", check: true, sample: null, item: {} };
    expect(await run(job, new AbortController().signal)).toEqual({ fine: true });
  });

  test.each([
    [
      "an exception",
      grader('raise ValueError("no " + item["w"])').replace('item["w"]', '"luck"'),
      "line 3, in grade\nValueError: no luck",
    ],
    ["a text instead of a number", grader('return "0.5"'), "grade returned str; it must return a number."],
    ["nothing", grader("pass"), "grade returned NoneType; it must return a number."],
    [
      "a number that is not finite",
      grader('return float("nan")'),
      "grade returned nan; it must return a finite number.",
    ],
    ["no grade function", "x = 1", "The source defines no function grade(sample, item)."],
    ["a grade function with another signature", "def grade(): return 1", "takes 0 positional arguments"],
    ["an end of the process", grader("os._exit(3)", "import os"), "exit code 3 without a result"],
    ["a crash", grader("ctypes.string_at(0)", "import ctypes"), "ended by signal 11"],
    ["SystemExit", grader("raise SystemExit(2)"), "SystemExit: 2"],
  ])("%s is a runtime error with its details", async (_, source, said) => {
    expect(await failure(source)).toContain(said);
  });

  test.each([
    ["loops", grader("while True: pass")],
    ["sleeps", grader("time.sleep(60)", "import time")],
    ["loops when it is loaded", "while True: pass"],
    ["prints without end", grader('while True: print("x" * 10_000)')],
    [
      "uses all memory",
      grader("while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass"),
    ],
  ])("one that %s is stopped at its limit", async (_, source) => {
    const begun = performance.now();
    expect(await failure(source, { seconds: 0.3 })).toBe("TimeoutError: the grader was stopped after 0.3 s");
    expect(performance.now() - begun).toBeLessThan(5000);
  });

  test("memory beyond the limit is refused", async () => {
    const limits = { memoryBytes: 256 * 2 ** 20 };
    const said = "MemoryError: the grader may use 256 MB of memory";
    expect(await failure(grader('x = []\nwhile True: x.append("a" * 1_000_000)'), limits)).toBe(said);
    expect(await failure(grader('return len("a" * 10**10)'), limits)).toBe(said);
    const shared = grader("m = mmap.mmap(-1, 2**30)\nreturn len(m)", "import mmap");
    expect(await failure(shared, limits)).toContain("Cannot allocate memory");
    expect(await failure(grader('return os.memfd_create("x")', "import os"), limits)).toContain(
      "Operation not permitted",
    );
  });

  test("/tmp is bounded, and deleted afterwards", async () => {
    const write = grader('with open("/tmp/x", "wb") as f:\n    for _ in range(100): f.write(b"a" * 10**6)\nreturn 1');
    expect(await failure(write, { diskBytes: 20 * 2 ** 20 })).toMatch(/No space left|File too large/);
    const many = grader('for n in range(40):\n    with open(f"/tmp/{n}", "wb") as f: f.write(b"a" * 10**6)\nreturn 1');
    expect(await failure(many, { diskBytes: 20 * 2 ** 20 })).toContain("No space left");
    expect(
      (await run(grader('return len(os.listdir("/tmp")) - ("ENV" in item)', "import os"), {}, {})).reward,
    ).toBeLessThanOrEqual(1);
  });

  test("the network cannot be reached, not even on this machine", async () => {
    const port = server.port ?? 0;
    const connect = (to: string) => grader(`socket.create_connection(${to}, 2)\nreturn 1`, "import socket");
    expect(await failure(connect(`("127.0.0.1", ${port})`))).toContain("PermissionError");
    expect(await failure(connect('("1.1.1.1", 53)'))).toContain("PermissionError");
    for (const kind of ["AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"])
      expect(await failure(grader(`socket.socket(socket.${kind}, socket.SOCK_RAW)`, "import socket"))).toContain(
        "Error",
      );
    expect(
      await failure(
        grader(`return float(urllib.request.urlopen("http://127.0.0.1:${port}").status)`, "import urllib.request"),
      ),
    ).toContain("Permission denied");
    expect(asked).toBe(0);
  });

  test("the server's data and the machine's files are hidden", async () => {
    expect(existsSync(join(app.dir, "lab.db"))).toBe(true);
    for (const path of [
      join(app.dir, "lab.db"),
      join(app.dir, "secret"),
      "/etc/passwd",
      "/etc/shadow",
      "/proc/1/environ",
      "/proc/self/environ",
    ])
      expect(await failure(grader(`return len(open(${JSON.stringify(path)}, "rb").read())`))).toContain(
        "FileNotFoundError",
      );
    const listed = await failure(grader(`raise Exception(",".join(sorted(os.listdir("/"))))`, "import os"));
    for (const name of ["proc", "home", "var", "run", "sys"]) expect(listed.split(/[ ,]/)).not.toContain(name);
    const socket = grader(
      `s = socket.socket(socket.AF_UNIX)\ns.connect(${JSON.stringify(join(app.dir, "run", "admin.sock"))})`,
      "import socket",
    );
    expect(await failure(socket)).toContain("FileNotFoundError");
  });

  test("the environment has nothing from the server", async () => {
    const source = grader('raise Exception(",".join(sorted(os.environ)))', "import os");
    expect(await failure(source)).toEndWith("Exception: HOME,LANG,OMP_NUM_THREADS,OPENBLAS_NUM_THREADS,TMPDIR");
  });

  test("Python's own files cannot be written", async () => {
    // Also where the server is root, the grader is not, and cannot write.
    const refused = /Read-only file system|Permission denied/;
    expect(await failure(grader('open(os.__file__, "a")', "import os"))).toMatch(refused);
    for (const path of ["/new", "/dev/new", "/usr/new"])
      expect(await failure(grader(`open("${path}", "w")`))).toMatch(refused);
  });

  test("other processes, programs and privileges cannot be reached", async () => {
    const refused = "Operation not permitted";
    expect(await failure(grader("os.fork()", "import os"))).toContain(refused);
    expect(await failure(grader('subprocess.run(["/bin/true"])', "import subprocess"))).toContain("Error");
    expect(await failure(grader('os.execv("/usr/bin/env", ["env"])', "import os"))).toContain("Error");
    expect(await failure(grader("os.setuid(0)", "import os"))).toContain("Error");
    expect(await failure(grader("os.sched_setaffinity(0, range(64))", "import os"))).toContain(refused);
    const unshare = grader(
      "r = ctypes.CDLL(None, use_errno=True).unshare(0x10000000)\nraise Exception(f'{r} {ctypes.get_errno()}')",
      "import ctypes",
    );
    expect(await failure(unshare)).toContain("Exception: -1 1");
    const raise = grader("resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))", "import resource");
    expect(await failure(raise)).toContain("not allowed to raise maximum limit");
    expect((await run(grader("return len(os.sched_getaffinity(0))", "import os"))).reward).toBe(1);
    expect(
      (await run(grader("t = threading.Thread(target=print)\nt.start()\nt.join()\nreturn 1", "import threading")))
        .reward,
    ).toBe(1);
  });

  test("a verdict that the source writes itself is never more than a number or an error", async () => {
    const forge = (text: string) => grader(`os.write(3, ${JSON.stringify(text)}.encode())\nos._exit(0)`, "import os");
    expect((await run(forge('{"reward": 1e999}'))).errors.python_grader_runtime_error).toBe(true);
    expect((await run(forge('{"reward": "x", "runtime": 5}'))).errors.python_grader_runtime_error).toBe(true);
    const flood = await failure(grader('os.write(3, b"x" * 10)\nwhile True: os.write(3, b"y" * 65536)', "import os"), {
      seconds: 1,
    });
    expect(flood.length).toBeLessThan(5000);
  });

  test.each([
    ["by itself", `{"sandbox": "gone"}`],
    ["beside a reward", `{"sandbox": "there are no namespaces", "reward": 1}`],
    ["in a list", `["sandbox"]`],
  ])("says nothing about the sandbox: %s", async (_, text) => {
    const forged = grader(`os.write(3, ${JSON.stringify(text)}.encode())\nos._exit(70)`, "import os");
    const job = { source: forged, check: false, sample: sampleOf(""), item: {} };
    expect(await runner()(job, new AbortController().signal)).toEqual({ runtime: expect.any(String) });
    const body = { grader: { type: "python", name: "p", source: forged }, model_sample: "x" };
    const found = await app.json<{ metadata: object }>("POST", "/v1/fine_tuning/alpha/graders/run", { body });
    expect(found.metadata).toMatchObject({ errors: { python_grader_runtime_error: true } });
  });

  test("has no open files but its own input, output and result", async () => {
    const open = grader(
      "found = []\nfor n in range(256):\n    try:\n        os.fstat(n)\n        found.append(n)\n    except OSError:\n        pass\nraise Exception(found)",
      "import os",
    );
    expect(await failure(open)).toEndWith("Exception: [0, 1, 2, 3]");
  });

  test("threads are bounded, whoever runs the server", async () => {
    const source = `
import threading
threading.stack_size(32768)
def grade(sample, item):
    stop, n = threading.Event(), 0
    try:
        while n < 3000:
            threading.Thread(target=stop.wait).start()
            n += 1
    except RuntimeError:
        pass
    finally:
        stop.set()
    return n
`;
    const { reward } = await run(source);
    expect(reward).toBeGreaterThanOrEqual(32);
    expect(reward).toBeLessThanOrEqual(64);
    // Its threads end with it, and threads of others do not count.
    const all = await Promise.all([run(source), run(source), run(source)]);
    for (const each of all) expect(each.reward).toBeGreaterThanOrEqual(32);
  });

  test("is not root, even where the server is", async () => {
    const ids = grader("raise Exception(os.getuid(), os.geteuid(), os.getgid())", "import os");
    expect(await failure(ids)).toMatch(/Exception: \(100[01], 100[01], 1000\)/);
    expect(
      await failure(grader("os.setresuid(1000, 1000, 1000) or os.setresuid(1001, 1001, 1001)", "import os")),
    ).toContain("Operation not permitted");
  });

  test("people take turns, and one who asks too often is refused with a reason", async () => {
    const bounds = { slots: 1, maxWaiting: 8, maxWaitingEach: 3, code: "graders_busy", what: "Python graders" };
    const other = await createTestApp({ ctx: { turns: { ...app.ctx.turns, graders: createFairQueue(bounds) } } });
    const ended: string[] = [];
    const body = {
      grader: { type: "python", name: "p", source: grader("time.sleep(0.3)\nreturn 1", "import time") },
      model_sample: "x",
    };
    const ask = async (as: "admin" | "member") => {
      const answer = await other.request("POST", "/v1/fine_tuning/alpha/graders/run", { as, body });
      if (answer.ok) ended.push(as);
      return answer;
    };
    const first = ask("member");
    await until("the first runs", async () => other.ctx.turns.graders.counts().running === 1, 45_000, 5);
    const many = [ask("member"), ask("member"), ask("member"), ask("member")];
    const over = await Promise.race(many);
    const { error } = (await over.json()) as { error: { code: string; message: string } };
    expect([over.status, error.code, over.headers.get("retry-after")]).toEqual([429, "graders_busy", "5"]);
    expect(error.message).toBe("Too many Python graders of yours are already waiting. Try again in a few seconds.");
    await Promise.all([ask("admin"), first, ...many]);
    expect(ended).toEqual(["member", "admin", "member", "member", "member"]);
    await other.close();
  });

  test("graders beyond the number of slots wait for their turn", async () => {
    const python = runner();
    const job = (n: number) => ({ source: grader(`return ${n}`), check: false, sample: sampleOf(""), item: {} });
    const all = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => python(job(n), new AbortController().signal)));
    expect(all).toEqual([1, 2, 3, 4, 5, 6].map((reward) => ({ reward })));
  });

  test("a caller that disconnects ends it", async () => {
    const leave = new AbortController();
    const python = runner();
    const job = { source: "while True: pass", check: false, sample: sampleOf(""), item: {} };
    const running = python(job, leave.signal).catch((error: Error) => error.name);
    const commandOf = (pid: string) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        return "";
      }
    };
    const alive = () =>
      readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(SANDBOX_MARK)).length;
    await until("watcher and grader run", async () => alive() >= 2);
    leave.abort();
    expect(await running).toBe("AbortError");
    for (let n = 0; n < 40 && alive() > 0; n++) await Bun.sleep(50);
    expect(alive()).toBe(0);
  });
});

test("without a sandbox the grader is refused, with the reason and what to do", async () => {
  const other = await createTestApp({ config: { trainer_env: null, python: "/nowhere/python3" } });
  const body = { grader: { type: "python", name: "p", source: "def grade(s, i): return 1" }, model_sample: "x" };
  const answer = await other.request("POST", "/v1/fine_tuning/alpha/graders/run", { body });
  const { error } = (await answer.json()) as { error: { code: string; message: string } };
  expect([answer.status, error.code]).toEqual([422, "sandbox_unavailable"]);
  expect(error.message).toContain("/nowhere/python3 does not run");
  expect(error.message).toContain("Configure a Docker engine");
  await other.close();
});

afterAll(() => app.close());
