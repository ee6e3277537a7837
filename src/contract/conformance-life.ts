/**
 * Conformance cases about the lifecycle of work: one start per key, recovery after a restart, exit codes, termination,
 * no leaks.
 */
import type { ConformanceCase } from "./conformance-case.ts";
import { expect, failureKind, launch, output, untilGone, untilState } from "./conformance-tools.ts";
import type { Handle } from "./provider.ts";

const FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)";
const STUBBORN =
  "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)";
/** Starts a grandchild in its own session, prints its pid, and waits. */
const PARENT =
  "import subprocess,sys,time\np = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\nprint('child', p.pid, flush=True)\ntime.sleep(600)";
const PROBE = (pid: string) => `import os,sys\ntry:\n  os.kill(${pid}, 0)\nexcept OSError:\n  sys.exit(7)\n`;

/** Vendors of rented machines know no exit codes: their trainers report how they ended. */
const OWN_REPORT = { skipped: "the trainer on a rented machine reports its own exit" };

const again = (handle: Handle): Handle => JSON.parse(JSON.stringify(handle)) as Handle;

async function untilPrinted(read: () => Promise<string[]>, word: string, patienceMs: number): Promise<string> {
  const end = Date.now() + patienceMs;
  for (;;) {
    const line = (await read()).find((text) => text.startsWith(word));
    if (line) return line;
    expect(Date.now() < end, `the work never printed "${word}"`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const LIFE_CASES: readonly ConformanceCase[] = [
  {
    name: "work starts, runs, and its handle survives JSON",
    async check(make, tools) {
      const provider = make();
      const key = tools.key();
      const handle = await launch(provider, tools, { argv: tools.python(FOREVER), key });
      expect(handle.provider === tools.plugin.id && handle.key === key, "the handle must name provider and key");
      const status = await untilState(provider, tools, again(handle), ["running"]);
      expect(status.exitCode === null && status.startedAt !== null, "running work has a start and no exit code");
      return undefined;
    },
  },
  {
    name: "the same key launched five times at once is one piece of work",
    async check(make, tools) {
      const key = tools.key();
      const argv = tools.python(FOREVER);
      const handles = await Promise.all(Array.from({ length: 5 }, () => launch(make(), tools, { argv, key })));
      await untilState(make(), tools, handles[0] as Handle, ["running"]);
      const repeated = await launch(make(), tools, { argv, key });
      const settled = await Promise.all(handles.map(() => launch(make(), tools, { argv, key })));
      for (const handle of settled)
        expect(JSON.stringify(handle) === JSON.stringify(repeated), "two launches of one key gave different handles");
      const owned = (await make().listOwned(tools.installation)).filter((work) => work.handle.key === key);
      expect(owned.length === 1, `listOwned() shows ${owned.length} of this key`);
      return undefined;
    },
  },
  {
    name: "a restarted server finds the same work again",
    async check(make, tools) {
      const key = tools.key();
      const handle = await launch(make(), tools, { argv: tools.python(FOREVER), key, labels: { job: "j1" } });
      const before = await untilState(make(), tools, handle, ["running"]);
      const found = (await make().listOwned(tools.installation)).find((work) => work.handle.key === key);
      expect(found, "listOwned() of a fresh provider does not show it");
      expect(found.labels.job === "j1", "the labels of the launch are lost");
      const after = await make().describe(found.handle);
      expect(after.state === "running" && after.startedAt === before.startedAt, "it is not the same work");
      return undefined;
    },
  },
  {
    name: "other installations' work is not listed",
    async check(make, tools) {
      const handle = await launch(make(), tools, { argv: tools.python(FOREVER) });
      await untilState(make(), tools, handle, ["running"]);
      const foreign = await make().listOwned("another-installation");
      expect(foreign.length === 0, `listOwned() of another installation shows ${foreign.length}`);
      return undefined;
    },
  },
  ...[0, 3].map(
    (code): ConformanceCase => ({
      name: `exit code ${code} is reported, also when nobody watched`,
      async check(make, tools) {
        if (!tools.exitCodes) return OWN_REPORT;
        const handle = await launch(make(), tools, { argv: tools.python(`import sys; sys.exit(${code})`) });
        const status = await untilState(make(), tools, handle, ["exited"]);
        expect(status.exitCode === code, `exit code is ${status.exitCode}`);
        expect((await make().describe(handle)).exitCode === code, "a second look says otherwise");
        return undefined;
      },
    }),
  ),
  {
    name: "work that killed itself reports 128 + signal",
    async check(make, tools) {
      if (!tools.exitCodes) return OWN_REPORT;
      const source = "import os,signal; os.kill(os.getpid(), signal.SIGKILL)";
      const handle = await launch(make(), tools, { argv: tools.python(source) });
      const status = await untilState(make(), tools, handle, ["exited"]);
      expect(status.exitCode === 137, `exit code is ${status.exitCode}, not 137`);
      return undefined;
    },
  },
  {
    name: "work ends when asked, and stays terminated",
    async check(make, tools) {
      const handle = await launch(make(), tools, { argv: tools.python(FOREVER) });
      await untilState(make(), tools, handle, ["running"]);
      await untilGone(make(), tools, handle, 10);
      const status = await make().describe(handle);
      expect(status.state === "absent" || status.state === "exited", `describe() says "${status.state}"`);
      expect((await make().terminate(handle)).gone, "a second terminate() does not say gone");
      const owned = await make().listOwned(tools.installation);
      expect(!owned.some((work) => work.handle.key === handle.key && work.state === "running"), "still listed");
      return undefined;
    },
  },
  {
    name: "work that ignores the polite signal is killed after the grace",
    async check(make, tools) {
      const provider = make();
      const handle = await launch(provider, tools, { argv: tools.python(STUBBORN) });
      await untilState(provider, tools, handle, ["running"]);
      if (provider.logs) await untilPrinted(() => output(provider, handle), "up", tools.patienceMs);
      await untilGone(make(), tools, handle, 0.3);
      return undefined;
    },
  },
  {
    name: "nothing the work started outlives it",
    async check(make, tools) {
      if (!tools.plugin.capabilities.logs || tools.plugin.kind !== "process")
        return { skipped: "a container or machine takes everything with it" };
      const provider = make();
      const handle = await launch(provider, tools, { argv: tools.python(PARENT) });
      const line = await untilPrinted(() => output(provider, handle), "child", tools.patienceMs);
      await untilGone(make(), tools, handle, 1);
      const look = await launch(provider, tools, { argv: tools.python(PROBE(line.split(" ")[1] ?? "0")) });
      const status = await untilState(provider, tools, look, ["exited"]);
      expect(status.exitCode === 7, "a process in its own session is still running");
      return undefined;
    },
  },
  {
    name: "work past its deadline is ended by the provider itself",
    async check(make, tools) {
      if (tools.plugin.kind !== "process") return { skipped: "the host ends such work; the deadline is a second net" };
      const handle = await launch(make(), tools, { argv: tools.python(FOREVER), deadlineInMs: 300 });
      const status = await untilState(make(), tools, handle, ["exited", "absent"]);
      expect(status.state === "absent" || status.exitCode !== 0, "it looks like a success");
      return undefined;
    },
  },
  {
    name: "the work gets its three variables and nothing of the server's environment",
    async check(make, tools) {
      if (!tools.plugin.capabilities.logs) return { skipped: "no logs() to look through" };
      const provider = make();
      const source = "import os\nfor k, v in sorted(os.environ.items()): print(k + '=' + v)\nprint('end', flush=True)";
      const handle = await launch(provider, tools, { argv: tools.python(source), env: { GIVEN: "yes" } });
      await untilState(provider, tools, handle, ["exited"]);
      const lines = await output(provider, handle);
      for (const name of ["FTL_HOME_URL", "FTL_ATTEMPT_TOKEN", "FTL_SCRATCH"])
        expect(
          lines.some((line) => line.startsWith(`${name}=`) && line.length > name.length + 1),
          `${name} is missing`,
        );
      expect(lines.includes("GIVEN=yes"), "a variable of the launch is missing");
      const leaked = lines.filter((line) => line.includes(tools.canary.value));
      expect(leaked.length === 0, `the server's ${tools.canary.name} reached the work`);
      return undefined;
    },
  },
  {
    name: "the scratch directory is the work's own and writable",
    async check(make, tools) {
      if (!tools.exitCodes) return OWN_REPORT;
      const source = "import os\np = os.path.join(os.environ['FTL_SCRATCH'], 'probe')\nopen(p, 'x').close()";
      for (let i = 0; i < 2; i++) {
        const handle = await launch(make(), tools, { argv: tools.python(source) });
        const status = await untilState(make(), tools, handle, ["exited"]);
        expect(status.exitCode === 0, "writing a new file into FTL_SCRATCH failed");
      }
      return undefined;
    },
  },
  {
    name: "logs give the last lines, no matter how much was printed",
    async check(make, tools) {
      if (!tools.plugin.capabilities.logs) return { skipped: "no logs()" };
      const provider = make();
      const source = "for i in range(200000): print('line', i, 'x' * 80)\nprint('last', flush=True)";
      const handle = await launch(provider, tools, { argv: tools.python(source) });
      await untilState(provider, tools, handle, ["exited"]);
      const lines = await output(provider, handle, 5);
      expect(lines.length <= 5, `asked for 5 lines, got ${lines.length}`);
      expect(lines.at(-1) === "last", `the last line is "${lines.at(-1)}"`);
      return undefined;
    },
  },
  {
    name: "a program that is not there fails with a known kind, or exits with a code",
    async check(make, tools) {
      if (!tools.exitCodes) return OWN_REPORT;
      const provider = make();
      try {
        const handle = await launch(provider, tools, { argv: ["/nowhere/no-such-program"] });
        const status = await untilState(provider, tools, handle, ["exited", "absent"]);
        expect(status.exitCode !== 0, "it ended with exit code 0");
      } catch (error) {
        if (error instanceof Error && !("providerErrorKind" in error)) throw error;
        failureKind(error);
      }
      return undefined;
    },
  },
];
