/**
 * Setup shared by the entry scripts. It imports only built-in modules, because it runs before packages are installed.
 */
import { existsSync, lstatSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { cleanEnvironment } from "../src/lib/child-environment.ts";

export const ROOT = resolve(import.meta.dir, "..");
/** Everything generated for this checkout, outside version control. */
export const CACHE = join(ROOT, ".cache");

const started = performance.now();

/** Prints a line on standard error, with the seconds since the start. */
export function say(text: string): void {
  process.stderr.write(`[${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s] ${text}\n`);
}

/** Ends the script with a reason and advice. */
export function giveUp(text: string): never {
  say(text);
  process.exit(1);
}

/** Installs the JavaScript packages exactly as bun.lock names them; takes milliseconds if they are installed. */
export function installPackages(): void {
  if (!existsSync(join(ROOT, "node_modules"))) say("Installing JavaScript packages (bun install)");
  const run = Bun.spawnSync([process.execPath, "install", "--frozen-lockfile"], {
    cwd: ROOT,
    stdout: "pipe",
    stderr: "pipe",
  });
  if (run.exitCode !== 0)
    giveUp(`bun install failed. Check that this machine reaches the npm registry, then run this again.\n${run.stderr}`);
}

/**
 * Runs a program in a clean environment plus `env`. If it fails, the script ends with `advice` and the program's
 * output.
 */
export async function runStep(
  argv: string[],
  what: string,
  advice: string,
  { cwd = ROOT, env = {} }: { cwd?: string; env?: Record<string, string> } = {},
): Promise<void> {
  say(what);
  const child = Bun.spawn(argv, {
    cwd,
    env: cleanEnvironment(env),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, problem] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) giveUp(`${what}: failed. ${advice}\n${(out + problem).slice(-4000)}`);
}

/**
 * The trainer environment of this checkout, shared by tests and quickstart: created once in .cache/environments.
 * FTL_TRAINER_ENV, if set, is used unchanged.
 */
export async function trainerEnvironment(): Promise<{ python: string; directory: string }> {
  const { ensureTrainerEnvironment } = await import("../src/compute/environment/install.ts");
  const { loadConfig } = await import("../src/config.ts");
  const { openFiles } = await import("../src/lib/disk/files.ts");
  const config = loadConfig({ data_dir: join(CACHE, "setup"), environments_dir: join(CACHE, "environments") });
  let shown = "";
  const progress = (message: string, fraction: number | null) => {
    if (message === shown) return;
    shown = message;
    say(`${fraction === null ? "    " : `${Math.round(fraction * 100)}%`.padStart(4)} ${message}`);
  };
  const { python } = await ensureTrainerEnvironment(config, openFiles(config.data_dir), progress);
  return { python, directory: resolve(python, "../..") };
}

/** Links `.cache/<name>` to `target`, for programs that read it there. */
export function linkInCache(name: string, target: string): void {
  const link = join(CACHE, name);
  mkdirSync(CACHE, { recursive: true });
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink()) rmSync(link);
  if (!existsSync(link) && resolve(link) !== resolve(target)) symlinkSync(target, link);
}

/** Things that a script of this project may need and does not create itself. */
type Need = "trainer environment" | "tiny model" | "SmolLM2 model" | "Chromium" | "binary" | "node" | "python3";

const PREPARE = "`bun run test --prepare` creates it";

/** The directory of the trainer's Python environment, for tests and benchmarks; it may not exist. */
export const trainerEnvironmentPath = (): string => process.env.FTL_TRAINER_ENV ?? join(CACHE, "trainer-env");

/** The test command's models. Its number changes with the files that are written there: no old ones are used. */
export const MODELS = join(CACHE, "models/3");

/** The directory of a model that the test command creates; it may not exist. */
export function modelPath(name: "tiny" | "smollm2"): string {
  const [given, folder] = {
    tiny: [process.env.FTL_TEST_TINY_MODEL, "tiny"] as const,
    smollm2: [process.env.FTL_TEST_SMOLLM2, "smollm2-135m-instruct"] as const,
  }[name];
  return given ?? join(MODELS, folder);
}

/** What is missing of `need`, and the command that creates it; null if nothing is missing. */
function missing(need: Need): string | null {
  const file = (path: string, remedy: string) => (existsSync(path) ? null : `no ${need} (${path}): ${remedy}`);
  switch (need) {
    case "trainer environment":
      return file(join(trainerEnvironmentPath(), "bin/python"), `${PREPARE}, or name one in FTL_TRAINER_ENV`);
    case "tiny model":
      return file(join(modelPath("tiny"), "config.json"), `${PREPARE}, or name one in FTL_TEST_TINY_MODEL`);
    case "SmolLM2 model":
      return file(join(modelPath("smollm2"), "config.json"), `${PREPARE}, or name one in FTL_TEST_SMOLLM2`);
    case "binary":
      return file(join(ROOT, "dist/finetune-lab"), "`bun run build` creates it");
    case "Chromium":
      return findChromium()
        ? null
        : "no Chromium: install it (Debian: apt-get install chromium-headless-shell), or name one in FTL_CHROMIUM";
    case "node":
      return Bun.which("npm") ? null : "no Node.js with npm on PATH: install it (Debian: apt-get install nodejs npm)";
    case "python3":
      return Bun.which("python3")
        ? null
        : "no python3 on PATH: install it (Debian: apt-get install python3 python3-venv)";
  }
}

/** Ends the script unless everything it needs exists; reports all gaps at once, each with the command that fixes it. */
export function needs(...wanted: Need[]): void {
  const gaps = wanted.map(missing).filter((gap) => gap !== null);
  if (gaps.length > 0) giveUp(`This script cannot run yet:\n${gaps.map((gap) => `  ${gap}`).join("\n")}`);
}

/** A Chromium or Chrome on this machine for browser tests, or null. */
export function findChromium(): string | null {
  const named = process.env.FTL_CHROMIUM;
  if (named) return existsSync(named) ? named : null;
  // The shell needs a third of the CPU time of the whole browser.
  for (const name of [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
  ]) {
    const path = Bun.which(name);
    if (path) return path;
  }
  return null;
}
