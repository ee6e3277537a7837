/** Finds Python on this machine, creates virtual environments, and runs commands with line-by-line output. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assetPath } from "../../assets.ts";
import { AppError } from "../../errors.ts";
import { cleanEnvironment } from "../../lib/child-environment.ts";
import { clean } from "../../lib/text/redact.ts";

/** Oldest Python the trainer runs on. */
const OLDEST_PYTHON = [3, 10] as const;
const NEWEST_FIRST = ["python3.13", "python3.12", "python3.11", "python3.10", "python3.14"];

/** pip options to install only wheels, because a source archive runs its build code during the installation. */
export const WHEELS_ONLY = ["--only-binary", ":all:"] as const;
/** pip options to install only wheels with a hash in the requirements file. */
export const HASHED = ["--require-hashes", ...WHEELS_ONLY] as const;

/** An interpreter: absolute path and version. */
export interface Python {
  path: string;
  major: number;
  minor: number;
}

export interface Ran {
  code: number;
  /** Last 40 lines of standard output and error together, cleaned. */
  lines: string[];
}

/**
 * Runs a command without a shell, in a clean environment. `onLine` gets each line of standard output and error
 * immediately.
 */
export async function runLines(
  argv: string[],
  options: { onLine?: (line: string) => void; cwd?: string; signal?: AbortSignal; timeoutMs?: number } = {},
): Promise<Ran> {
  const child = Bun.spawn(argv, {
    cwd: options.cwd,
    env: cleanEnvironment(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    signal: options.signal,
    timeout: options.timeoutMs,
  });
  const lines: string[] = [];
  const read = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder();
    let rest = "";
    const take = (text: string) => {
      const line = clean(text).trimEnd().slice(0, 1000);
      if (!line) return;
      lines.push(line);
      if (lines.length > 40) lines.shift();
      options.onLine?.(line);
    };
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split(/[\r\n]+/);
      rest = (parts.pop() ?? "").slice(-10_000);
      parts.forEach(take);
    }
    take(rest);
  };
  await Promise.all([read(child.stdout), read(child.stderr)]);
  return { code: await child.exited, lines };
}

/** Version and real path of an interpreter, or null when it does not run. */
async function probePython(command: string): Promise<Python | null> {
  const program = "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)";
  try {
    const ran = await runLines([command, "-c", program], { timeoutMs: 20_000 });
    const [, major, minor, path] = /^(\d+) (\d+) (.+)$/.exec(ran.lines.at(-1) ?? "") ?? [];
    if (ran.code !== 0 || !path) return null;
    return { path, major: Number(major), minor: Number(minor) };
  } catch {
    return null;
  }
}

const isNewEnough = (python: Python) => python.major === OLDEST_PYTHON[0] && python.minor >= OLDEST_PYTHON[1];

/**
 * The Python for environments: the configured one, `python3`, or a versioned name on PATH.
 * @throws AppError `python_missing` with the versions found and a remedy
 */
export async function findPython(configured: string | null): Promise<Python> {
  const seen: string[] = [];
  for (const name of configured ? [configured] : ["python3", ...NEWEST_FIRST, "python"]) {
    const command = name.includes("/") ? name : Bun.which(name);
    const python = command ? await probePython(command) : null;
    if (python && isNewEnough(python)) return python;
    if (python) seen.push(`${python.path} is ${python.major}.${python.minor}`);
    else if (configured) seen.push(`${configured} does not run`);
  }
  throw new AppError(
    "unavailable",
    "python_missing",
    `Training needs Python 3.10 or newer (${seen.join("; ") || "none was found on PATH"}). Install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python), or set its path with --python or FTL_PYTHON.`,
  );
}

const PIP_REQUIREMENTS = "requirements-pip.txt";

/** Writes the requirements file of the pinned pip into `directory`, and returns its path. */
export function writePipRequirements(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, PIP_REQUIREMENTS);
  writeFileSync(path, readFileSync(join(assetPath("trainer"), PIP_REQUIREMENTS)));
  return path;
}

/**
 * Creates a virtual environment with pip at `directory`, and returns its interpreter. A working environment is kept.
 * Debian ships Python without ensurepip, so there are fallbacks.
 */
export async function makeVenv(python: Python, directory: string, signal?: AbortSignal): Promise<string> {
  const inside = join(directory, "bin", "python");
  const hasPip = async () =>
    existsSync(inside) && (await runLines([inside, "-m", "pip", "--version"], { signal })).code === 0;
  if (await hasPip()) return inside;
  rmSync(directory, { recursive: true, force: true });
  const pip = join(directory, PIP_REQUIREMENTS);
  const attempts: string[][][] = [
    [[python.path, "-m", "venv", directory]],
    [[python.path, "-m", "virtualenv", "--quiet", directory]],
    [
      [python.path, "-m", "venv", "--without-pip", directory],
      [python.path, "-m", "pip", "--python", inside, "install", "--quiet", "--no-input", ...HASHED, "-r", pip],
    ],
  ];
  let output = "";
  for (const commands of attempts) {
    let succeeded = true;
    writePipRequirements(directory);
    for (const argv of commands) {
      const ran = await runLines(argv, { signal });
      if (ran.code !== 0) {
        succeeded = false;
        output ||= ran.lines.slice(-6).join(" ");
        break;
      }
    }
    if (succeeded && (await hasPip())) return inside;
    rmSync(directory, { recursive: true, force: true });
  }
  throw new AppError(
    "unavailable",
    "venv_missing",
    `${python.path} cannot create a virtual environment. On Debian and Ubuntu, run apt-get install python3-venv (or python${python.major}.${python.minor}-venv), then try again. Output: ${output || "none"}`,
  );
}
