/** Checks of the machine by `doctor`: each reports what it found and how to fix it. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, statfsSync } from "node:fs";
import { availableParallelism, freemem, totalmem } from "node:os";
import { join } from "node:path";
import { VERSION } from "../../assets.ts";
import { readyTrainerEnvironment } from "../../compute/environment/install.ts";
import { findPython, runLines } from "../../compute/environment/python.ts";
import type { Config } from "../../config.ts";
import { acquireLock, readOwner } from "../../db/lock.ts";
import { AppError } from "../../errors.ts";
import { openFiles } from "../../lib/disk/files.ts";
import { splitListen } from "../../lib/listen.ts";
import { type Check, check, messageOf } from "./check.ts";
import { engineChecks } from "./engines.ts";
import { airGap, database, exposure, plainText, privacy } from "./site.ts";

const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
async function python(config: Config): Promise<Check> {
  if (config.trainer_env) return check("Python", "info", `not checked: trainer_env is ${config.trainer_env}`);
  try {
    const found = await findPython(config.python);
    return check("Python", "ok", `${found.major}.${found.minor} at ${found.path}`);
  } catch (error) {
    return check("Python", "missing", "no Python 3.10 or newer", messageOf(error));
  }
}

const VERSIONS = `
import importlib.metadata as m
for name in ("torch", "transformers", "trl", "peft"):
    try: print(name, m.version(name))
    except m.PackageNotFoundError: print(name, "missing")
`;

import { objectStore } from "./object-store.ts";

async function trainer(config: Config): Promise<Check> {
  const install = "The first training creates it, or now: finetune-lab doctor --install";
  try {
    const ready = await readyTrainerEnvironment(config, openFiles(config.data_dir));
    if (!ready) return check("Trainer environment", "gap", "not created yet (1.6 GB, a few minutes)", install);
    const ran = await runLines([ready.python, "-c", VERSIONS], { timeoutMs: 30_000 });
    const state = ran.code !== 0 || ran.lines.some((line) => line.endsWith("missing")) ? "missing" : "ok";
    const advice =
      state === "ok" ? null : `${ready.python} lacks packages of trainer/requirements.txt: install them there.`;
    return check("Trainer environment", state, ran.lines.join(", "), advice);
  } catch (error) {
    return check("Trainer environment", "missing", "not usable", messageOf(error));
  }
}

function models(config: Config): Check {
  const folder = join(config.data_dir, "models");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith(".")) : [];
  if (names.length > 0) return check("Base models", "ok", names.join(", "));
  return check(
    "Base models",
    "info",
    "none installed yet",
    "Install one on the page Models, or run finetune-lab quickstart.",
  );
}

async function gpus(): Promise<Check> {
  const command = Bun.which("nvidia-smi");
  const advice =
    "Training runs on the CPU: fine for small models. For an NVIDIA GPU install its driver, then restart the server.";
  if (!command) return check("NVIDIA GPUs", "info", "none (no nvidia-smi)", advice);
  const query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
  const ran = await runLines([command, ...query], { timeoutMs: 20_000 }).catch((error) => ({
    code: 1,
    lines: [messageOf(error)],
  }));
  if (ran.code !== 0) return check("NVIDIA GPUs", "gap", `nvidia-smi fails: ${ran.lines.at(-1) ?? ""}`, advice);
  return check("NVIDIA GPUs", "ok", ran.lines.join("; "));
}

function disk(config: Config): Check {
  const { bavail, bsize } = statfsSync(config.data_dir);
  const free = bavail * bsize;
  const advice =
    "The trainer environment takes 1.6 GB and each checkpoint tens of MB. Free some space or choose another --data.";
  return check(
    "Disk",
    free > 5e9 ? "ok" : free > 1e9 ? "gap" : "missing",
    `${gb(free)} free in ${config.data_dir}`,
    free > 5e9 ? null : advice,
  );
}

function memory(): Check {
  const advice = "Training the default model takes about 3 GB. Stop other programs, or train on a bigger machine.";
  const enough = totalmem() > 4e9;
  return check(
    "Memory and cores",
    enough ? "ok" : "gap",
    `${gb(totalmem())} (${gb(freemem())} free), ${availableParallelism()} cores`,
    enough ? null : advice,
  );
}

function dataDir(config: Config): Check {
  try {
    mkdirSync(config.data_dir, { recursive: true, mode: 0o700 });
    accessSync(config.data_dir, constants.W_OK);
    openFiles(config.data_dir);
    acquireLock(config.data_dir).release();
    return check("Data directory", "ok", `${config.data_dir}, no server uses it`);
  } catch (error) {
    if (error instanceof AppError && error.code === "data_dir_in_use") {
      const owner = readOwner(config.data_dir);
      return check(
        "Data directory",
        "ok",
        `${config.data_dir}, in use by a server${owner?.url ? ` at ${owner.url}` : ""}`,
      );
    }
    return check(
      "Data directory",
      "missing",
      messageOf(error),
      "Choose a directory that this user can write with --data.",
    );
  }
}

function port(config: Config): Check {
  const { hostname, port: number } = splitListen(config.listen);
  try {
    Bun.listen({ hostname, port: number, socket: { data() {} } }).stop(true);
    return check("Address", "ok", `${config.listen} is free`);
  } catch {
    const own = readOwner(config.data_dir)?.url?.endsWith(`:${number}`);
    if (own) return check("Address", "ok", `${config.listen} is in use by this installation's server`);
    return check("Address", "gap", `${config.listen} is in use`, "Choose another with --listen HOST:PORT.");
  }
}

/** What a running server knows of itself: it owns the data directory, has opened the database, and listens. */
const ofServer = (config: Config, url: string | null): Check[] => [
  check("Data directory", "ok", `${config.data_dir}, in use by this server`),
  ...privacy(config),
  ...plainText(config),
  check("Database", "ok", "open, with this version's schema"),
  check("Address", "ok", url ?? config.listen),
];

/** The same before a server runs. */
async function ofMachine(config: Config): Promise<Check[]> {
  const directory = dataDir(config);
  if (directory.state === "missing") return [directory];
  return [directory, ...privacy(config), ...plainText(config), ...(await database(config)), port(config)];
}

/**
 * All checks, in the order of the main workflow.
 * @param inServer whether the running server of the data directory makes them
 */
export async function runChecks(config: Config, inServer = false): Promise<Check[]> {
  const version = check("Version", "info", `Fine-Tune Lab ${VERSION}, ${process.platform} ${process.arch}`);
  const own = inServer ? ofServer(config, readOwner(config.data_dir)?.url ?? null) : await ofMachine(config);
  if (own.length === 1) return [version, ...own];
  return [
    version,
    ...own,
    ...exposure(config),
    disk(config),
    ...(await objectStore(config)),
    memory(),
    await python(config),
    await trainer(config),
    models(config),
    ...airGap(config),
    await gpus(),
    ...(await engineChecks(config)),
  ];
}
