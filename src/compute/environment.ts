/** Makes the trainer's Python environment: once per set of pinned packages, safe to repeat, to interrupt and to start twice. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assetPath, assetsHash, unpackAssets } from "../assets.ts";
import type { Config } from "../config.ts";
import { AppError } from "../errors.ts";
import { freeBytes } from "../lib/disk.ts";
import { withFileLock } from "../lib/file-lock.ts";
import type { Files } from "../lib/files.ts";
import { sha256Hex } from "../lib/ids.ts";
import { findPython, makeVenv, type Python, runLines } from "./python.ts";
import { cpuTorchArguments, type TorchVariant, torchPin, torchVariant } from "./torch.ts";

export interface TrainerEnvironment {
  /** The environment's interpreter. */
  python: string;
  /** Names the set of packages: requirements, Python version and PyTorch variant. */
  hash: string;
  /** Directory that holds the package `finetune_trainer`; the working directory of trainers. */
  trainerDir: string;
  /** Names the trainer's own sources. */
  version: string;
}

/** What is being done, and how much of it (0 to 1; null when unknown). */
export type OnProgress = (message: string, fraction: number | null) => void;

type Settings = Pick<Config, "python" | "trainer_env" | "torch" | "environments_dir" | "disk_reserve_bytes">;

const MARKER = "finetune-lab.json";
/** Free bytes an installation needs, downloads included. */
const NEEDS: Record<TorchVariant, number> = { cpu: 3e9, cuda: 12e9 };

/** Unpacks the trainer sources of this build into the data directory. */
function unpackTrainer(files: Files): { trainerDir: string; version: string } {
  const version = assetsHash("trainer").slice(0, 16);
  const trainerDir = files.path("trainer", version);
  unpackAssets("trainer", trainerDir);
  return { trainerDir, version };
}

/** The requirements of the trainer for this Python; one release of it needs older pins. */
export function requirementsName(python: Pick<Python, "minor">): string {
  return python.minor <= 10 ? "requirements-py310.txt" : "requirements.txt";
}

/** Where the environment for these settings is or will be. Starts Python once to learn its version. */
async function plan(config: Settings, files: Files) {
  const python = await findPython(config.python);
  const variant = await torchVariant(config.torch);
  const name = requirementsName(python);
  const requirements = readFileSync(join(assetPath("trainer"), name), "utf8");
  const hash = sha256Hex(`${requirements}\0${python.major}.${python.minor}\0${variant}`).slice(0, 16);
  const folder = config.environments_dir ?? files.path("environments");
  return { python, variant, name, requirements, hash, folder, directory: join(folder, hash) };
}

const interpreter = (directory: string) => join(directory, "bin", "python");

/** The environment when it is ready to use, without making anything of it; null when it has to be made. */
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
      `The setting trainer_env names ${directory}, but there is no bin/python in it. Point it at a virtual environment with the packages of trainer/requirements.txt, or unset it.`,
      { param: "trainer_env" },
    );
  const hash = `given-${sha256Hex(directory).slice(0, 10)}`;
  return { python, hash, ...unpackTrainer(files) };
}

