/**
 * Installs the trainer's Python environment, once per set of pinned packages. An installation can be repeated,
 * interrupted, and started by two processes at once.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assetPath, assetsHash, unpackAssets } from "../../assets.ts";
import type { Config } from "../../config.ts";
import { AppError } from "../../errors.ts";
import { withFileLock } from "../../lib/disk/file-lock.ts";
import type { Files } from "../../lib/disk/files.ts";
import { freeBytes } from "../../lib/disk/reserve.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { readPins } from "../../lib/requirements.ts";
import { installCommand, type OnProgress, pipFailed, pipInstall, runPip } from "./pip.ts";
import { findPython, makeVenv, type Python, runLines, WHEELS_ONLY, writePipRequirements } from "./python.ts";
import {
  cpuTorchArguments,
  needsCpuIndex,
  TORCH_REQUIREMENTS,
  type TorchVariant,
  torchPin,
  torchVariant,
} from "./torch.ts";

export interface TrainerEnvironment {
  /** Path of the Python interpreter. */
  python: string;
  /** Identifies the packages: requirements, Python version and PyTorch variant. */
  hash: string;
  /** Directory of the package `finetune_trainer`, and the working directory of trainers. */
  trainerDir: string;
  /** Identifies the trainer sources. */
  version: string;
}

type Settings = Pick<Config, "python" | "trainer_env" | "torch" | "environments_dir" | "disk_reserve_bytes">;

const MARKER = "finetune-lab.json";
/** Free bytes for an installation, including downloads. */
const NEEDS: Record<TorchVariant, number> = { cpu: 3e9, cuda: 12e9 };

/** Unpacks the trainer sources of this build into the data directory. */
function unpackTrainer(files: Files): { trainerDir: string; version: string } {
  const version = assetsHash("trainer").slice(0, 16);
  const trainerDir = files.path("trainer", version);
  unpackAssets("trainer", trainerDir);
  return { trainerDir, version };
}

/** The requirements file of the trainer for this Python; Python 3.10 needs older versions. */
export function requirementsName(python: Pick<Python, "minor">): string {
  return python.minor <= 10 ? "requirements-py310.txt" : "requirements.txt";
}

/** The path and contents of the environment for these settings. Starts Python to get its version. */
async function plan(config: Settings, files: Files) {
  const python = await findPython(config.python);
  const variant = await torchVariant(config.torch);
  const name = requirementsName(python);
  const read = (file: string) => readFileSync(join(assetPath("trainer"), file), "utf8");
  const [requirements, torch] = [read(name), read(TORCH_REQUIREMENTS)];
  // When PyTorch comes from another index, only its version matters.
  const pinned = needsCpuIndex(variant) ? torchPin(torch) : torch;
  const identity = [requirements, pinned, `${python.major}.${python.minor}`, variant];
  const hash = sha256Hex(identity.join("\0")).slice(0, 16);
  const folder = config.environments_dir ?? files.path("environments");
  return { python, variant, requirements, torch, hash, folder, directory: join(folder, hash) };
}

/** The name of the environment that these settings use, installed or not. Starts Python to get its version. */
export async function environmentName(config: Settings, files: Files): Promise<string> {
  return (await plan(config, files)).hash;
}

const interpreter = (directory: string) => join(directory, "bin", "python");

/** The environment if it is installed, otherwise null. */
export async function readyTrainerEnvironment(config: Settings, files: Files): Promise<TrainerEnvironment | null> {
  if (config.trainer_env) return givenEnvironment(config.trainer_env, files);
  const { directory, hash } = await plan(config, files);
  if (!existsSync(join(directory, MARKER)) || !existsSync(interpreter(directory))) return null;
  return { python: interpreter(directory), hash, ...unpackTrainer(files) };
}

function givenEnvironment(directory: string, files: Files): TrainerEnvironment {
  const python = interpreter(directory);
  if (!existsSync(python))
    throw new AppError(
      "invalid",
      "trainer_env_missing",
      `The setting trainer_env is ${directory}, but this directory has no bin/python. Set it to a virtual environment with the packages of trainer/requirements.txt, or unset it.`,
      { param: "trainer_env" },
    );
  const hash = `given-${sha256Hex(directory).slice(0, 10)}`;
  return { python, hash, ...unpackTrainer(files) };
}

