/** The directory of one launch: created atomically, named after the key, and the source of the handle. */
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Handle, ProviderHost } from "../../src/contract/provider.ts";
import type { Settings } from "./settings.ts";
import { type LaunchFile, readJson, type StartedFile } from "./state.ts";
import type { Warm } from "./warm.ts";

/** The parts that all methods of the provider share. */
export interface Parts {
  host: ProviderHost;
  settings: Settings;
  warm: Warm;
  /** Path of the launcher's Python source on disk. */
  launcherPath: () => Promise<string>;
}

const KEY = /^[a-z0-9-]{1,64}$/;

/** Names of what is made or deleted at this moment, or was when a server was killed. */
const TEMPORARY = /^(?:\.(?:new|old|probe)-|launcher-[0-9a-f]{16}\.py\.)/;
/** Younger ones may be in use. */
const IN_USE_MS = 10_000;

export const isKey = (key: string) => KEY.test(key);

export const directoryOf = (host: ProviderHost, key: string) => join(host.dataDir, key);

/** The handle of `key`. Once the process has started, it is the same after every restart. */
export async function handleOf(host: ProviderHost, key: string): Promise<Handle> {
  const started = await readJson<StartedFile>(join(directoryOf(host, key), "started.json"));
  const { pid = null, launcher_pid = null, warm = false } = started ?? {};
  const serving = { socketDir: join(directoryOf(host, key), "scratch") };
  return { provider: "process", key, pid, launcher_pid, warm, serving };
}

/**
 * Creates the directory of a launch atomically.
 * @returns false when it already exists
 * @throws ProviderFailure `transient` on a disk error
 */
export async function createDirectory(host: ProviderHost, plan: LaunchFile): Promise<boolean> {
  const staging = join(host.dataDir, `.new-${crypto.randomUUID()}`);
  const directory = directoryOf(host, plan.key);
  await mkdir(join(staging, "scratch", "tmp"), { recursive: true, mode: 0o700 });
  await writeFile(join(staging, "launch.json"), JSON.stringify(plan), { mode: 0o600 });
  try {
    await rename(staging, directory);
    return true;
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    if (await stat(directory).catch(() => null)) return false;
    throw host.error("transient", "The process directory could not be created.", { cause: error });
  }
}

/**
 * Deletes a launch. It is renamed first, because a partly deleted directory would look like a launch before its start.
 */
export async function removeDirectory(host: ProviderHost, key: string): Promise<void> {
  const old = join(host.dataDir, `.old-${crypto.randomUUID()}`);
  await rename(directoryOf(host, key), old).catch(() => {});
  await rm(old, { recursive: true, force: true });
}

/** Deletes what killed servers left half made or half deleted. What cannot be deleted now is tried the next time. */
export async function removeLeftovers(host: ProviderHost, names: readonly string[]): Promise<void> {
  for (const path of names.filter((name) => TEMPORARY.test(name)).map((name) => join(host.dataDir, name))) {
    const { mtimeMs = null } = (await stat(path).catch(() => null)) ?? {};
    if (mtimeMs !== null && host.clock.now() - mtimeMs > IN_USE_MS)
      await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}
