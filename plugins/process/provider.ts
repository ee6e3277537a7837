/** The process provider's methods: each launch is a directory `<data>/<key>` that tells its state whether or not anyone was watching. */
import { mkdir, open, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { dirname, join } from "node:path";
import type {
  Handle,
  LaunchContext,
  LaunchSpec,
  Offer,
  OwnedWork,
  Provider,
  ProviderHost,
  TerminateResult,
} from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import launcherSource from "./launcher.py" with { type: "text" };
import { thisMachine } from "./machine.ts";
import { type LaunchFile, readJson, readStatus, type StartedFile, workAlive } from "./state.ts";
import { keepWarm } from "./warm.ts";

const KEY = /^[a-z0-9-]{1,64}$/;
const DEFAULT_GRACE_S = 30;
/** Where programs are found; nothing of the server's own environment is handed on. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Makes the provider. `config`: `log_bytes`, `nice`, `warm_s`; see the manifest. */
export function createProcessProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const logBytes = Number(config.log_bytes ?? 8 * 1024 * 1024);
  const nice = Number(config.nice ?? 5);
  const warmS = Number(config.warm_s ?? 600);
  const dir = (key: string) => join(host.dataDir, key);

  async function launcherPath(): Promise<string> {
    const hash = new Bun.CryptoHasher("sha256").update(launcherSource).digest("hex").slice(0, 16);
    const path = join(host.dataDir, `launcher-${hash}.py`);
    if (await stat(path).catch(() => null)) return path;
    const temporary = `${path}.${crypto.randomUUID()}`;
    await writeFile(temporary, launcherSource, { mode: 0o600 });
    await rename(temporary, path);
    return path;
  }

  const warm = keepWarm(host, warmS, launcherPath);

  /** The handle of `key`: the same after any restart, once the process has begun. */
  async function handleOf(key: string): Promise<Handle> {
    const started = await readJson<StartedFile>(join(dir(key), "started.json"));
    const { pid = null, launcher_pid = null, warm: was = false } = started ?? {};
    return { provider: "process", key, pid, launcher_pid, warm: was };
  }

  /** Makes the directory of a launch in one step; false when it was there already. */
  async function claim(plan: LaunchFile): Promise<boolean> {
    const staging = join(host.dataDir, `.new-${crypto.randomUUID()}`);
    await mkdir(join(staging, "scratch", "tmp"), { recursive: true, mode: 0o700 });
    await writeFile(join(staging, "launch.json"), JSON.stringify(plan), { mode: 0o600 });
    try {
      await rename(staging, dir(plan.key));
      return true;
    } catch (error) {
      await rm(staging, { recursive: true, force: true });
      if (await stat(dir(plan.key)).catch(() => null)) return false;
      throw host.error("transient", "The process directory could not be made.", { cause: error });
    }
  }

  async function signalGroup(started: StartedFile, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (!(await workAlive(started))) return;
    try {
      process.kill(-started.pid, signal);
    } catch {
      // Ended between the look and the signal.
    }
  }

  return {
    async validate() {
      try {
        await mkdir(host.dataDir, { recursive: true, mode: 0o700 });
        const probe = join(host.dataDir, `.probe-${crypto.randomUUID()}`);
        await writeFile(probe, "");
        await rm(probe);
      } catch {
        const remedy = "Give the server's user write access to it, or choose another data directory.";
        return {
          ok: false,
          problems: [{ field: "data_dir", message: `${host.dataDir} is not writable.`, remedy }],
        };
      }
      const bounds = [
        ["log_bytes", logBytes, 65_536, 2 ** 31],
        ["nice", nice, 0, 19],
        ["warm_s", warmS, 0, 86_400],
      ] as const;
      const problems = bounds
        .filter(([, value, min, max]) => !Number.isInteger(value) || value < min || value > max)
        .map(([field, value, min, max]) => ({
          field,
          message: `${field} is ${value}.`,
          remedy: `Set a whole number from ${min} to ${max}.`,
        }));
      return problems.length ? { ok: false, problems } : { ok: true };
    },

    async offers(need: Need): Promise<Offer[]> {
      warm.expect();
      const memoryMb = Math.floor(totalmem() / 2 ** 20);
      if (need.gpus > 0 || need.memory_mb > memoryMb || need.cpus > availableParallelism()) return [];
      return [
        {
          id: "local",
          location: "this machine",
          gpus: 0,
          gpuName: null,
          gpuMemoryMb: 0,
          cpus: availableParallelism(),
          memoryMb,
          pricePerHour: 0,
          startsInS: 0,
          available: true,
        },
      ];
    },

    async launch(spec: LaunchSpec, _offer: Offer, context: LaunchContext): Promise<Handle> {
      const { key } = context;
      if (!KEY.test(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
      if (spec.argv && spec.argv.length === 0) throw host.error("invalid", "argv must name a program.");
      const trainer = await host.trainer();
      const scratch = join(dir(key), "scratch");
      const plan: LaunchFile = {
        key,
        labels: context.labels,
        installation: host.installation,
        argv: spec.argv ?? [trainer.python, "-m", "finetune_trainer"],
        cwd: scratch,
        nice: spec.kind === "serve" ? 0 : nice,
        log_bytes: logBytes,
        deadline: context.deadline,
        grace_s: DEFAULT_GRACE_S,
        created_at: host.clock.now(),
      };
      const made = await claim(plan);
      // A directory without a beginning is left by a server that died in between; the launcher's lock keeps it single.
      if (!made && (await readJson(join(dir(key), "started.json")))) return handleOf(key);
      const env = {
        PATH: `${dirname(trainer.python)}:${SYSTEM_PATH}`,
        LANG: "C.UTF-8",
        HOME: scratch,
        TMPDIR: join(scratch, "tmp"),
        PYTHONPATH: trainer.dir,
        PYTHONUNBUFFERED: "1",
        PYTHONDONTWRITEBYTECODE: "1",
        ...spec.env,
        FTL_HOME_URL: context.callHome.url,
        FTL_ATTEMPT_TOKEN: context.callHome.token,
        FTL_SCRATCH: scratch,
        FTL_TOKEN_CACHE: join(host.dataDir, ".tokens"),
      };
      // An endpoint stays for long, and another engine may serve it: it starts on its own.
      if (spec.argv === null && spec.kind !== "serve") {
        warm.makeRoom(spec.need.memory_mb * 2 ** 20);
        if (await warm.launch(trainer, dir(key), env)) return handleOf(key);
      }
      const launcher = Bun.spawn([trainer.python, "-I", await launcherPath(), dir(key)], {
        cwd: host.dataDir,
        env,
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      });
      const [code, problem] = await Promise.all([launcher.exited, new Response(launcher.stderr).text()]);
      if (code !== 0) {
        await rm(dir(key), { recursive: true, force: true });
        throw host.error("fatal", `The launcher failed: ${problem.trim().split("\n").at(-1) ?? `exit code ${code}`}`);
      }
      warm.expect();
      return handleOf(key);
    },

    describe: (handle) =>
      KEY.test(handle.key)
        ? readStatus(dir(handle.key), host.clock.now())
        : Promise.resolve({ state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null }),

    async terminate(handle: Handle, options = {}): Promise<TerminateResult> {
      if (!KEY.test(handle.key)) return { gone: true };
      const directory = dir(handle.key);
      const status = await readStatus(directory, host.clock.now());
      if (status.state === "exited" || status.state === "absent") {
        // Renamed first: a half-removed directory must not look like a launch without a beginning.
        const dead = join(host.dataDir, `.old-${crypto.randomUUID()}`);
        await rename(directory, dead).catch(() => {});
        await rm(dead, { recursive: true, force: true });
        return { gone: true };
      }
      const started = await readJson<StartedFile>(join(directory, "started.json"));
      if (!started) return { gone: false, againAfterS: 1 };
      const askedPath = join(directory, "terminate.json");
      const asked = await readJson<{ kill_at: number }>(askedPath);
      const killAt = Math.min(
        asked?.kill_at ?? Number.POSITIVE_INFINITY,
        host.clock.now() + (options.graceS ?? DEFAULT_GRACE_S) * 1000,
      );
      if (killAt !== asked?.kill_at) await writeFile(askedPath, JSON.stringify({ kill_at: killAt }), { mode: 0o600 });
      await signalGroup(started, host.clock.now() >= killAt ? "SIGKILL" : "SIGTERM");
      return { gone: false, againAfterS: 0.2 };
    },

    async listOwned(installation: string): Promise<OwnedWork[]> {
      const names = await readdir(host.dataDir).catch(() => []);
      const found: OwnedWork[] = [];
      for (const key of names.filter((name) => KEY.test(name))) {
        const launch = await readJson<LaunchFile>(join(dir(key), "launch.json"));
        if (launch?.installation !== installation) continue;
        const { state } = await readStatus(dir(key), host.clock.now());
        if (state !== "absent") found.push({ handle: await handleOf(key), labels: launch.labels, state });
      }
      return found;
    },

    hosts: async () => [await thisMachine(host.dataDir)],

    async logs(handle, { tail }) {
      if (!KEY.test(handle.key)) return [];
      const parts = await Promise.all(
        ["output.1.log", "output.log"].map((name) => lastBytes(join(dir(handle.key), name), 256 * 1024)),
      );
      const lines = parts.join("").split("\n");
      if (lines.at(-1) === "") lines.pop();
      return lines.slice(-tail);
    },
  };
}

async function lastBytes(path: string, limit: number): Promise<string> {
  const file = await open(path).catch(() => null);
  if (!file) return "";
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size, limit));
    await file.read(buffer, 0, buffer.length, Math.max(0, size - limit));
    return buffer.toString("utf8");
  } finally {
    await file.close();
  }
}
