/** A fork of the preloaded Python is to the program that asks for it what a Python of its own would be. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { type Preloaded, startPreloaded } from "../support/preloaded.ts";

// A trainer of other sources than the preloaded ones.
const PROGRAM = `
import json, os, signal, sys, time
mask = os.umask(0)
print(json.dumps({
    "pid": os.getpid(), "argv": sys.argv[1:], "file": __file__, "cwd": os.getcwd(), "env": dict(os.environ), "mask": mask,
    "session": os.getsid(0), "group": os.getpgid(0), "threads": "torch" in sys.modules and sys.modules["torch"].get_num_threads(), "python": sys.executable,
    "bytecode": sys.dont_write_bytecode, "stdin": sys.stdin.readline(), "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "package": sys.modules["finetune_trainer"].MINE, "others": [name for name in sys.modules if name.startswith("finetune_trainer.")],
}))
print("to stderr", file=sys.stderr)
how = os.environ.get("HOW")
if how == "exit": sys.exit(7)
if how == "message": sys.exit("a reason")
if how == "raise": raise ValueError("wrong")
if how == "signal": os.kill(os.getpid(), signal.SIGUSR1)
if how == "term": signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
if how in ("term", "wait"):
    sys.stdout.flush()
    while True: time.sleep(0.05)
`;

describe.skipIf(trainerMissing !== null)(
  `a fork of the preloaded Python${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`,
  () => {
    let dir: string;
    let own: Preloaded | null = null;
    let python: string;
    beforeAll(async () => {
      dir = mkdtempSync(join(tmpdir(), "ftl-forks-"));
      const shared = process.env.FTL_TEST_FORKED_PYTHON;
      if (!shared)
        own = await startPreloaded(join(TRAINER_ENV, "bin/python"), resolve(import.meta.dir, "../../trainer"));
      python = shared ?? own?.env.FTL_TEST_FORKED_PYTHON ?? "";
      mkdirSync(join(dir, "finetune_trainer"));
      writeFileSync(join(dir, "finetune_trainer/__init__.py"), "MINE = 1\n");
      writeFileSync(join(dir, "finetune_trainer/__main__.py"), PROGRAM);
    });
    afterAll(async () => {
      await own?.close();
      rmSync(dir, { recursive: true, force: true });
    });

    const start = (how?: string, program = python) =>
      Bun.spawn(["sh", "-c", 'umask 027; exec "$0" -m finetune_trainer', program], {
        cwd: tmpdir(),
        env: {
          PATH: "/usr/bin:/bin",
          LANG: "C.UTF-8",
          PYTHONPATH: dir,
          OMP_NUM_THREADS: "1",
          ...(how && { HOW: how }),
        },
        stdin: new Blob(["a line\n"]),
        stdout: "pipe",
        stderr: "pipe",
      });
    type Child = ReturnType<typeof start>;
    async function said(child: Child): Promise<Record<string, unknown> & { pid: number }> {
      const { value } = await child.stdout.getReader().read();
      return JSON.parse(new TextDecoder().decode(value));
    }
    const alive = (pid: number) => {
      try {
        return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
      } catch {
        return false;
      }
    };

    test("has the directory, environment, streams, umask and modules of who asks, and a session of its own", async () => {
      const child = start();
      const [{ pid, env, ...found }, errors] = await Promise.all([said(child), new Response(child.stderr).text()]);
      expect(found).toEqual({
        argv: [],
        file: join(dir, "finetune_trainer/__main__.py"),
        cwd: tmpdir(),
        mask: 0o027,
        session: pid,
        group: pid,
        threads: 1,
        python,
        bytecode: false,
        stdin: "a line\n",
        int: true,
        package: 1,
        others: [],
      });
      expect(Object.keys(env as object).sort()).toEqual(["LANG", "OMP_NUM_THREADS", "PATH", "PWD", "PYTHONPATH"]);
      expect(errors).toBe("to stderr\n");
      expect(await child.exited).toBe(0);
    }, 60_000);

    test("is a Python of its own when nothing is preloaded", async () => {
      const alone = join(dir, "alone");
      const text = readFileSync(python, "utf8").replace(/'[^']*\/trainers'/, "'/nowhere/trainers'");
      expect(text).toContain("/nowhere/trainers");
      writeFileSync(alone, text, { mode: 0o700 });
      const child = start("exit", alone);
      const { pid, stdin, threads, python: executable } = await said(child);
      expect([pid, stdin, threads]).toEqual([child.pid, "a line\n", false]);
      expect(executable).toBe(join(TRAINER_ENV, "bin/python"));
      expect(await child.exited).toBe(7);
    }, 60_000);

    test.each([
      ["exit", 7, null, ""],
      ["message", 1, null, "a reason"],
      ["raise", 1, null, "ValueError: wrong"],
      ["signal", 138, "SIGUSR1", ""],
    ] as const)(
      "ends as it does: %s",
      async (how, code, signal, text) => {
        const child = start(how);
        const errors = await new Response(child.stderr).text();
        await child.exited;
        expect([child.exitCode ?? code, child.signalCode]).toEqual([code, signal]);
        expect(errors).toContain(text);
      },
      60_000,
    );

    test("gets the signals that its program gets, shows its command and environment, and dies when that is killed", async () => {
      const asked = start("term");
      const first = await said(asked);
      expect(readFileSync(`/proc/${first.pid}/cmdline`, "utf8")).toStartWith(`${python}\0-m\0finetune_trainer\0\0`);
      const shown = readFileSync(`/proc/${first.pid}/environ`, "utf8").split("\0");
      expect(shown.filter(Boolean).sort()).toEqual(
        Object.entries(first.env as object)
          .map(([name, value]) => `${name}=${value}`)
          .sort(),
      );
      asked.kill("SIGTERM");
      expect(await asked.exited).toBe(4);
      const killed = start("wait");
      const second = await said(killed);
      expect(alive(second.pid)).toBe(true);
      killed.kill("SIGKILL");
      await until("the fork to be gone", async () => !alive(second.pid), 10_000, 10);
    }, 60_000);
  },
);
