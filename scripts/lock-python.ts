/**
 * `bun run lock [--upgrade | --check]`: resolves trainer/requirements*.in into requirement files that name every
 * package with the hashes of all its files.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HASHED } from "../src/compute/environment/python.ts";
import { cleanEnvironment } from "../src/lib/child-environment.ts";
import { type Pin, readPins, writePins } from "../src/lib/requirements.ts";
import { maintainerTool } from "./environments.ts";
import { giveUp, ROOT, say } from "./setup.ts";

const HELP = `bun run lock [--upgrade | --check]

Resolves trainer/requirements*.in with uv against the package index and writes trainer/requirements*.txt.
Versions already written there stay as long as they fit; only what the .in files ask for changes.
  --upgrade  takes the newest version of everything that no .in file pins
  --check    writes nothing; exit code 1 when a file would change
Then every package must have a wheel for Python 3.10 to 3.13 on Linux (x86_64, aarch64) and macOS (arm64).`;

const TRAINER = join(ROOT, "trainer");
/** Packages that depend on the build of PyTorch: installed from a separate file, or not at all. */
const TORCH_STACK = /^(torch|triton|nvidia-.+|cuda-.+)$/;
/** Forks for systems that this program does not support. */
const ELSEWHERE = /sys_platform == '(win32|emscripten)'/;

/** Always true here. */
const NOT_BROWSER = /( and )?sys_platform != 'emscripten'/;

interface Lock {
  input: string;
  output: string;
  /** Oldest Python of the file. */
  python: string;
  /** False: only the packages that the input names, without dependencies. */
  deep?: boolean;
  /** Uses the versions of the trainer's environment. */
  constrained?: boolean;
  /** Versions to take whatever the packages ask for. */
  overrides?: string[];
}

const MAIN: Lock = { input: "requirements.in", output: "requirements.txt", python: "3.11" };
const PY310: Lock = { input: "requirements.in", output: "requirements-py310.txt", python: "3.10" };
const TORCH = "requirements-torch.txt";
const OTHERS: Lock[] = [
  { input: "requirements-model.in", output: "requirements-model.txt", python: "3.10", deep: false },
  { input: "requirements-zero.in", output: "requirements-zero.txt", python: "3.10", deep: false },
  { input: "requirements-dev.in", output: "requirements-dev.txt", python: "3.10", constrained: true },
  { input: "requirements-pip.in", output: "requirements-pip.txt", python: "3.10" },
  // instructor allows no openai 3 and its parser, but works with them.
  {
    input: "requirements-clients.in",
    output: "requirements-clients.txt",
    python: "3.11",
    overrides: ["openai==3.54.0", "jiter>=0.15"],
  },
  { input: "requirements-tools.in", output: "requirements-tools.txt", python: "3.10" },
  { input: "requirements-focus.in", output: "requirements-focus.txt", python: "3.11" },
  { input: "requirements-clouds.in", output: "requirements-clouds.txt", python: "3.10" },
];

const read = (name: string) => (existsSync(join(TRAINER, name)) ? readFileSync(join(TRAINER, name), "utf8") : "");
/** The pins that apply to Python 3.10, without that part of their markers. */
function forPython310(pins: readonly Pin[]): Pin[] {
  const bound = "python_full_version < '3.11'";
  return pins
    .filter(({ marker }) => !marker?.includes("python_full_version >= '3.1"))
    .map((pin) => ({ ...pin, marker: pin.marker === bound ? null : pin.marker }));
}

const byName = (a: Pin, b: Pin) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/** Pins of the trainer's environment as constraints for files that are installed into it. */
function constraints(main: readonly Pin[], py310: readonly Pin[]): string {
  const lines = (pins: readonly Pin[], marker: string) =>
    pins.filter((pin) => pin.marker === null).map((pin) => `${pin.name}==${pin.version} ; ${marker}`);
  return [...lines(main, "python_version >= '3.11'"), ...lines(py310, "python_version < '3.11'")].join("\n");
}

/**
 * uv reads another index from UV_DEFAULT_INDEX; links on this disk would leave out the files of other platforms.
 */
function uvEnvironment(more: Record<string, string> = {}): Record<string, string> {
  const { UV_DEFAULT_INDEX } = process.env;
  const own = { UV_PYTHON_DOWNLOADS: "never", UV_FIND_LINKS: "" };
  return cleanEnvironment(Object.assign(own, UV_DEFAULT_INDEX ? { UV_DEFAULT_INDEX } : {}, more));
}

