/** Starts one launch: directory, environment, and the warm launcher if it is ready, otherwise a new one. */
import { rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Handle, LaunchContext, LaunchSpec, ProviderHost } from "../../src/contract/provider.ts";
import { DEFAULT_GRACE_S } from "../shared/kill-deadline.ts";
import { createDirectory, directoryOf, handleOf, isKey, type Parts } from "./directory.ts";
import launcherSource from "./launcher.py" with { type: "text" };
import { type LaunchFile, readJson } from "./state.ts";

/** PATH of the work; nothing of the server's environment is passed on. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

interface Trainer {
  python: string;
  dir: string;
}

/** Writes the launcher's source to disk, once per version; returns its path. */
export async function launcherOnDisk(host: ProviderHost): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256").update(launcherSource).digest("hex").slice(0, 16);
  const path = join(host.dataDir, `launcher-${hash}.py`);
  if (await stat(path).catch(() => null)) return path;
  const temporary = `${path}.${crypto.randomUUID()}`;
  await writeFile(temporary, launcherSource, { mode: 0o600 });
  await rename(temporary, path);
  return path;
}

function planOf({ host, settings }: Parts, trainer: Trainer, spec: LaunchSpec, context: LaunchContext): LaunchFile {
  return {
    key: context.key,
    labels: context.labels,
    installation: host.installation,
    argv: spec.argv ?? [trainer.python, "-m", "finetune_trainer"],
    cwd: join(directoryOf(host, context.key), "scratch"),
    nice: spec.kind === "serve" ? 0 : settings.nice,
    log_bytes: settings.logBytes,
    deadline: context.deadline,
    grace_s: DEFAULT_GRACE_S,
    created_at: host.clock.now(),
  };
}

function environmentOf(host: ProviderHost, trainer: Trainer, spec: LaunchSpec, context: LaunchContext) {
  const scratch = join(directoryOf(host, context.key), "scratch");
  return {
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
}

/** Runs a new launcher for the directory. Deletes the directory when the launcher fails. */
async function runLauncher(parts: Parts, trainer: Trainer, directory: string, env: Record<string, string>) {
  const { host } = parts;
  const launcher = Bun.spawn([trainer.python, "-I", await parts.launcherPath(), directory], {
    cwd: host.dataDir,
    env,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [code, problem] = await Promise.all([launcher.exited, new Response(launcher.stderr).text()]);
  if (code === 0) return;
  await rm(directory, { recursive: true, force: true });
  throw host.error("fatal", `The launcher failed: ${problem.trim().split("\n").at(-1) ?? `exit code ${code}`}`);
}

/**
 * Starts `spec` with the key of `context`, or finds the work that this key already started.
 * @throws ProviderFailure `invalid` for a bad key or argv, `transient` and `fatal` when it cannot be started
 */
export async function launch(parts: Parts, spec: LaunchSpec, context: LaunchContext): Promise<Handle> {
  const { host, warm } = parts;
  const { key } = context;
  if (!isKey(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
  if (spec.argv && spec.argv.length === 0) throw host.error("invalid", "argv must name a program.");
  const trainer = await host.trainer();
  const directory = directoryOf(host, key);
  const created = await createDirectory(host, planOf(parts, trainer, spec, context));
  // A directory without a start is from a server that was killed in between. The launcher's lock prevents a second
  // start.
  if (!created && (await readJson(join(directory, "started.json")))) return handleOf(host, key);
  const env = environmentOf(host, trainer, spec, context);
  // An endpoint runs for a long time and may use another engine, so it does not use the warm launcher.
  if (spec.argv === null && spec.kind !== "serve") {
    warm.freeMemory(spec.need.memory_mb * 2 ** 20);
    warm.expect();
    if (await warm.launch(trainer, directory, env)) return handleOf(host, key);
  }
  await runLauncher(parts, trainer, directory, env);
  return handleOf(host, key);
}
