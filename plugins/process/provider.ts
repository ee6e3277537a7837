/**
 * The process provider: each launch is a directory `<data>/<key>` whose files hold its state, also while no server
 * runs.
 */

import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { Offer, OwnedWork, Provider, ProviderHost } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import { OWN_MACHINE } from "../shared/own-machine.ts";
import { directoryOf, handleOf, isKey, removeLeftovers } from "./directory.ts";
import { launch, launcherOnDisk } from "./launch.ts";
import { lastLines } from "./logs.ts";
import { thisMachine } from "./machine.ts";
import { readSettings, type SettingProblem } from "./settings.ts";
import { ABSENT, type LaunchFile, readJson, readStatus } from "./state.ts";
import { terminate } from "./terminate.ts";
import { keepWarm } from "./warm.ts";

/** Creates the provider. `config`: `log_bytes`, `nice`, `warm_s`; see the manifest. */
export function createProcessProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const { settings, problems } = readSettings(config);
  const launcherPath = () => launcherOnDisk(host);
  const warm = keepWarm(host, settings.warmS, launcherPath);
  const parts = { host, settings, warm, launcherPath };
  return {
    validate: () => validate(host, problems),
    async offers(need) {
      warm.expect();
      return offersOf(need);
    },
    launch: (spec, _offer, context) => launch(parts, spec, context),
    async describe({ key }) {
      return isKey(key) ? readStatus(directoryOf(host, key), host.clock.now()) : ABSENT;
    },
    terminate: (handle, options = {}) => terminate(host, handle, options.graceS),
    listOwned: (installation) => listOwned(host, installation),
    hosts: async () => [await thisMachine(host.dataDir)],
    logs: async ({ key }, { tail }) => (isKey(key) ? lastLines(directoryOf(host, key), tail) : []),
  };
}

async function validate(host: ProviderHost, problems: SettingProblem[]): ReturnType<Provider["validate"]> {
  try {
    await mkdir(host.dataDir, { recursive: true, mode: 0o700 });
    const probe = join(host.dataDir, `.probe-${crypto.randomUUID()}`);
    await writeFile(probe, "");
    await rm(probe);
  } catch {
    const remedy = "Give the server's user write access to it, or choose another data directory.";
    return { ok: false, problems: [{ field: "data_dir", message: `${host.dataDir} is not writable.`, remedy }] };
  }
  return problems.length ? { ok: false, problems } : { ok: true };
}

/** This machine as the only offer, if it is large enough. */
function offersOf(need: Need): Offer[] {
  const memoryMb = Math.floor(totalmem() / 2 ** 20);
  const cpus = availableParallelism();
  if (need.gpus > 0 || need.memory_mb > memoryMb || need.cpus > cpus) return [];
  return [
    {
      id: "local",
      location: "this machine",
      gpus: 0,
      gpuName: null,
      gpuMemoryMb: 0,
      cpus,
      memoryMb,
      ...OWN_MACHINE,
      startsInS: 0,
      available: true,
    },
  ];
}

async function listOwned(host: ProviderHost, installation: string): Promise<OwnedWork[]> {
  const names = await readdir(host.dataDir).catch(() => []);
  await removeLeftovers(host, names);
  const found: OwnedWork[] = [];
  for (const key of names.filter(isKey)) {
    const directory = directoryOf(host, key);
    const launched = await readJson<LaunchFile>(join(directory, "launch.json"));
    if (launched?.installation !== installation) continue;
    const { state } = await readStatus(directory, host.clock.now());
    if (state !== "absent") found.push({ handle: await handleOf(host, key), labels: launched.labels, state });
  }
  return found;
}