/** Resolves one file with uv. `known` are the versions to keep, as a requirement file. */
async function resolveOne(uv: string, lock: Lock, known: string, upgrade: boolean, bounds: string): Promise<Pin[]> {
  const scratch = mkdtempSync(join(tmpdir(), "ftl-lock-"));
  try {
    const output = join(scratch, "out.txt");
    writeFileSync(output, known);
    const argv = [uv, "pip", "compile", join(TRAINER, lock.input), "--output-file", output, "--no-config", "--quiet"];
    argv.push("--universal", "--python-version", lock.python, "--generate-hashes", "--no-header", "--no-annotate");
    if (lock.deep === false) argv.push("--no-deps");
    if (upgrade) argv.push("--upgrade");
    if (bounds) {
      writeFileSync(join(scratch, "bounds.txt"), bounds);
      argv.push("--constraint", join(scratch, "bounds.txt"));
    }
    if (lock.overrides) {
      writeFileSync(join(scratch, "overrides.txt"), lock.overrides.join("\n"));
      argv.push("--override", join(scratch, "overrides.txt"));
    }
    const child = Bun.spawn(argv, {
      cwd: scratch,
      env: uvEnvironment(),
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const problem = await new Response(child.stderr).text();
    if ((await child.exited) !== 0) giveUp(`uv could not resolve trainer/${lock.input}:\n${problem.slice(-3000)}`);
    return readPins(readFileSync(output, "utf8"))
      .filter((pin) => !ELSEWHERE.test(pin.marker ?? ""))
      .map((pin) => ({ ...pin, marker: pin.marker?.replace(NOT_BROWSER, "") || null }));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Every requirement file by name, with its expected content. */
async function resolveAll(uv: string, upgrade: boolean): Promise<Map<string, string>> {
  const head = (lock: Pick<Lock, "input">, what: string) => [
    `${what} Written by \`bun run lock\` from ${lock.input}: change that file, not this one.`,
  ];
  const torch = read(TORCH);
  const main = await resolveOne(uv, MAIN, read(MAIN.output) + torch, upgrade, "");
  // Resolved for 3.10 and later: one file for PyTorch serves both.
  const every = await resolveOne(uv, PY310, read(PY310.output) + torch, upgrade, "");
  const py310 = forPython310(every);
  const rest = (pins: Pin[]) => pins.filter((pin) => !TORCH_STACK.test(pin.name));
  const found = new Map([
    [MAIN.output, writePins(head(MAIN, "Every package of the trainer but PyTorch, with its hashes."), rest(main))],
    [PY310.output, writePins(head(PY310, "The same for Python 3.10."), rest(py310))],
    [
      TORCH,
      writePins(
        [
          "PyTorch as PyPI has it, for Linux with the CUDA libraries it names. The build without CUDA for Linux comes from another index and has other hashes.",
          ...head(MAIN, ""),
        ].map((line) => line.trim()),
        every.filter((pin) => TORCH_STACK.test(pin.name)),
      ),
    ],
  ]);
  for (const lock of OTHERS) {
    const bounds = lock.constrained ? constraints(rest(main), rest(py310)) : "";
    const pins = await resolveOne(uv, lock, read(lock.output), upgrade, bounds);
    const notes = read(lock.input)
      .split("\n")
      .filter((line) => line.startsWith("#"))
      .map((line) => line.slice(1).trim());
    found.set(lock.output, writePins([...notes, ...head(lock, "").map((line) => line.trim())], pins.sort(byName)));
  }
  return found;
}

/** The Pythons and platforms of the trainer: the files must have wheels for each. */
const PYTHONS = ["3.10", "3.11", "3.12", "3.13"];
const PLATFORMS = ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin"];

/** One line for each Python and platform where a pinned package has no wheel with a pinned hash. */
async function missingWheels(uv: string): Promise<string[]> {
  const missing: string[] = [];
  for (const python of PYTHONS)
    for (const platform of PLATFORMS) {
      const argv = [uv, "pip", "install", "--dry-run", "--no-config", "--quiet", "--no-deps", ...HASHED];
      argv.push("--python-version", python, "--python-platform", platform, "--target", join(tmpdir(), "ftl-lock-none"));
      for (const file of [python === "3.10" ? PY310.output : MAIN.output, TORCH]) argv.push("-r", join(TRAINER, file));
      // PyTorch's wheels for macOS are for this release and later.
      const env = uvEnvironment({ MACOSX_DEPLOYMENT_TARGET: "14.0" });
      const child = Bun.spawn(argv, { env, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
      const problem = await new Response(child.stderr).text();
      if ((await child.exited) !== 0) missing.push(`Python ${python} on ${platform}: ${problem.trim().slice(0, 500)}`);
    }
  return missing;
}

async function main(args: string[]): Promise<number> {
  const unknown = args.find((arg) => !["--upgrade", "--check", "--help"].includes(arg));
  if (args.includes("--help") || unknown) {
    process.stdout.write(`${unknown ? `${unknown} is unknown.\n` : ""}${HELP}\n`);
    return unknown ? 2 : 0;
  }
  const uv = await maintainerTool("uv").catch((error: Error) => giveUp(error.message));
  let changed = 0;
  for (const [name, text] of await resolveAll(uv, args.includes("--upgrade"))) {
    if (read(name) === text) continue;
    changed++;
    say(`${args.includes("--check") ? "would change" : "written"}: trainer/${name}`);
    if (!args.includes("--check")) writeFileSync(join(TRAINER, name), text);
  }
  const missing = await missingWheels(uv);
  for (const line of missing) say(`no wheel: ${line}`);
  if (missing.length > 0) return 1;
  say(changed ? `${changed} files differ` : "the requirement files are up to date");
  return changed && args.includes("--check") ? 1 : 0;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
