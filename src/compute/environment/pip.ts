/**
 * Runs pip with strict options: every file must match its pinned hash, nothing is built from source, and pip gets a
 * clean environment.
 */
import { AppError } from "../../errors.ts";
import { HASHED, type Ran, runLines } from "./python.ts";

/** The current step, and the progress from 0 to 1 (null when unknown). */
export type OnProgress = (message: string, fraction: number | null) => void;

/**
 * The command that installs requirement files with hashes.
 * @param more options before the files, such as `--no-deps`
 */
export function installCommand(python: string, files: readonly string[], more: readonly string[] = []): string[] {
  const named = files.flatMap((file) => ["-r", file]);
  return [...pipInstall(python), ...HASHED, ...more, ...named];
}

/** `pip install` without prompts, version checks and progress bars. */
export function pipInstall(python: string): string[] {
  return [python, "-u", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"];
}

/**
 * The error of a failed pip command. A hash mismatch is reported first, so that it is not taken for a network error.
 */
export function pipFailed({ lines }: Pick<Ran, "lines">): AppError {
  if (lines.some((line) => line.includes("DO NOT MATCH THE HASHES")))
    return new AppError(
      "unavailable",
      "package_refused",
      `A file of the package index does not match the hash pinned in this release, so it was not installed. If you use your own index or mirror, compare it with PyPI. pip output: ${lines.slice(-6).join(" ")}`,
    );
  const errors = lines.filter((line) => line.startsWith("ERROR:"));
  const output = (errors.length ? errors : lines).slice(-3).join(" ");
  return new AppError(
    "unavailable",
    "pip_failed",
    `Installing the trainer's packages failed. Run it again to continue where it stopped. pip output: ${output}`,
  );
}

/**
 * Runs a pip command, and reports its output as progress within a span.
 * @throws AppError `pip_failed`, `package_refused`
 */
export async function runPip(
  argv: string[],
  span: { from: number; to: number; packages: number },
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const read = pipProgress(span);
  let last: [string, number] = ["Querying the package index", span.from];
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
    const ran = await runLines(argv, { onLine, signal });
    signal?.throwIfAborted();
    if (ran.code !== 0) throw pipFailed(ran);
  } finally {
    clearInterval(timer);
  }
}

/**
 * Parses the output of pip: a line with new information becomes a message and a fraction. Finding packages is 60% of
 * the span, unpacking them the rest.
 */
export function pipProgress(span: { from: number; to: number; packages: number }) {
  const width = span.to - span.from;
  const seen = new Set<string>();
  return (line: string): [string, number] | null => {
    const found = /^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)/.exec(line)?.[1];
    if (found) seen.add(found.toLowerCase());
    const fraction = span.from + width * 0.6 * Math.min(1, seen.size / span.packages);
    const download = /^\s*Downloading (\S+) \(([^)]+)\)/.exec(line);
    // Shows "torch-2.8.0-cp311-….whl" without its version.
    if (download) return [`Downloading ${download[1]?.split(/-\d/, 1)[0]} (${download[2]})`, fraction];
    if (line.startsWith("Installing collected packages"))
      return [
        `Unpacking packages (${line.split(",").length})`,
        span.from + width * (line.includes("torch") ? 0.65 : 0.6),
      ];
    if (found && line.startsWith("Collecting")) return [`Found ${found}`, fraction];
    return null;
  };
}