/**
 * The trainer environment. Installs it when needed (1.6 GB, a few minutes); later calls take milliseconds. An
 * interrupted installation continues where it stopped; a second process waits for the first.
 * @throws AppError with a remedy: `python_missing`, `venv_missing`, `index_unreachable`, `cpu_torch_unreachable`,
 *   `disk_full`, `pip_failed`, `package_refused`
 */
export async function ensureTrainerEnvironment(
  config: Settings,
  files: Files,
  onProgress: OnProgress = () => {},
  signal?: AbortSignal,
): Promise<TrainerEnvironment> {
  const ready = await readyTrainerEnvironment(config, files);
  if (ready) return ready;
  const planned = await plan(config, files);
  mkdirSync(planned.folder, { recursive: true, mode: 0o700 });
  const waiting = () => onProgress("Waiting: another process is installing the trainer environment", null);
  return withFileLock(`${planned.directory}.lock`, waiting, signal, async () => {
    const installed = await readyTrainerEnvironment(config, files);
    if (installed) return installed;
    await install(planned, config.disk_reserve_bytes, onProgress, signal);
    return { python: interpreter(planned.directory), hash: planned.hash, ...unpackTrainer(files) };
  });
}

async function install(
  planned: Awaited<ReturnType<typeof plan>>,
  reserve: number,
  onProgress: OnProgress,
  signal?: AbortSignal,
) {
  const { directory, variant, python } = planned;
  const space = Math.max(0, freeBytes(planned.folder) - reserve);
  if (space < NEEDS[variant] && !existsSync(directory))
    throw new AppError(
      "no_space",
      "disk_full",
      `The trainer environment needs ${NEEDS[variant] / 1e9} GB in ${planned.folder}, but only ${(space / 1e9).toFixed(1)} GB are free in addition to the ${(reserve / 1e9).toFixed(1)} GB reserved for the database. Free some space, or set FTL_ENVIRONMENTS_DIR to a directory on another disk.`,
    );
  onProgress(`Creating a Python ${python.major}.${python.minor} environment in ${directory}`, 0);
  const inside = await makeVenv(python, directory, signal);
  await refreshOldPip(inside, directory, signal);
  const [requirements, torch] = [join(directory, "requirements.txt"), join(directory, TORCH_REQUIREMENTS)];
  writeFileSync(requirements, planned.requirements);
  writeFileSync(torch, planned.torch);
  const separate = needsCpuIndex(variant);
  if (separate) {
    onProgress("Looking for PyTorch without CUDA", 0.02);
    const report = join(directory, "report.json");
    const found = await cpuTorchArguments(inside, torchPin(planned.torch), report, signal);
    const span = { from: 0.03, to: 0.2, packages: 1 };
    await runPip([...pipInstall(inside), ...WHEELS_ONLY, "--no-deps", ...found], span, onProgress, signal);
  }
  const files = separate ? [requirements] : [torch, requirements];
  const packages = readPins(planned.requirements).length;
  await runPip(installCommand(inside, files), { from: 0.2, to: 0.98, packages }, onProgress, signal);
  const marker = { hash: planned.hash, torch: variant, python: `${python.major}.${python.minor}` };
  writeFileSync(join(directory, MARKER), `${JSON.stringify(marker)}\n`);
  onProgress("The trainer environment is ready", 1);
}

/** Replaces pip before 22.3 by the pinned version, because it has no installation report. */
async function refreshOldPip(python: string, directory: string, signal?: AbortSignal): Promise<void> {
  const said = (await runLines([python, "-m", "pip", "--version"], { signal })).lines.at(-1) ?? "";
  const [, major, minor] = /^pip (\d+)\.(\d+)/.exec(said) ?? [];
  if (Number(major) * 100 + Number(minor) >= 2203) return;
  const file = writePipRequirements(directory);
  const ran = await runLines(installCommand(python, [file], ["--upgrade"]), { signal });
  if (ran.code !== 0) throw pipFailed(ran);
}