/**
 * The trainer's environment, made first when needed (1.6 GB, a few minutes; later calls take milliseconds).
 * An installation that was cut off goes on where it stopped; a second process waits for the first.
 * @throws AppError with the remedy: `python_missing`, `venv_missing`, `index_unreachable`, `cpu_torch_unreachable`, `disk_full`, `pip_failed`
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
  const waiting = () => onProgress("Waiting: another process installs the trainer environment", null);
  return withFileLock(`${planned.directory}.lock`, waiting, signal, async () => {
    const made = await readyTrainerEnvironment(config, files);
    if (made) return made;
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
      `The trainer environment needs ${NEEDS[variant] / 1e9} GB in ${planned.folder}, and ${(space / 1e9).toFixed(1)} GB are free beside the ${(reserve / 1e9).toFixed(1)} GB kept for the database. Free some space, or set FTL_ENVIRONMENTS_DIR to a directory on another disk.`,
    );
  onProgress(`Making a Python ${python.major}.${python.minor} environment in ${directory}`, 0);
  const inside = await makeVenv(python, directory, signal);
  await refreshOldPip(inside, signal);
  const requirements = join(directory, "requirements.txt");
  writeFileSync(requirements, planned.requirements);
  if (variant === "cpu") {
    onProgress("Looking for a PyTorch without CUDA", 0.02);
    const torch = await cpuTorchArguments(
      inside,
      torchPin(planned.requirements),
      join(directory, "report.json"),
      signal,
    );
    await pip(inside, ["--no-deps", ...torch], { from: 0.03, to: 0.2, packages: 1 }, onProgress, signal);
  }
  const packages = planned.requirements.split("\n").filter((line) => /^[A-Za-z]/.test(line)).length;
  await pip(inside, ["-r", requirements], { from: 0.2, to: 0.98, packages }, onProgress, signal);
  const marker = { hash: planned.hash, torch: variant, python: `${python.major}.${python.minor}` };
  writeFileSync(join(directory, MARKER), `${JSON.stringify(marker)}\n`);
  onProgress("The trainer environment is ready", 1);
}

/** pip before 22.3 cannot say what it would install; only such an old one is replaced. */
async function refreshOldPip(python: string, signal?: AbortSignal): Promise<void> {
  const said = (await runLines([python, "-m", "pip", "--version"], { signal })).lines.at(-1) ?? "";
  const [, major, minor] = /^pip (\d+)\.(\d+)/.exec(said) ?? [];
  if (Number(major) * 100 + Number(minor) >= 2203) return;
  const ran = await runLines([python, "-m", "pip", "install", "--quiet", "--no-input", "--upgrade", "pip"], { signal });
  if (ran.code !== 0) throw pipFailed(ran.lines);
}

function pipFailed(lines: string[]): AppError {
  const errors = lines.filter((line) => line.startsWith("ERROR:"));
  const said = (errors.length ? errors : lines).slice(-3).join(" ");
  return new AppError(
    "unavailable",
    "pip_failed",
    `Installing the trainer's packages failed; running it again goes on where it stopped. pip said: ${said}`,
  );
}

/** Runs `pip install` and turns its lines into short progress between two fractions. */
async function pip(
  python: string,
  args: string[],
  span: { from: number; to: number; packages: number },
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const argv = [python, "-u", "-m", "pip", "install", "--no-input", "--progress-bar", "off"];
  const read = pipProgress(span);
  let last: [string, number] = ["Asking the package index", span.from];
  let since = performance.now();
  const timer = setInterval(
    () => onProgress(`${last[0]} (${Math.round((performance.now() - since) / 1000)} s)`, last[1]),
    5000,
  );
  const onLine = (line: string) => {
    const found = read(line);
    if (!found) return;
    last = found;
    since = performance.now();
    onProgress(...found);
  };
  try {
    onProgress(...last);
    const ran = await runLines([...argv, "--disable-pip-version-check", ...args], { onLine, signal });
    signal?.throwIfAborted();
    if (ran.code !== 0) throw pipFailed(ran.lines);
  } finally {
    clearInterval(timer);
  }
}

/** Reader of pip's lines: each that says something new becomes a message and a fraction. Finding packages counts to 60% of the span, unpacking them the rest. */
export function pipProgress(span: { from: number; to: number; packages: number }) {
  const width = span.to - span.from;
  const seen = new Set<string>();
  return (line: string): [string, number] | null => {
    const found = /^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)/.exec(line)?.[1];
    if (found) seen.add(found.toLowerCase());
    const fraction = span.from + width * 0.6 * Math.min(1, seen.size / span.packages);
    const download = /^\s*Downloading (\S+?)(?:-\d\S*)? \(([^)]+)\)/.exec(line);
    if (download) return [`Downloading ${download[1]} (${download[2]})`, fraction];
    if (line.startsWith("Installing collected packages"))
      return [
        `Unpacking packages (${line.split(",").length})`,
        span.from + width * (line.includes("torch") ? 0.65 : 0.6),
      ];
    if (found && line.startsWith("Collecting")) return [`Found ${found}`, fraction];
    return null;
  };
}
